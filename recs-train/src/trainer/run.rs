//! Epochs over a set of rows.

use super::epoch::{Place, Progress};
use super::evaluation::Evaluator;
use super::init::{centre_biases, initial_weights, silence_unknown, start_biases};
use super::keeper::{Keeper, Phase};
use super::popularity::Popularity;
use super::warm_start::WarmStart;
use crate::backend::{Backend, CpuBackend};
use crate::config::{Examples, Preset, TrainConfig};
use crate::data::{Purchases, TrainData};
use crate::error::{Error, Result};
use crate::schedule::Plateau;
use rayon::ThreadPool;
use recs_core::model::{ModelConfig, Weights};
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::Tower;
use recs_core::vocab::Vocabulary;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// One epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EpochStats {
    /// From 1.
    pub epoch: usize,
    /// Mean total loss of a step.
    pub loss: f64,
    /// Learning rate of the epoch, as reductions on a plateau leave it; a step's is that times warm-up and decay.
    pub learning_rate: f32,
    /// Recall@100 on the validation rows; None when there are none.
    pub validation_recall_at_100: Option<f64>,
    /// The temperature after it, where that is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
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
    /// What it starts from instead of the seed's weights.
    pub(super) warm_start: Option<&'a WarmStart>,
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
    /// Those that another run was chosen with.
    Refit(Vec<f32>),
}

impl Rates<'_> {
    fn phase(&self) -> Phase {
        if matches!(self, Self::Refit(_)) { Phase::Refit } else { Phase::First }
    }

    /// Epochs at most.
    fn epochs(&self, config: &TrainConfig) -> usize {
        match self {
            Self::Fixed(rates) | Self::Refit(rates) => rates.len(),
            Self::Validated(_) => config.epochs,
        }
    }

    /// Rate of an epoch, the number of epochs before it given.
    fn rate(&self, epoch: usize, choice: &Choice) -> f32 {
        match self {
            Self::Fixed(rates) | Self::Refit(rates) => rates[epoch],
            Self::Validated(_) => choice.rate,
        }
    }
}

/// What the validation says so far.
struct Choice {
    plateau: Option<Plateau>,
    /// Rate of the next epoch.
    rate: f32,
    /// Recall of the best epoch, and its number from 1.
    best: Option<(f64, usize)>,
    /// Its weights, with early stopping.
    weights: Option<Weights>,
}

impl Choice {
    fn new(config: &TrainConfig) -> Self {
        let (plateau, rate) = (config.schedule.plateau.map(Plateau::new), config.learning_rate);
        Self { plateau, rate, best: None, weights: None }
    }

    /// What it was at the end of these epochs.
    fn resumed(config: &TrainConfig, history: &[EpochStats], weights: Option<Weights>) -> Self {
        let mut choice = Self { weights, ..Self::new(config) };
        for stats in history {
            let recall = stats.validation_recall_at_100;
            recall.map(|recall| choice.take(config, stats.epoch, recall));
        }
        choice
    }

    /// Takes the validation of `epoch`, from 1; true when it is the best so far.
    fn take(&mut self, config: &TrainConfig, epoch: usize, recall: f64) -> bool {
        self.rate = self.plateau.as_mut().map_or(self.rate, |p| p.next_rate(config.learning_rate, recall));
        let is_best = self.best.is_none_or(|(best, _)| recall > best);
        if is_best {
            self.best = Some((recall, epoch));
        }
        is_best
    }
}

pub(super) const STAGE: &str = "train";

