//! Choose on validation, refit on everything before the test, report once.

use super::evaluation::{EvaluateOptions, Evaluation, Evaluator, ReportInputs};
use super::keeper::{Chosen, Keeper};
use super::popularity::Popularity;
use super::repeat::RepeatTerm;
use super::run::{EpochStats, Job, Ran, Rates};
use super::warm_start::{WarmStart, WarmStarted};
use crate::checkpoint::{CheckpointConfig, Fingerprint};
use crate::config::{Examples, TrainConfig};
use crate::data::{Purchases, Split, TrainData};
use crate::error::{Error, Result};
use rayon::ThreadPool;
use recs_core::artifact::ModelArtifact;
use recs_core::model::{ModelConfig, Weights};
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::Tower;
use recs_core::vocab::Vocabulary;
use std::sync::Arc;
use std::time::Instant;

/// Below this personalisation rate everybody gets nearly the same list.
const COLLAPSED: f64 = 0.05;

/// Trains one model.
#[derive(Debug)]
pub struct Trainer {
    pub(super) data: Arc<TrainData>,
    model: ModelConfig,
    vocabulary: Arc<Vocabulary>,
    pub(super) config: TrainConfig,
    pub(super) pool: Arc<ThreadPool>,
    checkpoints: Option<CheckpointConfig>,
    warm_start: Option<WarmStart>,
}

/// What the runs of a training lead to.
struct Trained {
    weights: Weights,
    model: ModelConfig,
    /// Epochs that led to the weights.
    epochs: usize,
    coefficients: Option<[f64; 6]>,
    history: Vec<EpochStats>,
    refit_history: Vec<EpochStats>,
}

/// A trained model and what is known about it.
#[derive(Debug, Clone)]
pub struct Fitted {
    pub(super) data: Arc<TrainData>,
    pub(super) vocabulary: Arc<Vocabulary>,
    /// The run's settings.
    pub config: TrainConfig,
    /// The architecture, with the temperature as it was learned.
    pub model: ModelConfig,
    /// The weights.
    pub weights: Arc<Weights>,
    /// Rows of each part.
    pub split: Split,
    /// The term for what customers buy again, over the rows that the weights were trained on.
    pub repeat: Option<RepeatTerm>,
    /// The version that it was started from, if any.
    pub warm_start: Option<WarmStarted>,
    /// True when the weights are those of the choosing run, trained on the training rows only.
    pub(super) chose_only: bool,
    /// The choosing run (or the only one).
    pub history: Vec<EpochStats>,
    /// The refit; empty without one.
    pub refit_history: Vec<EpochStats>,
    /// Epochs that the final weights were trained for.
    pub epochs: usize,
    /// On the test rows, or [`TrainConfig::test_rows`] of them.
    pub test: Evaluation,
    /// Popularity on the same rows, counted on the same training rows.
    pub popularity: Evaluation,
    /// Wall time of everything.
    pub seconds: f64,
}

impl Trainer {
    /// A trainer over data that was encoded with `model.schema` (see [`TrainConfig::model`]).
    ///
    /// # Errors
    /// [`Error::Config`], also for data of another schema; [`Error::Threads`].
    pub fn new(
        data: Arc<TrainData>,
        model: ModelConfig,
        vocabulary: Arc<Vocabulary>,
        config: TrainConfig,
    ) -> Result<Self> {
        config.validate()?;
        config.evaluation.check(&model.schema)?;
        model.validate()?;
        data.check(&model)?;
        let pool = Arc::new(pool(config.threads)?);
        Ok(Self { data, model, vocabulary, config, pool, checkpoints: None, warm_start: None })
    }

