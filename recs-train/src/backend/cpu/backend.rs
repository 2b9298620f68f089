//! One training step on the CPU.

use super::batch::Candidates;
use super::check::check_settings;
use super::clock::Clock;
use super::gradients::Gradients;
use super::members::Contrasts;
use super::objective::Thread;
use super::queries::Queries;
use super::sampling::Sampling;
use super::shared::{SharedTables, Towers};
use super::tower_step::TowerStep;
use super::update::{Factors, Update};
use crate::backend::{Backend, Batch, State, StepLoss};
use crate::checkpoint::{Tensor, Values};
use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::Result;
use crate::loss::{LossState, Targets};
use ndarray::Zip;
use rayon::ThreadPool;
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::schema::Tower;
use std::sync::Arc;
use std::time::Duration;

/// Trains on CPU threads of a pool of its own making.
///
/// A step embeds each distinct table row and candidate of a batch once, and, where nothing but their features tells them
/// apart, each distinct query: its cost falls with their number, its result is that of the batch as it stands. Large rooms
/// are kept from step to step; what a step allocates has the size of the layers, with a few numbers a row.
#[derive(Debug)]
pub struct CpuBackend {
    pub(super) data: Arc<TrainData>,
    pub(super) model: ModelConfig,
    pub(super) config: TrainConfig,
    pub(super) weights: Weights,
    pub(super) update: Update,
    pub(super) sampling: Sampling,
    pub(super) shared: SharedTables,
    pool: Arc<ThreadPool>,
    pub(super) queries: Queries,
    pub(super) query: TowerStep,
    pub(super) candidate: TowerStep,
    pub(super) candidates: Candidates,
    pub(super) threads: Vec<Thread>,
    /// Of queries and of candidates.
    pub(super) contrasts: [Contrasts; 2],
    pub(super) clock: Clock,
    /// Gradient of a learned log(1 / temperature).
    log_scale: f32,
}

impl CpuBackend {
    /// A backend that starts from `weights`; `log_q` holds the log of each catalogue product's sampling probability,
    /// and may be empty for a loss without the exact correction.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when the weights do not fit the model,
    /// [`Error::Config`](crate::Error::Config) when data or `log_q` do not.
    pub fn new(
        data: Arc<TrainData>,
        model: ModelConfig,
        config: TrainConfig,
        mut weights: Weights,
        log_q: Vec<f32>,
        pool: Arc<ThreadPool>,
    ) -> Result<Self> {
        data.check(&model)?;
        weights.tie(&model);
        let (query, candidates) = (&data.query, &data.candidates);
        for (tower, rows, ids, bags) in [
            (Tower::Query, query.rows, &*query.ids, &query.bags),
            (Tower::Candidate, candidates.rows, &candidates.ids, &candidates.bags),
        ] {
            TowerModel::new(&model, tower, Arc::clone(weights.tower(tower)))?.check(rows, ids, bags)?;
        }
        check_settings(&config, &model, &data, &log_q)?;
        let (threads, products) = (pool.current_num_threads(), data.catalogue.len());
        let bags = [query.bags.clone(), candidates.bags.clone()];
        let mut query = TowerStep::new(&model, &config, Tower::Query, &weights.query, threads);
        let mut candidate = TowerStep::new(&model, &config, Tower::Candidate, &weights.candidate, threads);
        query.set_bags(&bags[0]);
        candidate.set_bags(&bags[1]);
        let shared = SharedTables::new(&model, Towers { query: &mut query, candidate: &mut candidate });
        weights.untie(&model);
        Ok(Self {
            update: Update::new(&config, &weights, &model),
            shared,
            queries: Queries::new(&config),
            query,
            candidate,
            candidates: Candidates::new(&data),
            threads: (0..threads).map(|_| Thread::new(config.loss)).collect(),
            sampling: Sampling::new(&config, log_q, products, model.embedding_dim()),
            contrasts: Default::default(),
            clock: Clock::default(),
            data,
            model,
            config,
            weights,
            pool,
            log_scale: 0.0,
        })
    }

