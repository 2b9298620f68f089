//! The steps of a run: batches, rates, and what becomes of them.

use super::keeper::{Keeper, exact};
use super::run::{EpochStats, Job, STAGE};
use crate::backend::{Backend, Batch, StepLoss};
use crate::config::{Examples, TrainConfig};
use crate::data::{CustomerEpoch, EpochOrder, Purchases, SplitKind, TrainData};
use crate::error::{Error, Result};
use crate::loss::{LossConfig, Reduction};
use crate::schedule::warm_up;
use recs_core::model::{Histories, Weights};
use recs_core::observe::Event;
use recs_core::schema::Tower;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Where a run is, between two steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Epoch, from 0.
    pub(super) epoch: usize,
    /// Of this epoch so far.
    pub(super) sums: Sums,
    /// Steps of all epochs.
    pub(super) steps: u64,
    /// Loss of the first step.
    first_loss: Option<f64>,
    /// The epochs before.
    #[serde(with = "exact")]
    pub(super) history: Vec<EpochStats>,
}

/// Sums over the steps of an epoch.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sums {
    pub(super) steps: usize,
    queries: usize,
    loss: StepLoss,
    /// Wall time, of all processes.
    seconds: f64,
}

/// Steps, counted and reported.
pub(super) struct Progress<'a> {
    job: &'a Job<'a>,
    rows: &'a [u32],
    purchases: &'a Purchases,
    batch: usize,
    pub(super) place: Place,
    done: u64,
    reported: Instant,
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
    /// Passes over batches that were trained on before.
    fn skip(&mut self, batches: usize, n: usize) {
        match self {
            Self::Rows { order, .. } => order.skip(batches, n),
            Self::Customers(epoch) => epoch.skip(batches, n),
        }
    }

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
    pub(super) fn new(job: &'a Job<'a>, rows: &'a [u32], purchases: &'a Purchases, place: Place) -> Self {
        let batch = job.config.batch.min(rows.len()).max(1);
        Self { job, rows, purchases, batch, place, done: 0, reported: Instant::now() }
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

    /// All batches of an epoch that are left. Of rows only full ones: the rest, less than a batch, is other rows in every
    /// epoch.
    pub(super) fn epoch(
        &mut self,
        backend: &mut dyn Backend,
        rate: f32,
        keeper: &mut Option<Keeper<'_>>,
        best: &mut Option<Weights>,
    ) -> Result<EpochStats> {
        let epoch = self.place.epoch;
        let (mut batches, total) = self.batches(epoch);
        batches.skip(self.place.sums.steps, self.batch);
        let (started, before) = (Instant::now(), self.place.sums.seconds);
        let mut loss = f64::NAN;
        while let Some(batch) = batches.next(self.batch) {
            if let Err(cancelled) = self.job.cancel.check() {
                self.save(backend, keeper, best, loss)?;
                return Err(cancelled.into());
            }
            let n = batch.rows.len();
            let step = backend.step(batch, rate * self.factor(total))?;
            loss = step.total();
            self.check(loss, n, keeper)?;
            let sums = &mut self.place.sums;
            sums.loss.retrieval += step.retrieval;
            sums.loss.regularisation += step.regularisation;
            sums.steps += 1;
            sums.queries += n;
            sums.seconds = before + started.elapsed().as_secs_f64();
            self.place.steps += 1;
            let steps = self.place.steps;
            if keeper.as_ref().is_some_and(|keeper| keeper.is_due(steps)) {
                self.save(backend, keeper, best, loss)?;
            }
            self.report(epoch, self.place.sums.steps, total);
        }
        Ok(self.stats(rate))
    }

    fn stats(&self, rate: f32) -> EpochStats {
        let Sums { steps, queries, loss, seconds } = self.place.sums;
        // A pass over customers is one over their purchases.
        let examples = match self.job.config.examples {
            Examples::Rows => queries,
            Examples::Customers(_) => self.rows.len(),
        };
        EpochStats {
            epoch: self.place.epoch + 1,
            loss: loss.total() / steps.max(1) as f64,
            learning_rate: rate,
            validation_recall_at_100: None,
            temperature: None,
            seconds,
            examples_per_s: examples as f64 / seconds.max(1e-9),
        }
    }

    /// What the schedule multiplies the rate of the next step by, `total` being the steps of an epoch. A run that ends early
    /// and the refit that repeats it follow the schedule of all epochs: the rates that led to the chosen weights.
    fn factor(&self, total: usize) -> f32 {
        let TrainConfig { schedule, epochs, .. } = self.job.config;
        let Place { epoch, sums, steps, .. } = &self.place;
        let progress = (*epoch as f64 + sums.steps as f64 / total.max(1) as f64) / *epochs as f64;
        warm_up(schedule.warm_up_steps, steps + 1) * schedule.decay.factor(progress)
    }

    /// Ends a run whose loss over `queries` is not finite, or too high.
    fn check(&mut self, loss: f64, queries: usize, keeper: &mut Option<Keeper<'_>>) -> Result<()> {
        let TrainConfig { max_loss_ratio, loss: LossConfig { reduction, .. }, .. } = &self.job.config;
        // A model that knew everything at its first step has no ratio to be judged by.
        let least = if *reduction == Reduction::Sum { queries as f64 } else { 1.0 };
        let first = self.place.first_loss.get_or_insert(loss).abs().max(least);
        let highest = max_loss_ratio.map_or(f64::INFINITY, |ratio| ratio * first);
        if !loss.is_finite() || loss > highest {
            return Err(self.diverged(loss, keeper));
        }
        keeper.iter_mut().for_each(Keeper::step_went_well);
        Ok(())
    }

    fn diverged(&self, loss: f64, keeper: &mut Option<Keeper<'_>>) -> Error {
        let (epoch, step) = (self.place.epoch, self.place.sums.steps);
        match keeper {
            Some(keeper) => keeper.diverged(&self.place, loss),
            None => Error::Diverged { epoch, step, loss, checkpoint: None },
        }
    }

    /// Scores that are not finite say the same as such a loss.
    pub(super) fn not_finite(&self, error: Error, loss: f64, keeper: &mut Option<Keeper<'_>>) -> Error {
        match error {
            Error::Core(recs_core::Error::NonFinite { .. }) => self.diverged(loss, keeper),
            other => other,
        }
    }

    fn save(
        &self,
        backend: &mut dyn Backend,
        keeper: &mut Option<Keeper<'_>>,
        best: &mut Option<Weights>,
        loss: f64,
    ) -> Result<()> {
        keeper.as_mut().map_or(Ok(()), |keeper| keeper.save(backend, &self.place, best, loss))
    }

    fn report(&mut self, epoch: usize, steps: usize, total: usize) {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.done = (epoch * self.rows.len() + self.rows.len() * steps / total.max(1)) as u64;
            self.job.observer.on_event(&Event::Progress { stage: STAGE, done: self.done });
        }
    }

    pub(super) fn finish(&mut self, stats: EpochStats) {
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
        self.place.history.push(stats);
        (self.place.epoch, self.place.sums) = (self.place.epoch + 1, Sums::default());
    }
}
