//! How good settings are on rows before the test: what a search asks.

use super::evaluation::{Both, Evaluator, sums};
use super::judge::spread;
use super::repeat::RepeatTerm;
use super::run::{Ran, Rates};
use super::training::Trainer;
use crate::data::{Fold, Purchases};
use crate::error::Result;
use recs_core::hash::fingerprint64;
use recs_core::metrics::RankSums;
use recs_core::observe::{CancelToken, Observer};
use std::sync::Arc;

impl Trainer {
    /// Trains on the fold's training rows, as the run that chooses does, and ranks all of its validation rows, by the
    /// towers and as they would be served. The repeat term is cross-fitted: of the validation rows' customers each half is judged with the term that
    /// was fitted on the other, or a term would be judged by the rows that it was fitted on.
    ///
    /// Where early stopping or a plateau looks at validation rows, these are among those judged, and the score is a little too
    /// good for it, the same for all settings.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged), [`recs_core::Error::NonFinite`] for a model that has diverged,
    /// [`recs_core::Error::Cancelled`].
    pub(crate) fn score(
        &self,
        fold: &Fold,
        observer: &dyn Observer,
        cancel: &CancelToken,
    ) -> Result<Both<RankSums>> {
        let Ran { weights, model, .. } = self.run_fold(fold, observer, cancel)?;
        let purchases = Arc::new(Purchases::new(&self.data, &fold.train));
        let mut towers = Evaluator::new(&self.data, &model, &weights, &purchases, &self.pool)?;
        let Some(repeat) = self.config.repeat else {
            let [ranks, _] = towers.ranks(&fold.validation, cancel)?;
            return Ok(Both { towers: sums(&ranks), with_repeat: None });
        };
        let is_first = |row: &&u32| {
            let customer = self.data.customer[**row as usize];
            fingerprint64(&customer.to_le_bytes()).is_multiple_of(2)
        };
        let (first, second): (Vec<u32>, Vec<u32>) = fold.validation.iter().partition(is_first);
        let (mut alone, mut served) = (RankSums::default(), RankSums::default());
        for (fitted, judged) in [(&first, &second), (&second, &first)] {
            let purchases = Arc::clone(&purchases);
            let term = RepeatTerm::fit(repeat, &self.data, purchases, &towers, fitted, cancel)?;
            towers = towers.with_repeat(Some(term));
            let [towers, with_repeat] = towers.ranks(judged, cancel)?;
            alone.merge(&sums(&towers));
            served.merge(&sums(&with_repeat));
        }
        Ok(Both { towers: alone, with_repeat: Some(served) })
    }

    fn run_fold(&self, fold: &Fold, observer: &dyn Observer, cancel: &CancelToken) -> Result<Ran> {
        let (job, config) = (self.job(observer, cancel), &self.config);
        // A training without a choosing run never reduces its rate on a plateau.
        let has_plateau = config.schedule.plateau.is_some() && config.repeat.is_some();
        if config.early_stopping.is_some() || has_plateau {
            let sample = spread(&fold.validation, config.validation_rows);
            return job.run(&fold.train, &Rates::Validated(&sample), &mut None);
        }
        let rates = vec![config.learning_rate; config.epochs];
        job.run(&fold.train, &Rates::Fixed(rates), &mut None)
    }
}
