//! One training step on the CPU.

use super::gradients::{Gradients, SparseGradient, TowerGradients};
use super::tower_pass::TowerPass;
use super::update::{Update, clip};
use crate::backend::{Backend, StepLoss};
use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::{Error, Result};
use crate::loss::{InBatchSoftmax, Targets};
use ndarray::{Array2, Axis, s};
use rayon::ThreadPool;
use rayon::prelude::*;
use recs_core::model::{Dense, ModelConfig, TowerColumns, TowerConfig, TowerModel, TowerWeights, Weights};
use recs_core::schema::{Encoding, Tower};
use std::sync::Arc;

/// Trains on CPU threads of a pool of its own making.
#[derive(Debug)]
pub struct CpuBackend {
    data: Arc<TrainData>,
    model: ModelConfig,
    config: TrainConfig,
    weights: Weights,
    update: Update,
    /// log of each catalogue product's share of the training rows.
    log_q: Vec<f32>,
    pool: Arc<ThreadPool>,
    losses: Vec<InBatchSoftmax>,
}

/// Both towers' activations and embeddings of a batch.
struct Forward {
    query: Vec<TowerPass>,
    candidate: Vec<TowerPass>,
    /// Candidate embeddings of the whole batch. `[batch, dim]`
    candidates: Array2<f32>,
}

impl CpuBackend {
    /// A backend that starts from `weights`; `log_q` holds the log of each catalogue product's sampling probability,
    /// and may be empty for a loss without that correction.
    ///
    /// # Errors
    /// [`Error::Core`] when the weights do not fit the model, [`Error::Config`] when data or `log_q` do not.
    pub fn new(
        data: Arc<TrainData>,
        model: ModelConfig,
        config: TrainConfig,
        weights: Weights,
        log_q: Vec<f32>,
        pool: Arc<ThreadPool>,
    ) -> Result<Self> {
        data.check(&model)?;
        for (tower, columns) in [(Tower::Query, &data.query), (Tower::Candidate, &data.candidates)] {
            TowerModel::new(&model, tower, Arc::clone(weights.tower(tower)))?.check(columns)?;
        }
        if config.loss.log_q && log_q.len() != data.catalogue.len() {
            let reason =
                format!("has {} numbers, the catalogue {} products", log_q.len(), data.catalogue.len());
            return Err(Error::config("log_q", reason));
        }
        let update = Update::new(config.optimiser, config.clip, &weights);
        let losses = vec![InBatchSoftmax::new(config.loss); pool.current_num_threads()];
        Ok(Self { data, model, config, weights, update, log_q, pool, losses })
    }

    /// Loss and gradients of a batch, before clipping; nothing is changed.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn gradients(&mut self, batch: &[u32]) -> Result<(StepLoss, Gradients)> {
        self.check(batch)?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| self.forward_backward(batch))
    }

    /// As [`CpuBackend::gradients`], clipped as configured.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn clipped_gradients(&mut self, batch: &[u32]) -> Result<Gradients> {
        let (_, mut gradients) = self.gradients(batch)?;
        clip(self.config.clip, &mut gradients);
        Ok(gradients)
    }

    fn check(&self, batch: &[u32]) -> Result<()> {
        let known = |row: u32| {
            self.data.product.get(row as usize).is_some_and(|&p| (p as usize) < self.data.catalogue.len())
        };
        match batch.iter().find(|&&row| !known(row)) {
            None => Ok(()),
            Some(row) => {
                Err(Error::config("batch", format!("row {row} does not exist or has no known product")))
            }
        }
    }

    /// Rows of the batch for each thread.
    fn run_rows(&self, batch: usize) -> usize {
        batch.div_ceil(self.losses.len()).max(1)
    }

    fn forward_backward(&mut self, batch: &[u32]) -> Result<(StepLoss, Gradients)> {
        let mut forward = self.forward(batch)?;
        let (retrieval, d_query, d_candidate) = self.loss(batch, &forward);
        let run = self.run_rows(batch.len());
        let backward =
            |passes: &mut Vec<TowerPass>, d: &Array2<f32>, config: &TowerConfig, weights: &TowerWeights| {
                let parts: Vec<_> = d.axis_chunks_iter(Axis(0), run).collect();
                passes.par_iter_mut().zip(parts).for_each(|(pass, d)| pass.backward(config, weights, &d));
            };
        backward(&mut forward.query, &d_query, &self.model.query, &self.weights.query);
        backward(&mut forward.candidate, &d_candidate, &self.model.candidate, &self.weights.candidate);
        let query_ids: Vec<u32> = batch.to_vec();
        let candidate_ids: Vec<u32> = batch.iter().map(|&row| self.data.candidate[row as usize]).collect();
        let mut gradients = Gradients {
            query: collect(&self.model, Tower::Query, &forward.query, &self.data.query, &query_ids, run),
            candidate: collect(
                &self.model,
                Tower::Candidate,
                &forward.candidate,
                &self.data.candidates,
                &candidate_ids,
                run,
            ),
        };
        let regularisation = self.add_l1(&mut gradients);
        Ok((StepLoss { retrieval, regularisation }, gradients))
    }

    fn forward(&self, batch: &[u32]) -> Result<Forward> {
        let run = self.run_rows(batch.len());
        let tower = |tower: Tower,
                     columns: &TowerColumns,
                     row_of: &(dyn Fn(u32) -> usize + Sync)|
         -> Result<Vec<TowerPass>> {
            let (config, weights) = (self.model.tower(tower), self.weights.tower(tower));
            let pass = |rows: &[u32]| {
                let features = gather(&self.model, tower, weights, columns, rows.iter().map(|&r| row_of(r)));
                TowerPass::forward(config, weights, features)
            };
            Ok(batch.par_chunks(run).map(pass).collect())
        };
        let query = tower(Tower::Query, &self.data.query, &|row| row as usize)?;
        let of = |row: u32| self.data.candidate[row as usize] as usize;
        let candidate = tower(Tower::Candidate, &self.data.candidates, &of)?;
        let mut candidates = Array2::zeros((batch.len(), self.model.embedding_dim()));
        for (mut part, pass) in candidates.axis_chunks_iter_mut(Axis(0), run).zip(&candidate) {
            part.assign(&pass.output);
        }
        Ok(Forward { query, candidate, candidates })
    }

    fn loss(&mut self, batch: &[u32], forward: &Forward) -> (f64, Array2<f32>, Array2<f32>) {
        let run = self.run_rows(batch.len());
        let products: Vec<u32> = batch.iter().map(|&row| self.data.product[row as usize]).collect();
        let log_q: Vec<f32> = if self.config.loss.log_q {
            products.iter().map(|&p| self.log_q[p as usize]).collect()
        } else {
            Vec::new()
        };
        let targets = Targets { embeddings: forward.candidates.view(), products: &products, log_q: &log_q };
        let mut d_query = Array2::zeros(forward.candidates.raw_dim());
        let parts: Vec<_> = d_query.axis_chunks_iter_mut(Axis(0), run).collect();
        let done: Vec<(f64, Array2<f32>)> = self
            .losses
            .par_iter_mut()
            .zip(&forward.query)
            .zip(parts)
            .enumerate()
            .map(|(i, ((loss, pass), d))| {
                let mut d_targets = Array2::zeros(forward.candidates.raw_dim());
                let value =
                    loss.forward_backward(&pass.output.view(), i * run, targets, d, d_targets.view_mut());
                (value, d_targets)
            })
            .collect();
        let (mut total, mut d_candidate) = (0.0, Array2::zeros(forward.candidates.raw_dim()));
        for (value, part) in &done {
            total += value;
            d_candidate += part;
        }
        (total, d_query, d_candidate)
    }

    /// Adds the L1 penalty's gradient on the first kernels and gives its value.
    fn add_l1(&self, gradients: &mut Gradients) -> f64 {
        let l1 = self.config.l1;
        if l1 == 0.0 {
            return 0.0;
        }
        let mut penalty = 0.0;
        for (weights, gradients) in
            [(&self.weights.query, &mut gradients.query), (&self.weights.candidate, &mut gradients.candidate)]
        {
            let (Some(layer), Some(gradient)) = (weights.dense.first(), gradients.dense.first_mut()) else {
                continue;
            };
            ndarray::Zip::from(&mut gradient.kernel).and(&layer.kernel).for_each(|g, &w| {
                *g += if w == 0.0 { 0.0 } else { l1 * w.signum() };
                penalty += f64::from(w.abs());
            });
        }
        f64::from(l1) * penalty
    }
}

