//! Epochs over a set of rows.

use super::evaluate::Evaluator;
use super::fit::purchases_of;
use super::init::{centre_biases, initial_weights, silence_unknown, start_biases};
use super::popularity::Popularity;
use crate::backend::{Backend, Batch, CpuBackend, StepLoss};
use crate::config::{Examples, Preset, TrainConfig};
use crate::data::{CustomerEpoch, EpochOrder, Purchases, SplitKind, TrainData};
use crate::error::{Error, Result};
use crate::schedule::{Plateau, warm_up};
use rayon::ThreadPool;
use recs_core::model::{Histories, ModelConfig, Weights};
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::Tower;
use recs_core::vocab::Vocabulary;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One epoch.
#[derive(Debug, Clone, Serialize)]
pub struct EpochStats {
    /// From 1.
    pub epoch: usize,
    /// Mean total loss of a step.
    pub loss: f64,
    /// Learning rate after warm-up.
    pub learning_rate: f32,
    /// Recall@100 on the validation rows; None when there are none.
    pub validation_recall_at_100: Option<f64>,
    /// Wall time of the steps, without validation.
    pub seconds: f64,
    /// Rows a second in the steps.
    pub examples_per_s: f64,
}

/// What all runs of one training share.
pub(super) struct Job<'a> {
    pub(super) data: &'a Arc<TrainData>,
    pub(super) model: &'a ModelConfig,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) config: &'a TrainConfig,
    pub(super) pool: &'a Arc<ThreadPool>,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a CancelToken,
}

/// Result of a run.
pub(super) struct Ran {
    pub(super) weights: Weights,
    /// The model that the weights are of: with a learned temperature as it was then.
    pub(super) model: ModelConfig,
    pub(super) history: Vec<EpochStats>,
    /// Epochs that led to the weights.
    pub(super) best_epochs: usize,
}

/// Rates decided beforehand, or decided by the validation.
pub(super) enum Rates<'a> {
    Validated(&'a [u32]),
    Fixed(Vec<f32>),
}

const STAGE: &str = "train";
const REPORT_EVERY: Duration = Duration::from_millis(200);

impl Job<'_> {
    /// Trains from the seed's starting weights on `rows`.
    pub(super) fn run(&self, rows: &[u32], rates: &Rates<'_>) -> Result<Ran> {
        let config = self.config;
        let mut weights = initial_weights(self.model, self.vocabulary, config.seed, config.embedding_init)?;
        if config.preset == Preset::Recommended {
            silence_unknown(self.model, &mut weights);
        }
        let popularity = Popularity::fit(self.data, rows);
        start_biases(self.model, self.data, &popularity, &mut weights);
        let log_q = popularity.log_q();
        let (data, pool) = (Arc::clone(self.data), Arc::clone(self.pool));
        let mut backend = CpuBackend::new(data, self.model.clone(), config.clone(), weights, log_q, pool)?;
        let epochs = match rates {
            Rates::Fixed(rates) => rates.len(),
            Rates::Validated(_) => config.epochs,
        };
        let total = Some((epochs * rows.len()) as u64);
        self.observer.on_event(&Event::Started { stage: STAGE, total, unit: "rows" });
        let purchases = purchases_of(self.data, self.model, config, rows);
        let (started, mut state) = (Instant::now(), Progress::new(self, rows, &purchases, epochs));
        let mut plateau = config.schedule.plateau.map(Plateau::new);
        let mut rate = config.learning_rate;
        let mut best: Option<(f64, usize, (Weights, ModelConfig))> = None;
        for epoch in 0..epochs {
            if let Rates::Fixed(rates) = rates {
                rate = rates[epoch];
            }
            let mut stats = state.epoch(&mut backend, epoch, rate)?;
            if let Rates::Validated(validation) = rates
                && !validation.is_empty()
            {
                let trained = self.trained(&mut backend);
                let recall = self.validate(&trained, &purchases, validation)?;
                stats.validation_recall_at_100 = Some(recall);
                if best.as_ref().is_none_or(|(b, ..)| recall > *b) {
                    best = Some((recall, epoch + 1, trained));
                }
                rate = plateau.as_mut().map_or(rate, |p| p.next_rate(config.learning_rate, recall));
            }
            state.finish(stats);
            let waited = best.as_ref().map_or(0, |(_, at, _)| epoch + 1 - at);
            let validates = matches!(rates, Rates::Validated(_));
            if validates && config.early_stopping.is_some_and(|stop| waited >= stop.patience) {
                break;
            }
        }
        self.observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
        let ran = state.history.len();
        let (best_epochs, (mut weights, model)) = match best {
            // Without early stopping all epochs are wanted, whatever the validation said.
            Some((_, at, trained)) if config.early_stopping.is_some() => (at, trained),
            _ => (ran, self.trained(&mut backend)),
        };
        centre_biases(self.model, self.data, &mut weights);
        Ok(Ran { weights, model, history: state.history, best_epochs })
    }

    /// The weights as they are now, and their model.
    fn trained(&self, backend: &mut CpuBackend) -> (Weights, ModelConfig) {
        let temperature = backend.learned_temperature().unwrap_or(self.model.temperature);
        let model = ModelConfig { temperature, ..self.model.clone() };
        (backend.weights(), model)
    }

    fn validate(
        &self,
        (weights, model): &(Weights, ModelConfig),
        purchases: &Arc<Purchases>,
        validation: &[u32],
    ) -> Result<f64> {
        let evaluator = Evaluator::new(self.data, model, weights, purchases, self.pool)?;
        Ok(evaluator.evaluate(validation, self.cancel)?.recall_at_100.unwrap_or(0.0))
    }
}

