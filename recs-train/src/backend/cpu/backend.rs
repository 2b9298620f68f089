//! One training step on the CPU.

use super::batch::Candidates;
use super::clock::Clock;
use super::gradients::Gradients;
use super::matrix::Matrix;
use super::tower_step::{Rows, TowerStep};
use super::update::{Factors, Update};
use crate::backend::{Backend, Batch, State, StepLoss};
use crate::config::TrainConfig;
use crate::data::TrainData;
use crate::error::{Error, Result};
use crate::loss::{Negatives, Reduction, Softmax, SoftmaxGradients, Targets};
use crate::optim::Clip;
use ndarray::{ArrayView2, ArrayViewMut2, Zip};
use rayon::ThreadPool;
use recs_core::kernel::{add, add_scaled};
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::schema::Tower;
use std::sync::Arc;
use std::time::Duration;

type View<'a> = ArrayView2<'a, f32>;
type ViewMut<'a> = ArrayViewMut2<'a, f32>;

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
    /// 0, 1, 2, … and 1, 1, 1, …: the offsets and weights of rows with one target each.
    ones: (Vec<u32>, Vec<f32>),
}

/// What each thread has for the loss.
#[derive(Debug)]
struct Thread {
    softmax: Softmax,
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
        let appended = model.has_bias() || model.schema.widths(Tower::Query).has_history;
        if matches!(config.clip, Clip::PerVariable { .. }) && appended {
            let reason = "per_variable is for models without histories and biases; use global_norm or none";
            return Err(Error::config("train.clip.kind", reason));
        }
        if matches!(config.clip, Clip::PerVariable { .. }) && config.loss.negatives == Negatives::Full {
            return Err(Error::config(
                "train.clip.kind",
                "per_variable is for in-batch negatives; use global_norm or none",
            ));
        }
        let threads = pool.current_num_threads();
        let thread = || Thread {
            softmax: Softmax::new(config.loss),
            d_columns: Matrix::default(),
            shares: Vec::new(),
        };
        Ok(Self {
            update: Update::new(config.optimiser, config.clip, &weights, model.has_bias()),
            query: TowerStep::new(&model, Tower::Query, &weights.query, threads),
            candidate: TowerStep::new(&model, Tower::Candidate, &weights.candidate, threads),
            candidates: Candidates::new(&data),
            threads: (0..threads).map(|_| thread()).collect(),
            common: Matrix::default(),
            clock: Clock::default(),
            ones: (vec![0], Vec::new()),
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
    pub fn gradients(&mut self, batch: Batch<'_>) -> Result<(StepLoss, Gradients)> {
        self.check(batch)?;
        let pool = Arc::clone(&self.pool);
        let loss = pool.install(|| self.forward_backward(batch));
        Ok((loss, Gradients { query: self.query.gradients(), candidate: self.candidate.gradients() }))
    }

    /// As [`CpuBackend::gradients`], clipped as configured.
    ///
    /// # Errors
    /// As [`Backend::step`].
    pub fn clipped_gradients(&mut self, batch: Batch<'_>) -> Result<Gradients> {
        let (_, mut gradients) = self.gradients(batch)?;
        gradients.scale(&Factors::new(self.config.clip, &self.query, &self.candidate));
        Ok(gradients)
    }

    /// Time that all threads together have spent in matrix products.
    pub fn gemm_time(&self) -> Duration {
        self.clock.total()
    }

    fn check(&self, batch: Batch<'_>) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("batch", reason));
        let products = self.data.catalogue.len();
        let known = |row: u32| match self.data.product.get(row as usize) {
            Some(&product) => batch.targets.is_some() || (product as usize) < products,
            None => false,
        };
        if let Some(row) = batch.rows.iter().find(|&&row| !known(row)) {
            return refuse(format!("row {row} does not exist or has no known product"));
        }
        let n = batch.rows.len();
        if let Some(targets) = batch.targets {
            let Targets { offsets, columns, weights } = targets;
            let end = offsets.last().map_or(0, |&end| end as usize);
            let ascend = offsets.windows(2).all(|w| w[0] <= w[1]) && offsets.first() == Some(&0);
            if offsets.len() != n + 1 || !ascend || [columns.len(), weights.len()] != [end; 2] {
                return refuse(format!("the targets are not those of {n} rows"));
            }
            if let Some(product) = columns.iter().find(|&&p| p as usize >= products) {
                return refuse(format!("product {product} is beyond the catalogue of {products}"));
            }
        }
        let wants = self.model.schema.widths(Tower::Query).has_history;
        match batch.histories {
            None if wants => refuse("has no histories, which the model looks at".into()),
            Some(histories) if wants && histories.rows() != n => {
                refuse(format!("has {} histories for {n} rows", histories.rows()))
            }
            _ if batch.targets.is_some() && matches!(self.config.clip, Clip::PerVariable { .. }) => refuse(
                "has targets, which clipping per variable cannot tell apart; use global_norm or none".into(),
            ),
            _ => Ok(()),
        }
    }

    fn forward_backward(&mut self, batch: Batch<'_>) -> StepLoss {
        self.forward(batch);
        let weight = self.weight(batch);
        let retrieval = self.loss(batch, weight);
        self.backward(weight);
        StepLoss { retrieval, regularisation: self.add_l1() }
    }

    /// What the loss of every target is multiplied by.
    fn weight(&self, batch: Batch<'_>) -> f32 {
        match (self.config.loss.reduction, batch.targets) {
            (Reduction::Sum, _) => 1.0,
            (Reduction::Mean, None) => 1.0 / batch.rows.len().max(1) as f32,
            (Reduction::Mean, Some(targets)) => {
                1.0 / targets.weights.iter().sum::<f32>().max(f32::MIN_POSITIVE)
            }
        }
    }

    fn forward(&mut self, batch: Batch<'_>) {
        let Self { data, config, weights, update, log_q, query, candidate, candidates, clock, .. } = self;
        let (data, clock) = (&**data, &*clock);
        let steps = [&update.embeddings, &update.dense];
        let (query_states, candidate_states) =
            (&mut update.query.embeddings, &mut update.candidate.embeddings);
        let (q, c) = (Arc::make_mut(&mut weights.query), Arc::make_mut(&mut weights.candidate));
        let queries = Rows {
            ids: &data.query.ids,
            numbers: &data.query.numbers,
            batch: batch.rows,
            histories: batch.histories,
        };
        let dim = self.model.embedding_dim();
        rayon::join(
            || query.forward(q, query_states, steps, queries, clock),
            || {
                candidates.fill(data, batch, &config.loss, log_q);
                let products = Rows {
                    ids: &data.candidates.ids,
                    numbers: &data.candidates.numbers,
                    batch: &candidates.distinct.ids,
                    histories: None,
                };
                candidate.forward(c, candidate_states, steps, products, clock);
                candidates.embed(candidate, dim);
            },
        );
    }

    /// Loss, and the gradients of the embeddings in the towers' chunks.
    fn loss(&mut self, batch: Batch<'_>, weight: f32) -> f64 {
        let Self { query, candidate, candidates, threads, clock, ones, .. } = self;
        let rows = batch.rows.len();
        ones.0.extend(ones.0.len() as u32..=rows as u32);
        ones.1.resize(rows.max(ones.1.len()), 1.0);
        let columns = candidates.columns();
        let slots = candidates.distinct.slots.as_slice();
        let targets = match batch.targets {
            None => Targets { offsets: &ones.0[..=rows], columns: slots, weights: &ones.1 },
            Some(targets) => Targets { columns: slots, ..targets },
        };
        let (run, clock) = (query.run(), &*clock);
        let (n, dim) = columns.embeddings.dim();
        let gemm = |alpha, a: View<'_>, b: View<'_>, beta, c: ViewMut<'_>| clock.gemm(alpha, a, b, beta, c);
        let losses = query.each_chunk(threads, |i, thread, q, d| {
            thread.d_columns.reshape(n, dim);
            thread.shares.resize(q.nrows(), 0.0);
            let from = (i * run).min(rows);
            let targets = targets.rows(from, from + q.nrows());
            let gradients = SoftmaxGradients {
                queries: d,
                columns: thread.d_columns.view_mut(),
                shares: &mut thread.shares,
            };
            thread.softmax.forward_backward(&q, targets, weight, columns, gradients, &gemm)
        });
        let (threads, run) = (&*threads, candidate.run());
        let mut nothing = vec![(); threads.len()];
        candidate.each_chunk(&mut nothing, |i, (), _, mut d| {
            for (row, mut d) in d.rows_mut().into_iter().enumerate() {
                let d = d.as_slice_mut().unwrap_or_default();
                d.copy_from_slice(threads[0].d_columns.row(i * run + row));
                threads[1..].iter().for_each(|thread| add(d, thread.d_columns.row(i * run + row)));
            }
        });
        losses.iter().sum()
    }

    fn backward(&mut self, weight: f32) {
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
        candidate.set_members(slots.len(), member);
        rayon::join(
            || query.backward(&weights.query, true, clock),
            || candidate.backward_with_members(&weights.candidate, slots, clock),
        );
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
    fn step(&mut self, batch: Batch<'_>, learning_rate: f32) -> Result<StepLoss> {
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

    fn state(&mut self) -> State<'_> {
        self.update.state(&self.model, &mut self.weights)
    }
}