/// Concatenated features of some rows. `[rows, width]`
fn gather(
    model: &ModelConfig,
    tower: Tower,
    weights: &TowerWeights,
    columns: &TowerColumns,
    rows: impl ExactSizeIterator<Item = usize>,
) -> Array2<f32> {
    let encodings = model.schema.encodings(tower);
    let tables = weights.embeddings.len();
    let numbers: usize = encodings.iter().filter(|e| !e.has_table()).map(Encoding::width).sum();
    let width = model.input_width(tower);
    let mut x = Vec::with_capacity(rows.len() * width);
    for row in rows {
        let (mut table, mut number) = (0, 0);
        for encoding in encodings {
            let w = encoding.width();
            if encoding.has_table() {
                let at = columns.ids[row * tables + table] as usize * w;
                x.extend_from_slice(&weights.embeddings[table].as_slice().unwrap_or_default()[at..at + w]);
                table += 1;
            } else {
                let at = row * numbers + number;
                x.extend_from_slice(&columns.numbers[at..at + w]);
                number += w;
            }
        }
    }
    let rows = x.len() / width.max(1);
    Array2::from_shape_vec((rows, width), x).unwrap_or_default()
}

/// Sums the runs' gradients in thread order, and the embeddings' by row.
fn collect(
    model: &ModelConfig,
    tower: Tower,
    passes: &[TowerPass],
    columns: &TowerColumns,
    rows: &[u32],
    run: usize,
) -> TowerGradients {
    let mut dense: Vec<Dense> = passes.first().map(|p| p.d_dense.clone()).unwrap_or_default();
    for pass in passes.iter().skip(1) {
        for (sum, part) in dense.iter_mut().zip(&pass.d_dense) {
            sum.kernel += &part.kernel;
            sum.bias += &part.bias;
        }
    }
    let mut places = Vec::new();
    let mut at = 0;
    for encoding in model.schema.encodings(tower) {
        if encoding.has_table() {
            places.push((places.len(), at, encoding.width()));
        }
        at += encoding.width();
    }
    let tables = places.len();
    let embeddings = places
        .into_par_iter()
        .map(|(table, at, dim)| {
            let ids = rows.iter().map(|&row| columns.ids[row as usize * tables + table]);
            SparseGradient::sum(ids, dim, |i| {
                let part = passes[i / run].d_features.slice(s![i % run, at..at + dim]);
                part.to_slice().unwrap_or_default()
            })
        })
        .collect();
    TowerGradients { embeddings, dense }
}

impl Backend for CpuBackend {
    fn step(&mut self, batch: &[u32], learning_rate: f32) -> Result<StepLoss> {
        self.check(batch)?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            let (loss, gradients) = self.forward_backward(batch)?;
            self.update.apply(&mut self.weights, gradients, learning_rate);
            Ok(loss)
        })
    }

    fn weights(&self) -> Weights {
        self.weights.clone()
    }
}
