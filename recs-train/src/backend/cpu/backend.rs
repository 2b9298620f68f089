//! One training step on the CPU.

use super::batch::Candidates;
use super::clock::Clock;
use super::gradients::Gradients;
use super::matrix::{Matrix, add, add_scaled};
use super::tower_step::TowerStep;
use super::update::{Factors, Update};
use crate::backend::{Backend, StepLoss};
use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::{Error, Result};
use crate::loss::{InBatchSoftmax, Reduction};
use crate::optim::Clip;
use ndarray::Zip;
use rayon::ThreadPool;
use rayon::prelude::*;
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::schema::Tower;
use std::sync::Arc;
use std::time::Duration;

/// Trains on CPU threads of a pool of its own making.
///
/// A step embeds each distinct table row and each distinct candidate of a batch once: its cost falls with their number, its
/// result is that of the batch as it stands. After the first steps nothing is allocated but some small matrices of the
/// layers' gradients.
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
    query: TowerStep,
    candidate: TowerStep,
    candidates: Candidates,
    threads: Vec<Thread>,
    common: Matrix,
    clock: Clock,
}

/// What each thread has for the loss.
#[derive(Debug)]
struct Thread {
    softmax: InBatchSoftmax,
    d_columns: Matrix,
    shares: Vec<f32>,
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
        let (query, candidates) = (&data.query, &data.candidates);
        for (tower, rows, ids) in
            [(Tower::Query, query.rows, &*query.ids), (Tower::Candidate, candidates.rows, &candidates.ids)]
        {
            TowerModel::new(&model, tower, Arc::clone(weights.tower(tower)))?.check(rows, ids)?;
        }
        if config.loss.log_q && log_q.len() != data.catalogue.len() {
            let reason =
                format!("has {} numbers, the catalogue {} products", log_q.len(), data.catalogue.len());
            return Err(Error::config("log_q", reason));
        }
        let threads = pool.current_num_threads();
        let thread = || Thread {
            softmax: InBatchSoftmax::new(config.loss),
            d_columns: Matrix::default(),
            shares: Vec::new(),
        };
        Ok(Self {
            update: Update::new(config.optimiser, config.clip, &weights),
            query: TowerStep::new(&model, Tower::Query, &weights.query, threads),
            candidate: TowerStep::new(&model, Tower::Candidate, &weights.candidate, threads),
            candidates: Candidates::new(&data),
            threads: (0..threads).map(|_| thread()).collect(),
            common: Matrix::default(),
            clock: Clock::default(),
            data,
            model,
            config,
            weights,
            log_q,
            pool,
        })
    }

    /// Loss and gradients of a batch, before clipping; nothing is changed.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn gradients(&mut self, batch: &[u32]) -> Result<(StepLoss, Gradients)> {
        self.check(batch)?;
        let pool = Arc::clone(&self.pool);
        let loss = pool.install(|| self.forward_backward(batch));
        Ok((loss, Gradients { query: self.query.gradients(), candidate: self.candidate.gradients() }))
    }

    /// As [`CpuBackend::gradients`], clipped as configured.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn clipped_gradients(&mut self, batch: &[u32]) -> Result<Gradients> {
        let (_, mut gradients) = self.gradients(batch)?;
        gradients.scale(&Factors::new(self.config.clip, &self.query, &self.candidate));
        Ok(gradients)
    }

    /// Time that all threads together have spent in matrix products.
    pub fn gemm_time(&self) -> Duration {
        self.clock.total()
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

    fn forward_backward(&mut self, batch: &[u32]) -> StepLoss {
        self.forward(batch);
        let retrieval = self.loss(batch.len());
        self.backward(batch.len());
        StepLoss { retrieval, regularisation: self.add_l1() }
    }

    fn forward(&mut self, batch: &[u32]) {
        let Self { data, config, weights, update, log_q, query, candidate, candidates, clock, .. } = self;
        candidates.fill(data, batch, &config.loss, log_q);
        let (data, clock, step, products) = (&**data, &*clock, &update.embeddings, &candidates.distinct.ids);
        let (query_states, candidate_states) =
            (&mut update.query.embeddings, &mut update.candidate.embeddings);
        let (q, c) = (Arc::make_mut(&mut weights.query), Arc::make_mut(&mut weights.candidate));
        rayon::join(
            || query.forward(q, query_states, step, (&data.query.ids, &data.query.numbers), batch, clock),
            || {
                candidate.forward(
                    c,
                    candidate_states,
                    step,
                    (&data.candidates.ids, &data.candidates.numbers),
                    products,
                    clock,
                )
            },
        );
        candidates.embed(candidate, self.model.embedding_dim());
    }

    /// Loss, and the gradients of the embeddings in the towers' chunks.
    fn loss(&mut self, batch: usize) -> f64 {
        let Self { query, candidate, candidates, threads, clock, .. } = self;
        let (columns, slots) = (candidates.columns(), candidates.distinct.slots.as_slice());
        let (run, clock) = (query.run(), &*clock);
        let (n, dim) = columns.embeddings.dim();
        let losses: Vec<f64> = threads
            .par_iter_mut()
            .zip(&mut query.chunks)
            .enumerate()
            .map(|(i, (thread, chunk))| {
                thread.d_columns.reshape_zero(n, dim);
                let (q, d) = chunk.output_and_gradient();
                let from = (i * run).min(batch);
                let own = &slots[from..from + q.nrows()];
                thread.shares.resize(own.len(), 0.0);
                let d_columns = thread.d_columns.view_mut();
                let gemm = |alpha,
                            a: ndarray::ArrayView2<'_, f32>,
                            b: ndarray::ArrayView2<'_, f32>,
                            beta,
                            c: ndarray::ArrayViewMut2<'_, f32>| {
                    clock.gemm(alpha, a, b, beta, c);
                };
                thread.softmax.forward_backward(
                    &q,
                    own,
                    batch,
                    columns,
                    d,
                    d_columns,
                    &mut thread.shares,
                    &gemm,
                )
            })
            .collect();
        let (threads, run) = (&*threads, candidate.run());
        candidate.chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let (_, mut d) = chunk.output_and_gradient();
            for (row, mut d) in d.rows_mut().into_iter().enumerate() {
                let d = d.as_slice_mut().unwrap_or_default();
                d.copy_from_slice(threads[0].d_columns.row(i * run + row));
                threads[1..].iter().for_each(|thread| add(d, thread.d_columns.row(i * run + row)));
            }
        });
        losses.iter().sum()
    }

    fn backward(&mut self, batch: usize) {
        let Self { weights, query, candidate, candidates, threads, common, clock, config, .. } = self;
        let clock = &*clock;
        if !matches!(config.clip, Clip::PerVariable { .. }) {
            rayon::join(
                || query.backward(&weights.query, false, clock),
                || candidate.backward(&weights.candidate, false, clock),
            );
            return;
        }
        // Keras takes the norm of an embedding's gradient over the rows of the batch: those of equal candidates, too.
        let weight = match config.loss.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / batch as f32,
        };
        let (scale, run) = (weight / config.loss.temperature, query.run());
        let share = |i: usize| (query.embedding(i), scale * threads[i / run].shares[i % run]);
        let embeddings = &*candidate;
        candidates.common(common, |i| embeddings.gradient(i), share);
        let slots = candidates.distinct.slots.as_slice();
        let common = &*common;
        let member = |i: usize, d: &mut [f32]| {
            let (q, factor) = share(i);
            d.copy_from_slice(common.row(slots[i] as usize));
            add_scaled(d, factor, q);
        };
        candidate.backward_with_members(&weights.candidate, slots, member, clock);
        query.backward(&weights.query, true, clock);
    }

    /// Adds the L1 penalty's gradient on the first kernels and gives its value.
    fn add_l1(&mut self) -> f64 {
        let l1 = self.config.l1;
        if l1 == 0.0 {
            return 0.0;
        }
        let mut penalty = 0.0;
        for (weights, tower) in
            [(&self.weights.query, &mut self.query), (&self.weights.candidate, &mut self.candidate)]
        {
            let (Some(layer), Some(gradient)) = (weights.dense.first(), tower.dense.first_mut()) else {
                continue;
            };
            Zip::from(&mut gradient.kernel).and(&layer.kernel).for_each(|g, &w| {
                *g += if w == 0.0 { 0.0 } else { l1 * w.signum() };
                penalty += f64::from(w.abs());
            });
        }
        f64::from(l1) * penalty
    }
}

impl Backend for CpuBackend {
    fn step(&mut self, batch: &[u32], learning_rate: f32) -> Result<StepLoss> {
        self.check(batch)?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.update.open(learning_rate);
            let loss = self.forward_backward(batch);
            self.update.apply(&mut self.weights, &self.query, &self.candidate);
            Ok(loss)
        })
    }

    fn weights(&mut self) -> Weights {
        let pool = Arc::clone(&self.pool);
        pool.install(|| self.update.settle(&mut self.weights));
        self.weights.clone()
    }
}