impl Job<'_> {
    /// The backend at the seed's starting weights, or those of an earlier version.
    fn backend(&self, rows: &[u32]) -> Result<CpuBackend> {
        let config = self.config;
        let mut weights = initial_weights(self.model, self.vocabulary, config.seed, config.embedding_init)?;
        if config.preset == Preset::Recommended {
            silence_unknown(self.model, &mut weights);
        }
        let popularity = Popularity::fit(self.data, rows);
        start_biases(self.model, self.data, &popularity, &mut weights);
        if let Some(warm_start) = self.warm_start {
            warm_start.apply(self.model, &mut weights)?;
        }
        let log_q = popularity.log_q();
        let (data, pool) = (Arc::clone(self.data), Arc::clone(self.pool));
        CpuBackend::new(data, self.model.clone(), config.clone(), weights, log_q, pool)
    }

    /// Trains from the starting weights on `rows`, or from where the keeper has the run.
    pub(super) fn run(
        &self,
        rows: &[u32],
        rates: &Rates<'_>,
        keeper: &mut Option<Keeper<'_>>,
    ) -> Result<Ran> {
        let config = self.config;
        let mut backend = self.backend(rows)?;
        let mut choice = Choice::new(config);
        let mut place = Place::default();
        if let Some((at, weights)) = keeper.as_mut().map_or(Ok(None), |k| k.resume(&mut backend))? {
            (choice, place) = (Choice::resumed(config, &at.history, weights), at);
        }
        let epochs = rates.epochs(config);
        let total = Some((epochs * rows.len()) as u64);
        self.observer.on_event(&Event::Phase { stage: STAGE, phase: rates.phase().name() });
        self.observer.on_event(&Event::Started { stage: STAGE, total, unit: "rows" });
        let purchases = purchases_of(self.data, self.model, config, rows);
        let (started, mut state) = (Instant::now(), Progress::new(self, rows, &purchases, place));
        for epoch in state.place.epoch..epochs {
            let rate = rates.rate(epoch, &choice);
            // On a thread of the pool: each step would wake it up and wait for it otherwise.
            let mut stats =
                self.pool.install(|| state.epoch(&mut backend, rate, keeper, &mut choice.weights))?;
            stats.temperature = backend.learned_temperature().map(f64::from);
            if let Rates::Validated(validation) = rates
                && !validation.is_empty()
            {
                let weights = backend.weights();
                let recall = self.validate(&self.trained(&stats), &weights, &purchases, validation);
                let recall = recall.map_err(|e| state.not_finite(e, stats.loss, keeper))?;
                stats.validation_recall_at_100 = Some(recall);
                if choice.take(config, epoch + 1, recall) && config.early_stopping.is_some() {
                    choice.weights = Some(weights);
                }
            }
            state.finish(stats);
            let waited = choice.best.map_or(0, |(_, at)| epoch + 1 - at);
            let validates = matches!(rates, Rates::Validated(_));
            if validates && config.early_stopping.is_some_and(|stop| waited >= stop.patience) {
                break;
            }
        }
        self.observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
        if state.place.steps == 0 {
            return Err(no_step());
        }
        Ok(self.ran(state.place.history, choice, &mut backend, rows))
    }

    /// The weights of the best epoch, moved to the trend.
    fn ran(&self, history: Vec<EpochStats>, choice: Choice, backend: &mut CpuBackend, rows: &[u32]) -> Ran {
        // Without early stopping all epochs are wanted, whatever the validation said.
        let (best_epochs, mut weights) = match (choice.best, choice.weights) {
            (Some((_, at)), Some(weights)) => (at, weights),
            _ => (history.len(), backend.weights()),
        };
        if let Some(trend) = self.config.trend {
            trend.add(self.model, self.data, rows, &mut weights);
        }
        centre_biases(self.model, self.data, &mut weights);
        let last = best_epochs.checked_sub(1).and_then(|at| history.get(at));
        let model = last.map_or_else(|| self.model.clone(), |stats| self.trained(stats));
        Ran { weights, model, history, best_epochs }
    }

    /// The model as it was after an epoch.
    fn trained(&self, epoch: &EpochStats) -> ModelConfig {
        // Was one of 32 bits.
        let temperature = epoch.temperature.map_or(self.model.temperature, |temperature| temperature as f32);
        ModelConfig { temperature, ..self.model.clone() }
    }

    fn validate(
        &self,
        model: &ModelConfig,
        weights: &Weights,
        purchases: &Arc<Purchases>,
        validation: &[u32],
    ) -> Result<f64> {
        let evaluator = Evaluator::new(self.data, model, weights, purchases, self.pool)?;
        Ok(evaluator.evaluate(validation, self.cancel)?.recall_at_100.unwrap_or(0.0))
    }
}

/// Of rows there is always one; of customers only when a day of one is held out.
fn no_step() -> Error {
    let reason = "gave no step: in no epoch a day of any customer was held out; raise train.examples.share";
    Error::Data { what: "training rows", reason: reason.into() }
}

/// The purchases of `rows`, where model or settings look at them.
fn purchases_of(data: &TrainData, model: &ModelConfig, config: &TrainConfig, rows: &[u32]) -> Arc<Purchases> {
    let looks = model.schema.widths(Tower::Query).has_history
        || matches!(config.examples, Examples::Customers(_))
        || config.repeat.is_some();
    Arc::new(if looks { Purchases::new(data, rows) } else { Purchases::default() })
}