    /// Loss and gradients of a batch, before clipping. Weights are what they would be without, but for rows of tables that
    /// are brought up to date, as every step does for those that it reads.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn gradients(&mut self, batch: Batch<'_>) -> Result<(StepLoss, Gradients)> {
        self.check(batch)?;
        let pool = Arc::clone(&self.pool);
        let loss = pool.install(|| self.forward_backward(batch));
        let log_scale = self.update.temperature.is_some().then_some(self.log_scale);
        let (query, candidate) = (self.query.gradients(), self.candidate.gradients());
        Ok((loss, Gradients { query, candidate, log_scale }))
    }

    /// As [`CpuBackend::gradients`], clipped as configured.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn clipped_gradients(&mut self, batch: Batch<'_>) -> Result<Gradients> {
        let (_, mut gradients) = self.gradients(batch)?;
        gradients.scale(&Factors::new(self.config.clip, &self.query, &self.candidate, self.log_scale));
        Ok(gradients)
    }

    /// What a checkpoint must keep of the loss beside weights and optimisers: a learned temperature with its optimiser, the
    /// number of steps that drawing depends on, frequency estimates, columns of earlier steps. Between two steps; a backend
    /// of the same settings into whose slices these are written goes on with the same bits.
    pub fn loss_state(&mut self) -> LossState<'_> {
        let mut state = LossState::default();
        if let Some(temperature) = &mut self.update.temperature {
            let (numbers, counts) = temperature.state();
            state.numbers.extend(numbers);
            state.counts.push(counts);
        }
        self.sampling.add_state(&mut state);
        state
    }

    /// Time that all threads together have spent in matrix products.
    pub fn gemm_time(&self) -> Duration {
        self.clock.total()
    }

    fn forward_backward(&mut self, batch: Batch<'_>) -> StepLoss {
        let rescaled = self.rescaled(batch);
        let with_weights = |weights| batch.targets.map(|targets| Targets { weights, ..targets });
        let targets = rescaled.as_deref().map_or(batch.targets, with_weights);
        let batch = Batch { targets, ..batch };
        self.forward(batch);
        let weight = self.weight(batch);
        let retrieval = self.loss(batch, weight);
        self.log_scale = retrieval.log_scale;
        self.backward(weight);
        self.shared.sum(Towers { query: &mut self.query, candidate: &mut self.candidate });
        StepLoss { retrieval: retrieval.loss, regularisation: self.add_penalties() }
    }

    /// Adds the gradients of the penalties, L1 on the first kernels and L2 on all, and gives their value.
    fn add_penalties(&mut self) -> f64 {
        let TrainConfig { l1, l2, .. } = self.config;
        let (mut absolute, mut squares) = (0.0, 0.0);
        for (weights, tower) in
            [(&self.weights.query, &mut self.query), (&self.weights.candidate, &mut self.candidate)]
        {
            for (i, (layer, gradient)) in weights.dense.iter().zip(&mut tower.dense).enumerate() {
                if l1 > 0.0 && i == 0 {
                    Zip::from(&mut gradient.kernel).and(&layer.kernel).for_each(|g, &w| {
                        *g += if w == 0.0 { 0.0 } else { l1 * w.signum() };
                        absolute += f64::from(w.abs());
                    });
                }
                if l2 > 0.0 {
                    Zip::from(&mut gradient.kernel).and(&layer.kernel).for_each(|g, &w| {
                        *g += 2.0 * l2 * w;
                        squares += f64::from(w) * f64::from(w);
                    });
                }
            }
        }
        f64::from(l1) * absolute + f64::from(l2) * squares
    }
}

impl Backend for CpuBackend {
    fn step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<StepLoss> {
        self.check(batch)?;
        self.config.optimiser.check_rate("learning_rate", learning_rate)?;
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.update.open(learning_rate);
            let loss = self.forward_backward(batch);
            self.update.apply(&mut self.weights, &self.query, &self.candidate, self.log_scale);
            self.candidates.close(&mut self.sampling);
            Ok(loss)
        })
    }

    fn weights(&mut self) -> Weights {
        let pool = Arc::clone(&self.pool);
        pool.install(|| self.update.settle(&mut self.weights));
        let mut weights = self.weights.clone();
        weights.tie(&self.model);
        weights
    }

    fn state(&mut self) -> State<'_> {
        let mut state = self.update.state(&self.model, &mut self.weights);
        state.loss_fits = self.sampling.fits();
        let mut loss = LossState::default();
        self.sampling.add_state(&mut loss);
        let LossState { numbers, counts } = loss;
        for (i, numbers) in numbers.into_iter().enumerate() {
            state.tensors.push(Tensor::flat(format!("loss.numbers_{i}"), Values::F32(numbers)));
        }
        for (i, counts) in counts.into_iter().enumerate() {
            state.tensors.push(Tensor::flat(format!("loss.counts_{i}"), Values::U32(counts)));
        }
        state
    }
}
