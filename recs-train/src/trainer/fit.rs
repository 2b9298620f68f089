//! Choose on validation, refit on everything before the test, report once.

use super::evaluate::{Evaluation, Evaluator};
use super::popularity::Popularity;
use super::repeat::RepeatTerm;
use super::run::{EpochStats, Job, Ran, Rates};
use crate::config::{Examples, TrainConfig};
use crate::data::{Purchases, Split, TrainData};
use crate::error::{Error, Result};
use rayon::ThreadPool;
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
    data: Arc<TrainData>,
    model: ModelConfig,
    vocabulary: Arc<Vocabulary>,
    config: TrainConfig,
    pool: Arc<ThreadPool>,
}

/// A trained model and what is known about it.
#[derive(Debug, Clone)]
pub struct Fitted {
    pub(super) data: Arc<TrainData>,
    pub(super) vocabulary: Arc<Vocabulary>,
    /// The run's settings.
    pub config: TrainConfig,
    /// The architecture.
    pub model: ModelConfig,
    /// The weights.
    pub weights: Arc<Weights>,
    /// Rows of each part.
    pub split: Split,
    /// The term for what customers buy again, over the rows that the weights were trained on.
    pub repeat: Option<RepeatTerm>,
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
        model.validate()?;
        data.check(&model)?;
        let pool = Arc::new(pool(config.threads)?);
        Ok(Self { data, model, vocabulary, config, pool })
    }

    /// Trains and evaluates. Blocking: call it from a thread of its own in an async host.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty split, [`Error::Diverged`], [`recs_core::Error::Cancelled`].
    pub fn fit(&self, observer: &dyn Observer, cancel: &CancelToken) -> Result<Fitted> {
        let started = Instant::now();
        let split = Split::new(&self.data, self.config.split)?;
        let job = Job {
            data: &self.data,
            model: &self.model,
            vocabulary: &self.vocabulary,
            config: &self.config,
            pool: &self.pool,
            observer,
            cancel,
        };
        let known = split.before_test();
        let chooses = (self.config.early_stopping.is_some() || self.config.repeat.is_some())
            && !split.validation.is_empty();
        let (first, second, coefficients) = if chooses {
            let sample = spread(&split.validation, self.config.validation_rows);
            let first = job.run(&split.train, &Rates::Validated(&sample))?;
            let coefficients = self.repeat(&first.weights, &split, cancel)?;
            let rates = first.history.iter().take(first.best_epochs).map(|e| e.learning_rate).collect();
            let second = if self.config.refit { Some(job.run(&known, &Rates::Fixed(rates))?) } else { None };
            (first, second, coefficients)
        } else {
            let rates = vec![self.config.learning_rate; self.config.epochs];
            (job.run(&known, &Rates::Fixed(rates))?, None, None)
        };
        let chose_only = chooses && second.is_none();
        let trained_on = if chose_only { &split.train } else { &known };
        let baseline = Instant::now();
        let scored = spread(&split.test, self.config.test_rows);
        let popularity = Popularity::fit(&self.data, trained_on).evaluate(&self.data.product, &scored);
        let popularity = Evaluation::new(popularity, None, baseline.elapsed().as_secs_f64());
        let Ran { weights, history: refit_history, best_epochs } = match second {
            Some(second) => second,
            None => Ran { weights: first.weights, history: Vec::new(), best_epochs: first.best_epochs },
        };
        let purchases = purchases_of(&self.data, &self.model, &self.config, trained_on);
        let term = |(config, coefficients)| {
            RepeatTerm::new(config, coefficients, &self.data, Arc::clone(&purchases))
        };
        let repeat = self.config.repeat.zip(coefficients).map(term);
        let evaluator = Evaluator::new(&self.data, &self.model, &weights, &purchases, &self.pool)?;
        let test = judge(&evaluator.with_repeat(repeat.clone()), &scored, observer, cancel)?;
        Ok(Fitted {
            data: Arc::clone(&self.data),
            vocabulary: Arc::clone(&self.vocabulary),
            config: self.config.clone(),
            model: self.model.clone(),
            weights: Arc::new(weights),
            split,
            repeat,
            chose_only,
            history: first.history,
            refit_history,
            epochs: best_epochs,
            test,
            popularity,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Fits what customers buy again on the validation rows, towers and purchases being those of the training rows.
    fn repeat(&self, weights: &Weights, split: &Split, cancel: &CancelToken) -> Result<Option<[f64; 6]>> {
        let Some(config) = self.config.repeat else { return Ok(None) };
        let purchases = Arc::new(Purchases::new(&self.data, &split.train));
        let towers = Evaluator::new(&self.data, &self.model, weights, &purchases, &self.pool)?;
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

/// Evaluates, and warns when everybody gets the same list.
pub(super) fn judge(
    evaluator: &Evaluator<'_>,
    rows: &[u32],
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<Evaluation> {
    const STAGE: &str = "evaluate";
    observer.on_event(&Event::Started { stage: STAGE, total: Some(rows.len() as u64), unit: "rows" });
    let evaluation = evaluator.evaluate(rows, cancel)?;
    observer.on_event(&Event::Finished { stage: STAGE, seconds: evaluation.seconds });
    if let Some(rate) = evaluation.personalisation.filter(|r| *r < COLLAPSED) {
        let message = format!(
            "customers get nearly the same list (personalisation rate {rate:.3}): train longer, lower the learning \
             rate, or check that customer_id varies"
        );
        observer.on_event(&Event::Warning { stage: STAGE, message });
    }
    Ok(evaluation)
}

/// At most `n` rows, evenly spread; all for 0.
fn spread(rows: &[u32], n: usize) -> Vec<u32> {
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
        let purchases = purchases_of(&self.data, &self.model, &self.config, &trained_on);
        let towers = Evaluator::new(&self.data, &self.model, &self.weights, &purchases, pool)?;
        Ok(towers.with_repeat(self.repeat.clone()))
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