    /// Writes checkpoints while it trains, and starts from the newest one in their folder. A training that is killed and
    /// called again in the same way ends with the weights that it would have had, bit for bit; a cancelled one writes a
    /// checkpoint before it ends.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn with_checkpoints(self, checkpoints: CheckpointConfig) -> Result<Self> {
        checkpoints.validate()?;
        Ok(Self { checkpoints: Some(checkpoints), ..self })
    }

    /// Starts from the weights of an earlier version instead of random ones, whatever values have come or gone since: each
    /// value keeps its row, and a product that is new starts at the mean of the rows of the version's products of its
    /// subcategory, else of its category, else of all. Everything else that is new starts as without a version; see
    /// [`recs_core::growth`] for buckets and crosses. So do the biases of a version that moved them to a trend. A learned
    /// temperature starts where that version's ended.
    ///
    /// Both runs start there, the one that chooses and the refit. A version that was trained on rows of the test makes the
    /// report too good, which a warning says and [`Fitted::warm_start`] counts.
    ///
    /// # Errors
    /// [`Error::WarmStart`] naming what differs, for a version with other layers or encodings; [`Error::Core`] for one whose
    /// parts do not fit.
    pub fn warm_start(mut self, previous: &ModelArtifact) -> Result<Self> {
        if let Some(range) = self.config.loss.learned_temperature {
            let start = previous.config.temperature.clamp(range.lowest, range.highest);
            (self.config.loss.temperature, self.model.temperature) = (start, start);
        }
        self.warm_start = Some(WarmStart::new(previous, &self.model, &self.vocabulary, &self.data)?);
        Ok(self)
    }

    /// Trains and evaluates. Blocking: call it from a thread of its own in an async host.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty split, [`Error::Diverged`], [`recs_core::Error::Cancelled`]; with checkpoints
    /// [`Error::CheckpointBusy`], [`Error::CheckpointDiffers`] and [`Error::CheckpointDamaged`].
    pub fn fit(&self, observer: &dyn Observer, cancel: &CancelToken) -> Result<Fitted> {
        let started = Instant::now();
        let split = Split::new(&self.data, self.config.split)?;
        let job = self.job(observer, cancel);
        let chooses = (self.config.early_stopping.is_some() || self.config.repeat.is_some())
            && !split.validation.is_empty();
        let warm_start =
            self.warm_start.as_ref().map(|warm| warm.started(&split, chooses, &self.data, observer));
        let mut keeper = self.keeper(observer)?;
        let Trained { weights, model, epochs, coefficients, history, refit_history } =
            self.train(&job, &split, chooses, &mut keeper)?;
        let (chose_only, known) = (chooses && !self.config.refit, split.before_test());
        let trained_on = if chose_only { &split.train } else { &known };
        // Also where neither model nor settings look at them: the report does.
        let purchases = Arc::new(Purchases::new(&self.data, trained_on));
        let term = |(config, coefficients)| {
            RepeatTerm::new(config, coefficients, &self.data, Arc::clone(&purchases))
        };
        let repeat = self.config.repeat.zip(coefficients).map(term);
        let evaluator = Evaluator::new(&self.data, &model, &weights, &purchases, &self.pool)?;
        let evaluator = evaluator.with_repeat(repeat.clone());
        let popularity = Popularity::fit(&self.data, trained_on);
        let inputs = self.inputs(&popularity);
        let scored = spread(&split.test, self.config.test_rows);
        let (test, popularity) = judge(&evaluator, &scored, &inputs, observer, cancel)?;
        keeper.map_or(Ok(()), Keeper::finish)?;
        Ok(Fitted {
            data: Arc::clone(&self.data),
            vocabulary: Arc::clone(&self.vocabulary),
            config: self.config.clone(),
            model,
            weights: Arc::new(weights),
            split,
            repeat,
            warm_start,
            chose_only,
            history,
            refit_history,
            epochs,
            test,
            popularity,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    pub(super) fn job<'a>(&'a self, observer: &'a dyn Observer, cancel: &'a CancelToken) -> Job<'a> {
        let Self { data, model, vocabulary, config, pool, warm_start, .. } = self;
        let warm_start = warm_start.as_ref();
        Job { data, model, vocabulary, config, warm_start, pool, observer, cancel }
    }

    /// What must be equal for equal bits.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint> {
        let Self { config, model, vocabulary, data, pool, .. } = self;
        let fingerprint = Fingerprint::new(config, model, vocabulary, data, pool.current_num_threads())?;
        Ok(fingerprint.started_from(self.warm_start.as_ref().map(WarmStart::digest)))
    }

    fn keeper<'a>(&'a self, observer: &'a dyn Observer) -> Result<Option<Keeper<'a>>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        Keeper::new(checkpoints, &self.model, self.fingerprint()?, observer).map(Some)
    }

    /// The run that chooses and the refit, or the only run.
    fn train(
        &self,
        job: &Job<'_>,
        split: &Split,
        chooses: bool,
        keeper: &mut Option<Keeper<'_>>,
    ) -> Result<Trained> {
        let known = split.before_test();
        if !chooses {
            let rates = vec![self.config.learning_rate; self.config.epochs];
            let Ran { weights, model, history, best_epochs } =
                job.run(&known, &Rates::Fixed(rates), keeper)?;
            let (epochs, coefficients, refit_history) = (best_epochs, None, Vec::new());
            return Ok(Trained { weights, model, epochs, coefficients, history, refit_history });
        }
        let (first, chosen) = match keeper.as_ref().and_then(Keeper::chosen) {
            Some(chosen) => (None, chosen),
            None => {
                let sample = spread(&split.validation, self.config.validation_rows);
                let mut ran = job.run(&split.train, &Rates::Validated(&sample), keeper)?;
                let coefficients = self.repeat(&ran, split, job.cancel)?;
                let (history, best_epochs) = (std::mem::take(&mut ran.history), ran.best_epochs);
                (Some(ran), Chosen { history, best_epochs, coefficients })
            }
        };
        let Ran { weights, model, history: refit_history, .. } = match first {
            Some(ran) if !self.config.refit => ran,
            _ => {
                keeper.iter_mut().for_each(|keeper| keeper.refits(&chosen));
                let rates = chosen.history.iter().take(chosen.best_epochs).map(|e| e.learning_rate).collect();
                job.run(&known, &Rates::Refit(rates), keeper)?
            }
        };
        let Chosen { history, best_epochs: epochs, coefficients } = chosen;
        Ok(Trained { weights, model, epochs, coefficients, history, refit_history })
    }

    fn inputs<'a>(&'a self, popularity: &'a Popularity) -> ReportInputs<'a> {
        let (options, schema) = (&self.config.evaluation, &self.model.schema);
        ReportInputs { options, popularity, schema, vocabulary: &self.vocabulary }
    }

    /// Fits what customers buy again on the validation rows, towers and purchases being those of the training rows.
    fn repeat(&self, first: &Ran, split: &Split, cancel: &CancelToken) -> Result<Option<[f64; 6]>> {
        let Some(config) = self.config.repeat else { return Ok(None) };
        let purchases = Arc::new(Purchases::new(&self.data, &split.train));
        let towers = Evaluator::new(&self.data, &first.model, &first.weights, &purchases, &self.pool)?;
        let term = RepeatTerm::fit(config, &self.data, purchases, &towers, &split.validation, cancel)?;
        Ok(Some(term.coefficients))
    }
}

