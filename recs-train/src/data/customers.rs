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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::purchases::tests::{Row, bought, data, history, id, is_history, purchases, rows};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// One query of an epoch.
    #[derive(Debug)]
    struct Example {
        row: u32,
        /// Ids and weights.
        history: (Vec<u32>, Vec<f32>),
        /// Places in the catalogue with their weights.
        targets: Vec<(u32, f32)>,
    }

    /// All queries of an epoch, taken `n` at a time.
    fn all(mut epoch: CustomerEpoch<'_>, n: usize) -> Vec<Example> {
        let mut all = Vec::new();
        while let Some(batch) = epoch.next_batch(n) {
            let (histories, targets) = (batch.histories.unwrap(), batch.targets.unwrap());
            assert!(batch.rows.len() <= n && histories.rows() == batch.rows.len());
            assert_eq!(targets.offsets.len(), batch.rows.len() + 1);
            for (i, &row) in batch.rows.iter().enumerate() {
                let (ids, weights) = histories.row(i);
                let range = targets.offsets[i] as usize..targets.offsets[i + 1] as usize;
                let columns = targets.columns[range.clone()].iter().copied();
                let targets = columns.zip(targets.weights[range].iter().copied()).collect();
                all.push(Example { row, history: (ids.to_vec(), weights.to_vec()), targets });
            }
        }
        all
    }

    /// The definition of targets: products with the sums of their rows' weights.
    fn targets(rows: &[Row], of: &[u32], recency_days: f64) -> BTreeMap<u32, f64> {
        let customers = rows.iter().map(|row| row.customer).collect::<BTreeSet<u32>>().into_iter();
        let all = customers.flat_map(|customer| bought(rows, customer));
        let last = all.map(|row| rows[row as usize].day).max().unwrap();
        let mut weights: BTreeMap<u32, f64> = BTreeMap::new();
        for row in of.iter().map(|&row| rows[row as usize]) {
            let age = (last - row.day) as f64;
            let weight = if recency_days == 0.0 { 1.0 } else { (-age / recency_days).exp() };
            *weights.entry(row.product).or_default() += weight;
        }
        weights
    }

    fn are_targets(got: &[(u32, f32)], expected: &BTreeMap<u32, f64>) -> bool {
        let near = |(got, expected): (&(u32, f32), (&u32, &f64))| {
            got.0 == *expected.0 && (f64::from(got.1) / expected.1 - 1.0).abs() < 1e-5
        };
        got.len() == expected.len() && got.iter().zip(expected).all(near)
    }

    /// Whether there are days that give this example when they are held out: every choice of the customer's days is tried.
    fn follows(example: &Example, rows: &[Row], recency_days: f64) -> bool {
        let bought = bought(rows, rows[example.row as usize].customer);
        let day_of = |row: u32| rows[row as usize].day;
        let days: BTreeSet<i64> = bought.iter().map(|&row| day_of(row)).collect();
        let (ids, weights) = &example.history;
        (1..1u32 << days.len()).any(|choice| {
            let chosen = (0u32..).zip(&days).filter(|(at, _)| choice & (1u32 << *at) != 0);
            let held: BTreeSet<i64> = chosen.map(|(_, &day)| day).collect();
            let (out, kept): (Vec<u32>, Vec<u32>) =
                bought.iter().partition(|&&row| held.contains(&day_of(row)));
            // The query's own features are of a day that is held out, too.
            held.contains(&day_of(example.row))
                && are_targets(&example.targets, &targets(rows, &out, recency_days))
                && is_history((&ids[..], &weights[..]), &history(rows, kept.into_iter()))
        })
    }

    proptest! {
        #[test]
        fn whole_days_are_targets_and_all_other_days_the_history(
            rows in rows(),
            share in 0.1f64..0.9,
            recency_days in prop_oneof![Just(0.0f64), 1.0f64..30.0],
            seed in any::<u64>(),
            (number, n) in (0usize..50, 1usize..4),
        ) {
            let data = data(&rows);
            let purchases = purchases(&data, &rows);
            let config = HoldOut { share, recency_days };
            let epoch = CustomerEpoch::new(&data, &purchases, config, seed, number);
            let queries = epoch.len();
            let examples = all(epoch, n);
            let customer = |example: &Example| rows[example.row as usize].customer;
            let customers: BTreeSet<u32> = examples.iter().map(customer).collect();
            prop_assert_eq!((examples.len(), customers.len()), (queries, queries), "each customer once");
            for example in &examples {
                prop_assert!(follows(example, &rows, recency_days), "{example:?}");
            }
        }

        /// Each day has a product of its own, which tells of what day a target is, and what stands in a history.
        #[test]
        fn no_day_of_a_target_is_a_day_of_the_history(
            rows in rows(),
            share in 0.1f64..0.9,
            seed in any::<u64>(),
        ) {
            let of_day = |row: Row| Row { product: (row.day + 2) as u32, ..row };
            let rows: Vec<Row> = rows.into_iter().map(of_day).collect();
            let data = data(&rows);
            let purchases = purchases(&data, &rows);
            let config = HoldOut { share, ..HoldOut::default() };
            for example in all(CustomerEpoch::new(&data, &purchases, config, seed, 0), 3) {
                let held: BTreeSet<u32> = example.targets.iter().map(|target| id(target.0)).collect();
                let kept: BTreeSet<u32> = example.history.0.iter().copied().collect();
                prop_assert!(!held.is_empty() && held.is_disjoint(&kept), "{example:?}");
                let own = bought(&rows, rows[example.row as usize].customer).into_iter();
                let own: BTreeSet<u32> = own.map(|row| id(rows[row as usize].product)).collect();
                prop_assert_eq!(&held | &kept, own);
            }
        }
    }

    /// Were the others held out in their place, it would be a share of 0.8.
    #[test]
    fn every_day_is_held_out_in_its_share_of_epochs() {
        let (customers, days, epochs) = (40u32, 6u32, 100usize);
        let row = |customer: u32, day: u32| Row {
            customer,
            product: day,
            day: i64::from(day),
            second: 0,
            is_known: true,
        };
        let rows: Vec<Row> = (0..customers * days).map(|i| row(1 + i / days, i % days)).collect();
        let data = data(&rows);
        let purchases = purchases(&data, &rows);
        let mut held: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        for number in 0..epochs {
            let config = HoldOut { share: 0.2, recency_days: 0.0 };
            for example in all(CustomerEpoch::new(&data, &purchases, config, 7, number), 16) {
                let customer = rows[example.row as usize].customer;
                let count = |target: &(u32, f32)| *held.entry((customer, target.0)).or_default() += 1;
                example.targets.iter().for_each(count);
            }
        }
        assert_eq!(held.len(), (customers * days) as usize, "some day was never held out");
        assert!(held.values().all(|&times| times < epochs / 2), "some day is held out too often: {held:?}");
        let share = held.values().sum::<usize>() as f64 / (held.len() * epochs) as f64;
        assert!((share - 0.2).abs() < 0.02, "{share}");
    }
}
