//! A trained model.

use super::evaluation::{EvaluateOptions, Evaluation, Evaluator, ReportInputs};
use super::judge::spread;
use super::popularity::Popularity;
use super::repeat::RepeatTerm;
use super::run::EpochStats;
use super::warm_start::WarmStarted;
use crate::config::TrainConfig;
use crate::data::{Purchases, Split, TrainData};
use crate::error::Result;
use rayon::ThreadPool;
use recs_core::model::{ModelConfig, Weights};
use recs_core::observe::CancelToken;
use recs_core::vocab::Vocabulary;
use std::sync::Arc;

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
    /// Rows that the weights were trained on.
    pub(super) trained_on: Arc<[u32]>,
    /// Their purchases.
    pub(super) purchases: Arc<Purchases>,
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

impl Fitted {
    /// What the test rows were judged by: for ranks row by row, or for other rows. `pool` scores.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when weights and model do not fit.
    pub fn evaluator<'a>(&'a self, pool: &'a ThreadPool) -> Result<Evaluator<'a>> {
        let towers = Evaluator::new(&self.data, &self.model, &self.weights, &self.purchases, pool)?;
        Ok(towers.with_repeat(self.repeat.clone()))
    }

    /// Judges the test rows, or [`TrainConfig::test_rows`] of them, once more, with other options: the model, and popularity
    /// beside it. `pool` scores.
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
        let popularity = &Popularity::fit(&self.data, &self.trained_on);
        let (schema, vocabulary) = (&self.model.schema, &*self.vocabulary);
        let inputs = ReportInputs { options, popularity, schema, vocabulary };
        let scored = spread(&self.split.test, self.config.test_rows);
        self.evaluator(pool)?.report(&scored, &inputs, cancel)
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
