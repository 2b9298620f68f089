//! Customers as training examples: some of a customer's days are held out, and the rest has to tell them.
//!
//! In every epoch each day of each customer is held out with the same probability. What was bought on the other days is the
//! history that the query tower sees, what was bought on the held-out days the targets. So no target was bought on a day of
//! the history, a model is trained on histories of many lengths, and one step serves all purchases of a customer, which is
//! what makes a softmax over the whole catalogue affordable (Liang et al. 2018, <https://arxiv.org/abs/1802.05814>, train
//! on customers in this way, with single purchases held out).

use super::columns::TrainData;
use super::order::shuffle;
use super::purchases::{Purchases, day, push};
use crate::backend::Batch;
use crate::error::{Error, Result};
use crate::loss::Targets;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use recs_core::model::Histories;
use serde::{Deserialize, Serialize};

/// How customers become examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HoldOut {
    /// Probability that a day of a customer is held out.
    pub share: f64,
    /// A purchase's weight falls to 1/e in this many days before the last one; 0: all weigh the same. Has no effect on a
    /// random split, which knows no later.
    pub recency_days: f64,
}

impl Default for HoldOut {
    fn default() -> Self {
        Self { share: 0.3, recency_days: 60.0 }
    }
}

impl HoldOut {
    pub(crate) fn validate(&self) -> Result<()> {
        if !(self.share > 0.0 && self.share < 1.0) {
            let reason = format!("is {}, must lie between 0 and 1", self.share);
            return Err(Error::config("train.examples.share", reason));
        }
        if !(self.recency_days.is_finite() && self.recency_days >= 0.0) {
            let reason = format!("is {}, must not be negative", self.recency_days);
            return Err(Error::config("train.examples.recency_days", reason));
        }
        Ok(())
    }
}

/// The batches of one epoch: of each customer with a held-out day one query.
#[derive(Debug)]
pub(crate) struct CustomerEpoch<'a> {
    data: &'a TrainData,
    purchases: &'a Purchases,
    config: HoldOut,
    /// For what is held out.
    seed: u64,
    last_day: i64,
    /// Customers in their order.
    customers: Vec<u32>,
    next: usize,
    batch: CustomerBatch,
}

#[derive(Debug, Default)]
struct CustomerBatch {
    rows: Vec<u32>,
    histories: Histories,
    offsets: Vec<u32>,
    products: Vec<u32>,
    weights: Vec<f32>,
}

impl<'a> CustomerEpoch<'a> {
    pub(crate) fn new(
        data: &'a TrainData,
        purchases: &'a Purchases,
        config: HoldOut,
        seed: u64,
        epoch: usize,
    ) -> Self {
        let seed = seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let rows = (0..purchases.customers()).filter_map(|c| purchases.of(c).last());
        let last_day = rows.map(|&row| day(data.timestamp[row as usize])).max().unwrap_or(0);
        let mut epoch = Self {
            data,
            purchases,
            config,
            seed,
            last_day,
            customers: Vec::new(),
            next: 0,
            batch: CustomerBatch::default(),
        };
        let is_held = |customer: &u32| {
            let mut rows = purchases.of(*customer).iter();
            rows.any(|&row| epoch.is_held_out(*customer, row))
        };
        let mut customers: Vec<u32> = (0..purchases.customers()).filter(is_held).collect();
        shuffle(&mut customers, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
        epoch.customers = customers;
        epoch
    }

    /// Queries of the epoch.
    pub(crate) fn len(&self) -> usize {
        self.customers.len()
    }

    /// The same for all rows of a customer's day.
    fn is_held_out(&self, customer: u32, row: u32) -> bool {
        let day = day(self.data.timestamp[row as usize]) as u64;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(
            self.seed ^ (u64::from(customer) << 32) ^ day.wrapping_mul(0xd6e8_feb8),
        );
        ((random.next_u64() >> 11) as f64) < self.config.share * (1u64 << 53) as f64
    }

    /// Passes over `batches` batches of `n` queries.
    pub(crate) fn skip(&mut self, batches: usize, n: usize) {
        self.next = batches.saturating_mul(n).min(self.customers.len());
    }

    /// The next queries, at most `n`.
    pub(crate) fn next_batch(&mut self, n: usize) -> Option<Batch<'_>> {
        let to = (self.next + n).min(self.customers.len());
        if self.next == to {
            return None;
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        for &customer in &self.customers[self.next..to] {
            self.push(customer, &mut batch);
        }
        (self.next, self.batch) = (to, batch);
        Some(self.batch.view())
    }

    fn push(&self, customer: u32, batch: &mut CustomerBatch) {
        let rows = self.purchases.of(customer);
        let (held, kept): (Vec<u32>, Vec<u32>) =
            rows.iter().partition(|&&row| self.is_held_out(customer, row));
        push(self.data, kept.into_iter(), &mut batch.histories);
        batch.rows.push(held[0]);
        let mut targets: Vec<(u32, f32)> = held
            .iter()
            .map(|&row| (self.data.product[row as usize], self.weight(self.data.timestamp[row as usize])))
            .collect();
        targets.sort_unstable_by_key(|target| target.0);
        let first = batch.products.len();
        for (product, weight) in targets {
            if batch.products.len() > first && batch.products.last() == Some(&product) {
                let last = batch.weights.len() - 1;
                batch.weights[last] += weight;
            } else {
                batch.products.push(product);
                batch.weights.push(weight);
            }
        }
        batch.offsets.push(batch.products.len() as u32);
    }

    fn weight(&self, timestamp: i64) -> f32 {
        if self.config.recency_days == 0.0 {
            return 1.0;
        }
        let age = (self.last_day - day(timestamp)) as f64;
        (-age / self.config.recency_days).exp() as f32
    }
}

impl CustomerBatch {
    fn clear(&mut self) {
        self.rows.clear();
        self.histories.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.products.clear();
        self.weights.clear();
    }

    fn view(&self) -> Batch<'_> {
        let targets = Targets { offsets: &self.offsets, columns: &self.products, weights: &self.weights };
        Batch { rows: &self.rows, histories: Some(&self.histories), targets: Some(targets) }
    }
}
