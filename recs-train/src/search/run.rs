//! The search itself.

use super::config::SearchConfig;
use super::halving::{Rung, promoted};
use super::results::Results;
use super::space::{Settings, apply};
use super::track::{TrackTrials, TrialRun, Untracked};
use super::trial::{SearchReport, Trial};
use crate::config::TrainConfig;
use crate::data::{Fold, TrainData};
use crate::error::{Error, Result};
use crate::trainer::{Trainer, check};
use recs_core::model::ModelConfig;
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::Schema;
use recs_core::vocab::Vocabulary;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

const STAGE: &str = "search";

/// A search over settings. It holds rows before the test only: nothing that it finds has seen a test row.
pub struct Search {
    /// The same rows, encoded for each of [`SearchConfig::schemas`].
    data: Vec<Arc<TrainData>>,
    schema: Schema,
    vocabulary: Arc<Vocabulary>,
    base: TrainConfig,
    config: SearchConfig,
    folds: Vec<Fold>,
    rungs: Vec<Rung>,
    results: Option<PathBuf>,
    tracker: Arc<dyn TrackTrials>,
}

/// What a run of a search shares.
struct Run<'a> {
    results: Option<Results>,
    observer: &'a dyn Observer,
    cancel: &'a CancelToken,
}

impl Search {
    /// A search from `base` on, over the rows of one dataset, encoded with each of [`SearchConfig::schemas`]: one, unless
    /// trials differ in their encodings. The settings of all trials are drawn and checked here, before the first of them is
    /// trained.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting, also for data of another schema, vocabulary or dataset, [`Error::Data`] for
    /// folds without rows, [`Error::Threads`].
    pub fn new(
        data: impl IntoIterator<Item = Arc<TrainData>>,
        schema: &Schema,
        vocabulary: Arc<Vocabulary>,
        base: TrainConfig,
        config: SearchConfig,
    ) -> Result<Self> {
        base.validate()?;
        config.check_space(&base)?;
        let data: Vec<_> = data.into_iter().collect();
        let first = data.first().ok_or_else(|| Error::config("data", "is missing: a search needs rows"))?;
        for other in &data {
            other.check_vocabulary(&vocabulary)?;
            if !other.has_rows_of(first) {
                return Err(Error::config("data", "are of several datasets: load all from the same one"));
            }
        }
        let rungs = config.algorithm.rungs(base.epochs)?;
        let folds = Fold::latest(first, base.split, config.folds)?;
        let (schema, tracker) = (schema.clone(), Arc::new(Untracked));
        let search = Self { data, schema, vocabulary, base, config, folds, rungs, results: None, tracker };
        for number in 0..search.rungs.first().map_or(0, |rung| rung.trials) {
            search.config.try_trial(&search.base, number, |config| {
                let model = config.model(&search.schema)?;
                check(config, &model, search.data_of(&model)?)
            })?;
        }
        Ok(search)
    }

    /// The rows as a model reads them.
    fn data_of(&self, model: &ModelConfig) -> Result<&Arc<TrainData>> {
        let fits = self.data.iter().find(|data| data.check(model).is_ok());
        // None does: the first one says in what.
        fits.map_or_else(|| self.data[0].check(model).map(|()| &self.data[0]), Ok)
    }

    /// Keeps finished trials in this file, and does not run again those that are there: a search that was killed or
    /// cancelled and is called again finds what it would have found. JSON lines: what the trials depend on, then one [`Trial`] a line.
    #[must_use]
    pub fn with_results(self, file: impl Into<PathBuf>) -> Self {
        Self { results: Some(file.into()), ..self }
    }

    /// Gives each trial a tracked run of its own.
    #[must_use]
    pub fn with_tracker(self, tracker: Arc<dyn TrackTrials>) -> Self {
        Self { tracker, ..self }
    }

