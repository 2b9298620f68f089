//! The optimisers of all tensors of a model.

use super::gradients::dense_squares;
use super::tower_step::TowerStep;
use crate::backend::State;
use crate::checkpoint::{Tensor, Values};
use crate::config::TrainConfig;
use crate::loss::LearnedTemperature;
use crate::optim::{Clip, Optimiser, OptimiserConfig, Step, squares};
use rayon::prelude::*;
use recs_core::model::{ModelConfig, TowerWeights, Weights};
use recs_core::schema::Tower;
use std::sync::Arc;

/// Optimiser state of a model.
#[derive(Debug)]
pub(super) struct Update {
    clip: Clip,
    /// Of tables.
    pub(super) embeddings: Step,
    /// Of kernels and biases.
    pub(super) dense: Step,
    pub(super) query: TowerState,
    pub(super) candidate: TowerState,
    /// Moves with the kernels and biases.
    pub(super) temperature: Option<LearnedTemperature>,
}

#[derive(Debug)]
pub(super) struct TowerState {
    pub(super) embeddings: Vec<Box<dyn Optimiser>>,
    /// Of kernel and bias.
    dense: Vec<[Box<dyn Optimiser>; 2]>,
    /// Which tables are others': they have no rows here.
    borrowed: Vec<bool>,
    /// The table that is a bias: it moves with the layers' biases.
    bias_at: Option<usize>,
}

/// What clipping multiplies each gradient by.
#[derive(Debug, Default)]
pub(super) struct Factors {
    pub(super) query: TowerFactors,
    pub(super) candidate: TowerFactors,
    pub(super) log_scale: f32,
}

#[derive(Debug, Default)]
pub(super) struct TowerFactors {
    pub(super) embeddings: Vec<f32>,
    pub(super) dense: Vec<[f32; 2]>,
}

impl Factors {
    /// `log_scale` is the gradient of a learned temperature, 0 for a fixed one.
    pub(super) fn new(clip: Clip, query: &TowerStep, candidate: &TowerStep, log_scale: f32) -> Self {
        let scale_squares = f64::from(log_scale).powi(2);
        let global = match clip {
            Clip::GlobalNorm { norm } => {
                Clip::factor(norm, all_squares(query) + all_squares(candidate) + scale_squares)
            }
            Clip::None | Clip::PerVariable { .. } => 1.0,
        };
        let factor = |squares: f64| match clip {
            Clip::PerVariable { norm } => Clip::factor(norm, squares),
            Clip::None | Clip::GlobalNorm { .. } => global,
        };
        let tower = |tower: &TowerStep| TowerFactors {
            embeddings: tower.parts.iter().map(|p| factor(p.gradient().unsummed_squares)).collect(),
            dense: tower.dense.iter().map(|layer| dense_squares(layer).map(factor)).collect(),
        };
        Self { query: tower(query), candidate: tower(candidate), log_scale: factor(scale_squares) }
    }
}

/// Sum of squares of everything, embeddings after equal rows were summed.
fn all_squares(tower: &TowerStep) -> f64 {
    let tables: f64 =
        tower.parts.par_iter().map(|p| squares(p.gradient().values)).collect::<Vec<_>>().iter().sum();
    tables + tower.dense.iter().flat_map(dense_squares).sum::<f64>()
}

impl TowerState {
    fn new(config: OptimiserConfig, weights: &TowerWeights, bias_at: Option<usize>) -> Self {
        let one_row = |len: usize| config.dense.state(1, len);
        let algorithm = |i: usize| if bias_at == Some(i) { config.dense } else { config.embeddings };
        Self {
            embeddings: (0..)
                .zip(&weights.embeddings)
                .map(|(i, e)| algorithm(i).state(e.nrows(), e.ncols()))
                .collect(),
            borrowed: weights.embeddings.iter().map(|e| e.nrows() == 0).collect(),
            bias_at,
            dense: weights.dense.iter().map(|d| [one_row(d.kernel.len()), one_row(d.bias.len())]).collect(),
        }
    }
}

impl Update {
    pub(super) fn new(config: &TrainConfig, weights: &Weights, model: &ModelConfig) -> Self {
        let (optimiser, loss) = (config.optimiser, config.loss);
        let learned = |range| LearnedTemperature::new(range, loss.temperature, optimiser.dense);
        Self {
            clip: config.clip,
            embeddings: Step::start(&optimiser.embeddings),
            dense: Step::start(&optimiser.dense),
            query: TowerState::new(optimiser, &weights.query, model.schema.bias_table(Tower::Query)),
            candidate: TowerState::new(
                optimiser,
                &weights.candidate,
                model.schema.bias_table(Tower::Candidate),
            ),
            temperature: loss.learned_temperature.map(learned),
        }
    }

    /// Opens a step.
    pub(super) fn open(&mut self, learning_rate: f32) {
        self.embeddings.open(learning_rate);
        self.dense.open(learning_rate);
    }