/// The purchases of `rows`, where model or settings look at them.
pub(super) fn purchases_of(
    data: &TrainData,
    model: &ModelConfig,
    config: &TrainConfig,
    rows: &[u32],
) -> Arc<Purchases> {
    let looks = model.schema.widths(Tower::Query).has_history
        || matches!(config.examples, Examples::Customers(_))
        || config.repeat.is_some();
    Arc::new(if looks { Purchases::new(data, rows) } else { Purchases::default() })
}

/// Threads of our own; 0 = all cores.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("recs-train-{i}"))
        .build()
        .map_err(|source| Error::Threads { threads, source })
}

/// Reports on a model and on popularity, and warns when everybody gets the same list.
pub(super) fn judge(
    evaluator: &Evaluator<'_>,
    rows: &[u32],
    inputs: &ReportInputs<'_>,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<(Evaluation, Evaluation)> {
    const STAGE: &str = "evaluate";
    observer.on_event(&Event::Started { stage: STAGE, total: Some(rows.len() as u64), unit: "rows" });
    let (evaluation, popularity) = evaluator.report(rows, inputs, cancel)?;
    observer.on_event(&Event::Finished { stage: STAGE, seconds: evaluation.seconds });
    if let Some(rate) = evaluation.personalisation.filter(|r| *r < COLLAPSED) {
        let message = format!(
            "customers get nearly the same list (personalisation rate {rate:.3}): train longer, lower the learning \
             rate, or check that customer_id varies"
        );
        observer.on_event(&Event::Warning { stage: STAGE, message });
    }
    Ok((evaluation, popularity))
}

/// At most `n` rows, evenly spread; all for 0.
pub(super) fn spread(rows: &[u32], n: usize) -> Vec<u32> {
    if n == 0 || n >= rows.len() {
        return rows.to_vec();
    }
    (0..n).map(|i| rows[i * rows.len() / n]).collect()
}

impl Fitted {
    /// What the test rows were judged by: for ranks row by row, or for other rows. `pool` scores.
    ///
    /// # Errors
    /// [`Error::Core`] when weights and model do not fit.
    pub fn evaluator<'a>(&'a self, pool: &'a ThreadPool) -> Result<Evaluator<'a>> {
        let trained_on = self.trained_on();
        let purchases = Arc::new(Purchases::new(&self.data, &trained_on));
        let towers = Evaluator::new(&self.data, &self.model, &self.weights, &purchases, pool)?;
        Ok(towers.with_repeat(self.repeat.clone()))
    }

    /// Judges the test rows once more, with other options: the model, and popularity beside it. `pool` scores.
    ///
    /// # Errors
    /// As [`Evaluator::report`].
    pub fn report(
        &self,
        options: &EvaluateOptions,
        pool: &ThreadPool,
        cancel: &CancelToken,
    ) -> Result<(Evaluation, Evaluation)> {
        options.check(&self.model.schema)?;
        let popularity = &Popularity::fit(&self.data, &self.trained_on());
        let (schema, vocabulary) = (&self.model.schema, &*self.vocabulary);
        let inputs = ReportInputs { options, popularity, schema, vocabulary };
        self.evaluator(pool)?.report(&self.split.test, &inputs, cancel)
    }

    /// The rows that the weights were trained on.
    pub(super) fn trained_on(&self) -> Vec<u32> {
        if self.chose_only { self.split.train.clone() } else { self.split.before_test() }
    }

    /// Median of rows a second over the epochs of all runs, the first epoch left out when there are others.
    pub fn examples_per_s(&self) -> f64 {
        let epochs: Vec<f64> =
            self.history.iter().chain(&self.refit_history).map(|e| e.examples_per_s).collect();
        let mut steady = if epochs.len() > 1 { epochs[1..].to_vec() } else { epochs };
        steady.sort_by(f64::total_cmp);
        steady.get(steady.len() / 2).copied().unwrap_or(0.0)
    }
}