    /// Runs all trials, one after the other; a trial that diverges is a bad one. The observer hears of each as
    /// [`Event::Trial`], as part of the stage `search`. Blocking. The same seed, settings, data and threads give the same
    /// result.
    ///
    /// Cost: a training for each trial, rung and fold.
    ///
    /// # Errors
    /// [`Error::Data`] when all trials diverged, [`Error::Results`], [`recs_core::Error::Cancelled`].
    pub fn run(&self, observer: &dyn Observer, cancel: &CancelToken) -> Result<SearchReport> {
        let started = Instant::now();
        let mut run = Run { results: self.open_results()?, observer, cancel };
        let total = Some(self.rungs.iter().map(|rung| rung.trials).sum());
        observer.on_event(&Event::Started { stage: STAGE, total, unit: "trials" });
        let mut trials: Vec<Trial> = Vec::new();
        let mut alive: Vec<u64> = (0..self.rungs.first().map_or(0, |rung| rung.trials)).collect();
        for (rung, at) in self.rungs.iter().zip(0..) {
            if at > 0 {
                let before = trials.iter().filter(|trial| trial.rung + 1 == at).cloned().collect::<Vec<_>>();
                alive = promoted(&before, rung.trials);
            }
            for &number in &alive {
                trials.push(self.trial(number, at, rung.epochs, &mut run)?);
                observer.on_event(&Event::Progress { stage: STAGE, done: trials.len() as u64 });
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        observer.on_event(&Event::Finished { stage: STAGE, seconds });
        let best = best(&trials)?.clone();
        let config = self.settings(&best.settings, Some(best.epochs))?;
        Ok(SearchReport { metric: self.config.metric, trials, best, config, seconds })
    }

    fn open_results(&self) -> Result<Option<Results>> {
        let Some(path) = &self.results else { return Ok(None) };
        let fingerprint = self.trainer(&self.base)?.fingerprint()?;
        Results::open(path, &self.config, self.base.max_loss_ratio, fingerprint).map(Some)
    }

    fn settings(&self, settings: &Settings, epochs: Option<usize>) -> Result<TrainConfig> {
        let config = apply(&self.base, settings)?;
        Ok(TrainConfig { epochs: epochs.unwrap_or(config.epochs), ..config })
    }

    fn trainer(&self, config: &TrainConfig) -> Result<Trainer> {
        let model = config.model(&self.schema)?;
        let data = Arc::clone(self.data_of(&model)?);
        Trainer::new(data, model, Arc::clone(&self.vocabulary), config.clone())
    }

    /// Runs a trial, unless it was finished before.
    fn trial(&self, number: u64, rung: u64, epochs: Option<usize>, run: &mut Run<'_>) -> Result<Trial> {
        let settings = self.config.draw(number);
        let config = self.settings(&settings, epochs)?;
        let mut trial = Trial { number, rung, epochs: config.epochs, settings, ..Trial::default() };
        match run.results.as_ref().and_then(|results| results.find(&trial.settings, trial.epochs)) {
            Some(finished) => trial = Trial { number, rung, ..finished.clone() },
            None => {
                self.train(&mut trial, &config, run)?;
                run.results.as_mut().map_or(Ok(()), |results| results.push(&trial))?;
            }
        }
        run.observer.on_event(&trial.event());
        Ok(trial)
    }

    /// Trains and judges on each fold, until one diverges.
    fn train(&self, trial: &mut Trial, config: &TrainConfig, run: &Run<'_>) -> Result<()> {
        let (started, tracked) = (Instant::now(), self.tracker.begin(trial, config));
        let (trainer, mut towers) = (self.trainer(config)?, Vec::new());
        for (at, fold) in self.folds.iter().enumerate() {
            let observer = OfFold { run: &*tracked, at };
            match trainer.score(fold, &observer, run.cancel) {
                Ok(sums) => {
                    let alone = self.config.metric.of(&sums.towers);
                    towers.push(alone);
                    trial.folds.push(sums.with_repeat.map_or(alone, |served| self.config.metric.of(&served)));
                }
                Err(e @ (Error::Diverged { .. } | Error::Core(recs_core::Error::NonFinite { .. }))) => {
                    trial.error = Some(e.to_string());
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        if trial.error.is_none() {
            let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
            (trial.score, trial.towers) = (Some(mean(&trial.folds)), Some(mean(&towers)));
        }
        trial.seconds = started.elapsed().as_secs_f64();
        tracked.end(trial);
        Ok(())
    }
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search")
            .field("config", &self.config)
            .field("rungs", &self.rungs)
            .finish_non_exhaustive()
    }
}

/// The best trial of the last rung that any did not fail in.
fn best(trials: &[Trial]) -> Result<&Trial> {
    let better = |a: &&Trial, b: &&Trial| {
        let score = |t: &Trial| t.score.unwrap_or(f64::NEG_INFINITY);
        a.rung.cmp(&b.rung).then(score(a).total_cmp(&score(b))).then(b.number.cmp(&a.number))
    };
    let best = trials.iter().filter(|trial| trial.score.is_some()).max_by(better);
    best.ok_or_else(|| {
        let first = trials.first().and_then(|trial| trial.error.clone()).unwrap_or_default();
        let reason =
            format!("all trials diverged, the first one so: {first}; lower the range of learning_rate");
        Error::Data { what: "search", reason }
    })
}

/// What a fold's training tells its trial's run: curves of later folds have names of their own.
struct OfFold<'a> {
    run: &'a dyn TrialRun,
    at: usize,
}

impl Observer for OfFold<'_> {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Metric { name, step, value } if self.at > 0 => {
                let name = format!("fold_{}/{name}", self.at);
                self.run.on_event(&Event::Metric { name, step: *step, value: *value });
            }
            Event::Started { .. } | Event::Progress { .. } | Event::Finished { .. } if self.at > 0 => {}
            event => self.run.on_event(event),
        }
    }
}