/// Steps, counted and reported.
struct Progress<'a> {
    job: &'a Job<'a>,
    rows: &'a [u32],
    purchases: &'a Purchases,
    epochs: usize,
    batch: usize,
    steps: u64,
    done: u64,
    reported: Instant,
    history: Vec<EpochStats>,
}

/// The batches of an epoch.
enum Batches<'a> {
    Rows {
        order: EpochOrder<'a>,
        with_histories: Option<(&'a TrainData, &'a Purchases)>,
        histories: Histories,
    },
    Customers(CustomerEpoch<'a>),
}

impl Batches<'_> {
    fn next(&mut self, n: usize) -> Option<Batch<'_>> {
        match self {
            Self::Rows { order, with_histories, histories } => {
                let rows = order.next_batch(n)?;
                if let Some((data, purchases)) = with_histories {
                    *histories = purchases.histories(data, rows);
                }
                Some(Batch { histories: with_histories.is_some().then_some(histories), ..Batch::rows(rows) })
            }
            Self::Customers(epoch) => epoch.next_batch(n),
        }
    }
}

impl<'a> Progress<'a> {
    fn new(job: &'a Job<'a>, rows: &'a [u32], purchases: &'a Purchases, epochs: usize) -> Self {
        let batch = job.config.batch.min(rows.len()).max(1);
        let (reported, history) = (Instant::now(), Vec::new());
        Self { job, rows, purchases, epochs, batch, steps: 0, done: 0, reported, history }
    }

    /// The batches of an epoch, and how many there are.
    fn batches(&self, epoch: usize) -> (Batches<'a>, usize) {
        let (job, seed) = (self.job, self.job.config.seed);
        match job.config.examples {
            Examples::Rows => {
                let order = EpochOrder::new(self.rows, seed, epoch);
                let looks = job.model.schema.widths(Tower::Query).has_history;
                let with_histories = looks.then_some((&**job.data, self.purchases));
                let histories = Histories::default();
                (Batches::Rows { order, with_histories, histories }, self.rows.len() / self.batch)
            }
            Examples::Customers(mut hold_out) => {
                if job.config.split == SplitKind::Random {
                    hold_out.recency_days = 0.0;
                }
                let epoch = CustomerEpoch::new(job.data, self.purchases, hold_out, seed, epoch);
                let steps = epoch.len().div_ceil(self.batch);
                (Batches::Customers(epoch), steps)
            }
        }
    }

    /// All batches of an epoch. Of rows only full ones: the rest, less than a batch, is other rows in every epoch.
    fn epoch(&mut self, backend: &mut dyn Backend, epoch: usize, rate: f32) -> Result<EpochStats> {
        let (mut batches, total) = self.batches(epoch);
        let (started, mut loss, mut steps, mut queries) = (Instant::now(), StepLoss::default(), 0, 0);
        let schedule = self.job.config.schedule;
        while let Some(batch) = batches.next(self.batch) {
            self.job.cancel.check()?;
            self.steps += 1;
            let progress = (epoch as f64 + steps as f64 / total.max(1) as f64) / self.epochs as f64;
            let factor = warm_up(schedule.warm_up_steps, self.steps) * schedule.decay.factor(progress);
            let n = batch.rows.len();
            let step = backend.step(batch, rate * factor)?;
            if !step.total().is_finite() {
                return Err(Error::Diverged { epoch, step: steps, loss: step.total() });
            }
            loss.retrieval += step.retrieval;
            loss.regularisation += step.regularisation;
            steps += 1;
            queries += n;
            self.report(epoch, steps, total);
        }
        let seconds = started.elapsed().as_secs_f64();
        // A pass over customers is one over their purchases.
        let examples = match self.job.config.examples {
            Examples::Rows => queries,
            Examples::Customers(_) => self.rows.len(),
        };
        Ok(EpochStats {
            epoch: epoch + 1,
            loss: loss.total() / steps.max(1) as f64,
            learning_rate: rate,
            validation_recall_at_100: None,
            seconds,
            examples_per_s: examples as f64 / seconds.max(1e-9),
        })
    }

    fn report(&mut self, epoch: usize, steps: usize, total: usize) {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.done = (epoch * self.rows.len() + self.rows.len() * steps / total.max(1)) as u64;
            self.job.observer.on_event(&Event::Progress { stage: STAGE, done: self.done });
        }
    }

    fn finish(&mut self, stats: EpochStats) {
        let step = stats.epoch as u64;
        let metric = |name: &str, value: f64| {
            self.job.observer.on_event(&Event::Metric { name: name.into(), step, value });
        };
        metric("loss", stats.loss);
        metric("learning_rate", f64::from(stats.learning_rate));
        metric("examples_per_s", stats.examples_per_s);
        if let Some(recall) = stats.validation_recall_at_100 {
            metric("validation_recall_at_100", recall);
        }
        self.history.push(stats);
    }
}