    /// Clips and applies the gradients that the towers hold, and that of a learned temperature, and closes the step.
    pub(super) fn apply(
        &mut self,
        weights: &mut Weights,
        query: &TowerStep,
        candidate: &TowerStep,
        log_scale: f32,
    ) {
        let factors = Factors::new(self.clip, query, candidate, log_scale);
        if let Some(temperature) = &mut self.temperature {
            temperature.update(log_scale, factors.log_scale, &self.dense);
        }
        let Self { embeddings, dense, query: query_state, candidate: candidate_state, .. } = self;
        let (embeddings, dense) = (&*embeddings, &*dense);
        let (q, c) = (Arc::make_mut(&mut weights.query), Arc::make_mut(&mut weights.candidate));
        rayon::join(
            || query_state.apply(q, query, &factors.query, embeddings, dense),
            || candidate_state.apply(c, candidate, &factors.candidate, embeddings, dense),
        );
        self.embeddings.close();
        self.dense.close();
        if self.embeddings.wants_settling() || self.dense.wants_settling() {
            self.settle(weights);
        }
    }

    /// Brings every row of every table up to date; between two steps.
    pub(super) fn settle(&mut self, weights: &mut Weights) {
        let (step, bias_step) = (&self.embeddings, &self.dense);
        for (state, weights) in
            [(&mut self.query, &mut weights.query), (&mut self.candidate, &mut weights.candidate)]
        {
            let tables = &mut Arc::make_mut(weights).embeddings;
            let bias_at = state.bias_at;
            state.embeddings.par_iter_mut().zip(tables).enumerate().for_each(|(i, (state, table))| {
                let step = if bias_at == Some(i) { bias_step } else { step };
                state.settle(table.as_slice_mut().unwrap_or_default(), step);
            });
            let dense = Arc::make_mut(weights).dense.iter_mut().zip(&mut state.dense);
            for (layer, [kernel, bias]) in dense {
                kernel.settle(layer.kernel.as_slice_mut().unwrap_or_default(), bias_step);
                bias.settle(layer.bias.as_slice_mut().unwrap_or_default(), bias_step);
            }
        }
        self.embeddings.settled();
        self.dense.settled();
    }

    /// Weights and all that belongs to them, by name.
    pub(super) fn state<'a>(&'a mut self, model: &ModelConfig, weights: &'a mut Weights) -> State<'a> {
        let Self { embeddings, dense, query, candidate, temperature, .. } = self;
        let mut tensors = Vec::new();
        for (weights, state) in Tensor::of_weights(model, weights, "").into_iter().zip([query, candidate]) {
            let dense = state.dense.iter_mut().flatten();
            let tables = state.embeddings.iter_mut().zip(&state.borrowed);
            let own = tables.filter(|(_, is_borrowed)| !**is_borrowed).map(|(state, _)| state);
            for (weights, state) in weights.into_iter().zip(own.chain(dense)) {
                let (numbers, last) = state.state();
                let name = weights.name.clone();
                tensors.push(weights);
                for (i, numbers) in numbers.into_iter().enumerate() {
                    tensors.push(Tensor::flat(format!("{name}.state_{i}"), Values::F32(numbers)));
                }
                if !last.is_empty() {
                    tensors.push(Tensor::flat(format!("{name}.last"), Values::U32(last)));
                }
            }
        }
        if let Some(temperature) = temperature {
            let (numbers, last) = temperature.state();
            for (i, numbers) in numbers.into_iter().enumerate() {
                tensors.push(Tensor::flat(format!("temperature.state_{i}"), Values::F32(numbers)));
            }
            if !last.is_empty() {
                tensors.push(Tensor::flat("temperature.last".into(), Values::U32(last)));
            }
        }
        State { tensors, steps: [("steps.embeddings", embeddings), ("steps.dense", dense)], loss_fits: true }
    }
}

impl TowerState {
    fn apply(
        &mut self,
        weights: &mut TowerWeights,
        tower: &TowerStep,
        factors: &TowerFactors,
        embeddings: &Step,
        dense: &Step,
    ) {
        let tables = self.embeddings.par_iter_mut().zip(&mut weights.embeddings);
        let bias_at = self.bias_at;
        let each = tables.zip(&tower.parts).zip(&factors.embeddings).enumerate();
        each.for_each(|(i, (((state, table), part), factor))| {
            let (weights, step) = (
                table.as_slice_mut().unwrap_or_default(),
                if bias_at == Some(i) { dense } else { embeddings },
            );
            let gradient = part.gradient();
            state.update(weights, gradient.ids, gradient.values, *factor, step);
        });
        let layers = self.dense.iter_mut().zip(&mut weights.dense).zip(&tower.dense).zip(&factors.dense);
        for ((([kernel, bias], layer), gradient), factors) in layers {
            let kernels = (layer.kernel.as_slice_mut(), gradient.kernel.as_slice());
            let biases = (layer.bias.as_slice_mut(), gradient.bias.as_slice());
            for ((state, (weights, gradient)), factor) in
                [(kernel, kernels), (bias, biases)].into_iter().zip(factors)
            {
                if let (Some(weights), Some(gradient)) = (weights, gradient) {
                    state.update(weights, &[0], gradient, *factor, dense);
                }
            }
        }
    }
}
