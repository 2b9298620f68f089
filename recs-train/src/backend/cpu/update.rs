//! The optimiser over all tensors of a model.

use super::gradients::{Gradients, SparseGradient, TowerGradients, dense_squares};
use crate::optim::{Adam, Clip, OptimiserConfig, Rows};
use ndarray::Array2;
use rayon::prelude::*;
use recs_core::model::{TowerWeights, Weights};
use std::sync::Arc;

/// Optimiser state of a model.
#[derive(Debug, Clone)]
pub(super) struct Update {
    config: OptimiserConfig,
    clip: Clip,
    steps: u64,
    query: TowerState,
    candidate: TowerState,
}

#[derive(Debug, Clone)]
struct TowerState {
    embeddings: Vec<Adam>,
    dense: Vec<[Adam; 2]>,
}

impl TowerState {
    fn new(config: OptimiserConfig, weights: &TowerWeights) -> Self {
        let adam = |len: usize| Adam::new(config.adam, len);
        Self {
            embeddings: weights.embeddings.iter().map(|e| adam(e.len())).collect(),
            dense: weights.dense.iter().map(|d| [adam(d.kernel.len()), adam(d.bias.len())]).collect(),
        }
    }
}

impl Update {
    pub(super) fn new(config: OptimiserConfig, clip: Clip, weights: &Weights) -> Self {
        let (query, candidate) =
            (TowerState::new(config, &weights.query), TowerState::new(config, &weights.candidate));
        Self { config, clip, steps: 0, query, candidate }
    }

    /// Clips and applies the gradients.
    pub(super) fn apply(&mut self, weights: &mut Weights, mut gradients: Gradients, learning_rate: f32) {
        clip(self.clip, &mut gradients);
        self.steps += 1;
        let rate = Adam::rate(&self.config.adam, learning_rate, self.steps);
        let rows = self.config.embedding_rows;
        apply_tower(&mut self.query, Arc::make_mut(&mut weights.query), &gradients.query, rows, rate);
        apply_tower(
            &mut self.candidate,
            Arc::make_mut(&mut weights.candidate),
            &gradients.candidate,
            rows,
            rate,
        );
    }
}

/// Scales gradients down as configured.
pub(super) fn clip(clip: Clip, gradients: &mut Gradients) {
    match clip {
        Clip::None => {}
        Clip::PerVariable { norm } => {
            for tower in [&mut gradients.query, &mut gradients.candidate] {
                for embedding in &mut tower.embeddings {
                    embedding.scale(Clip::factor(norm, embedding.unsummed_squares));
                }
                for layer in &mut tower.dense {
                    let [kernel, bias] = dense_squares(layer);
                    layer.kernel *= Clip::factor(norm, kernel);
                    layer.bias *= Clip::factor(norm, bias);
                }
            }
        }
        Clip::GlobalNorm { norm } => {
            let factor = Clip::factor(norm, gradients.query.squares() + gradients.candidate.squares());
            for tower in [&mut gradients.query, &mut gradients.candidate] {
                tower.embeddings.iter_mut().for_each(|e| e.scale(factor));
                for layer in &mut tower.dense {
                    layer.kernel *= factor;
                    layer.bias *= factor;
                }
            }
        }
    }
}

fn apply_tower(
    state: &mut TowerState,
    weights: &mut TowerWeights,
    gradients: &TowerGradients,
    rows: Rows,
    rate: f32,
) {
    let tables = state.embeddings.par_iter_mut().zip(&mut weights.embeddings).zip(&gradients.embeddings);
    tables.for_each(|((adam, table), gradient)| apply_table(adam, table, gradient, rows, rate));
    for ((adams, layer), gradient) in state.dense.iter_mut().zip(&mut weights.dense).zip(&gradients.dense) {
        let pairs = [
            (layer.kernel.as_slice_mut(), gradient.kernel.as_slice()),
            (layer.bias.as_slice_mut(), gradient.bias.as_slice()),
        ];
        for (adam, (weights, gradient)) in adams.iter_mut().zip(pairs) {
            if let (Some(weights), Some(gradient)) = (weights, gradient) {
                adam.update(weights, gradient, 0, rate);
            }
        }
    }
}

fn apply_table(adam: &mut Adam, table: &mut Array2<f32>, gradient: &SparseGradient, rows: Rows, rate: f32) {
    let dim = gradient.dim;
    let Some(weights) = table.as_slice_mut() else { return };
    let mut done = 0;
    for (row, values) in gradient.rows.iter().zip(gradient.values.chunks_exact(dim.max(1))) {
        let at = *row as usize * dim;
        if rows == Rows::All {
            adam.decay(weights, done, at, rate);
        }
        adam.update(weights, values, at, rate);
        done = at + dim;
    }
    if rows == Rows::All {
        let end = weights.len();
        adam.decay(weights, done, end, rate);
    }
}
