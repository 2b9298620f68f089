//! Choose on validation, refit on everything before the test, report once.

use super::evaluation::{Evaluator, ReportInputs};
use super::fitted::Fitted;
use super::judge::{judge, spread};
use super::keeper::{Chosen, Keeper};
use super::popularity::Popularity;
use super::repeat::RepeatTerm;
use super::run::{EpochStats, Job, Ran, Rates, STAGE};
use super::training::Trainer;
use crate::data::{Purchases, Split};
use crate::error::Result;
use recs_core::model::{ModelConfig, Weights};
use recs_core::observe::{CancelToken, Event, Observer};
use std::sync::Arc;
use std::time::Instant;

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

impl Trainer {
    /// Trains and evaluates. Blocking: call it from a thread of its own in an async host. Epochs run on threads of the trainer's
    /// pool, from where the observer hears of their progress; two calls at a time on one trainer wait for each other's epochs.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty split and for a training that made no step, [`Error::Diverged`],
    /// [`recs_core::Error::Cancelled`]; with checkpoints [`Error::CheckpointBusy`], [`Error::CheckpointDiffers`] and
    /// [`Error::CheckpointDamaged`].
    ///
    /// [`Error::Data`]: crate::Error::Data
    /// [`Error::Diverged`]: crate::Error::Diverged
    /// [`Error::CheckpointBusy`]: crate::Error::CheckpointBusy
    /// [`Error::CheckpointDiffers`]: crate::Error::CheckpointDiffers
    /// [`Error::CheckpointDamaged`]: crate::Error::CheckpointDamaged
    pub fn fit(&self, observer: &dyn Observer, cancel: &CancelToken) -> Result<Fitted> {
        let started = Instant::now();
        let split = Split::new(&self.data, self.config.split)?;
        let job = self.job(observer, cancel);
        let chooses = self.chooses(&split, observer);
        let warm_start =
            self.warm_start.as_ref().map(|warm| warm.started(&split, chooses, &self.data, observer));
        let mut keeper = self.keeper(observer)?;
        let chose_only = chooses && !self.config.refit;
        let trained_on: Arc<[u32]> =
            if chose_only { split.train.as_slice().into() } else { split.before_test().into() };
        let Trained { weights, model, epochs, coefficients, history, refit_history } = if chooses {
            self.choose(&job, &split, &trained_on, &mut keeper)?
        } else {
            self.train(&job, &trained_on, &mut keeper)?
        };
        // Also where neither model nor settings look at them: the report does.
        let purchases = Arc::new(Purchases::new(&self.data, &trained_on));
        let term = |(config, coefficients)| {
            RepeatTerm::new(config, coefficients, &self.data, Arc::clone(&purchases))
        };
        let repeat = self.config.repeat.zip(coefficients).map(term);
        let evaluator = Evaluator::new(&self.data, &model, &weights, &purchases, &self.pool)?;
        let evaluator = evaluator.with_repeat(repeat.clone());
        let popularity = Popularity::fit(&self.data, &trained_on);
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
            trained_on,
            purchases,
            history,
            refit_history,
            epochs,
            test,
            popularity,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn keeper<'a>(&'a self, observer: &'a dyn Observer) -> Result<Option<Keeper<'a>>> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(None) };
        Keeper::new(checkpoints, &self.model, self.fingerprint()?, observer).map(Some)
    }

    /// True when a run has to choose on validation rows.
    fn chooses(&self, split: &Split, observer: &dyn Observer) -> bool {
        let asked = self.config.early_stopping.is_some() || self.config.repeat.is_some();
        if asked && split.validation.is_empty() {
            let message = "there are no validation rows: early_stopping and repeat are left out, and all epochs are trained; widen \
                           the extraction";
            observer.on_event(&Event::Warning { stage: STAGE, message: message.into() });
        }
        asked && !split.validation.is_empty()
    }

    /// The only run.
    fn train(&self, job: &Job<'_>, rows: &[u32], keeper: &mut Option<Keeper<'_>>) -> Result<Trained> {
        let rates = vec![self.config.learning_rate; self.config.epochs];
        let Ran { weights, model, history, best_epochs } = job.run(rows, &Rates::Fixed(rates), keeper)?;
        let (epochs, coefficients, refit_history) = (best_epochs, None, Vec::new());
        Ok(Trained { weights, model, epochs, coefficients, history, refit_history })
    }

    /// The run that chooses, and the refit on `rows` if there is one.
    fn choose(
        &self,
        job: &Job<'_>,
        split: &Split,
        rows: &[u32],
        keeper: &mut Option<Keeper<'_>>,
    ) -> Result<Trained> {
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
                job.run(rows, &Rates::Refit(rates), keeper)?
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
