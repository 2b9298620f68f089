//! What customers buy again: one number for each product that a customer bought before, added to the towers' score.
//!
//! A product j that customer u bought in c of n rows gets, beside its score S,
//!
//! `t0 + t1 log(1+c) + t2 log(1+c') + t3 r_j + t4 (log(1+n) - 5) log(1+c) + t5 S`.
//!
//! c' counts each row with `e^(-age / decay_days)`. r_j says how often the product is bought again at all: the log of
//! (further days a buyer) over the same for all products, with 5 average buyers added. The six numbers are fitted on
//! validation rows by Newton's method, towers fixed: the softmax over the catalogue with the term in it is convex in them.
//!
//! The rows of the query's own customer and day never count.

use super::evaluation::Evaluator;
use super::judge::spread;
use super::likelihood::{Curvature, Query, likelihood};
use crate::data::{NO_PRODUCT, Purchases, TrainData, day};
use crate::error::{Error, Result};
use recs_core::observe::CancelToken;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const N: usize = 6;
/// Average buyers that every product's propensity is mixed with.
const PRIOR_BUYERS: f64 = 5.0;
const LONGEST_SEARCH: usize = 50;
/// Customers and days that the numbers are fitted on at most: six numbers need no more.
const MOST_QUERIES: usize = 50_000;

/// Settings of the term.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RepeatConfig {
    /// Days in which a purchase's share of c' falls to 1/e.
    pub decay_days: f64,
    /// Products of a customer that have a term: those with the largest.
    pub products: usize,
}

impl Default for RepeatConfig {
    fn default() -> Self {
        Self { decay_days: 80.0, products: 200 }
    }
}

impl RepeatConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.decay_days.is_finite() && self.decay_days > 0.0 && (1..=200).contains(&self.products) {
            return Ok(());
        }
        Err(Error::config("train.repeat", "decay_days is above 0, products 1 to 200"))
    }
}

/// The fitted term over known purchases.
#[derive(Debug, Clone)]
pub struct RepeatTerm {
    config: RepeatConfig,
    /// t0 … t5.
    pub coefficients: [f64; N],
    purchases: Arc<Purchases>,
    /// r_j of each product of the catalogue.
    propensity: Vec<f32>,
    last_day: i64,
}

/// What is known of a product that a customer bought.
pub(super) struct Bought {
    pub(super) product: u32,
    /// What t0 … t4 are multiplied with.
    pub(super) features: [f64; N - 1],
}

impl RepeatTerm {
    /// A term over `purchases` with the given coefficients. O(purchases).
    ///
    /// # Panics
    /// When `purchases` are of rows that `data` does not have.
    pub fn new(
        config: RepeatConfig,
        coefficients: [f64; N],
        data: &TrainData,
        purchases: Arc<Purchases>,
    ) -> Self {
        let all = (0..purchases.customers()).flat_map(|c| purchases.of(c).last());
        let last_day = all.map(|&row| day(data.timestamp[row as usize])).max().unwrap_or(0);
        let propensity = propensity(data, &purchases);
        Self { config, coefficients, purchases, propensity, last_day }
    }

    /// Fits the coefficients: towers and purchases are those of the training rows, `rows` were not trained on. Of more than
    /// 50,000 customers and days among them 50,000 are looked at, evenly spread.
    ///
    /// Cost: scores of the catalogue for each customer and day, as an evaluation has them, then some 10 passes over what these
    /// customers bought. Memory: 16 bytes a row, and 64 for each product that one of these customers bought before.
    ///
    /// # Panics
    /// When `purchases` or `rows` are not of `data`.
    ///
    /// # Errors
    /// Those of [`Evaluator::evaluate`].
    pub fn fit(
        config: RepeatConfig,
        data: &TrainData,
        purchases: Arc<Purchases>,
        towers: &Evaluator<'_>,
        rows: &[u32],
        cancel: &CancelToken,
    ) -> Result<Self> {
        let mut term = Self::new(config, [0.0; N], data, purchases);
        let queries = term.queries(data, towers, rows, cancel)?;
        let mut loss = likelihood(&queries, &term.coefficients, None);
        for _ in 0..LONGEST_SEARCH {
            cancel.check()?;
            let mut curvature = Curvature::default();
            likelihood(&queries, &term.coefficients, Some(&mut curvature));
            let step = curvature.newton_step();
            let (mut scale, mut next) = (1.0, loss);
            while scale > 1e-6 {
                let moved = std::array::from_fn(|i| term.coefficients[i] - scale * step[i]);
                next = likelihood(&queries, &moved, None);
                if next < loss {
                    term.coefficients = moved;
                    break;
                }
                scale *= 0.5;
            }
            let gained = loss - next;
            loss = loss.min(next);
            if gained <= 1e-10 * loss.abs() {
                break;
            }
        }
        Ok(term)
    }

    /// Products that a customer bought on other days than `except`, ascending, with what is added to their scores; those
    /// with the largest numbers only. `score` gives the towers' score of a product. O(rows of the customer).
    ///
    /// # Panics
    /// When `data` are others than those of the term.
    pub fn entries(
        &self,
        data: &TrainData,
        customer: u32,
        except: Option<i64>,
        score: impl Fn(u32) -> f32,
    ) -> Vec<(u32, f32)> {
        let value = |bought: Bought| {
            let own: f64 = bought.features.iter().zip(&self.coefficients).map(|(x, t)| x * t).sum();
            (bought.product, (own + self.coefficients[N - 1] * f64::from(score(bought.product))) as f32)
        };
        let mut entries: Vec<(u32, f32)> = self
            .bought(data, customer, except)
            .into_iter()
            .map(value)
            .filter(|entry| entry.1 != 0.0)
            .collect();
        if entries.len() > self.config.products {
            let by_size =
                |a: &(u32, f32), b: &(u32, f32)| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0));
            entries.select_nth_unstable_by(self.config.products, by_size);
            entries.truncate(self.config.products);
            entries.sort_unstable_by_key(|entry| entry.0);
        }
        entries
    }

    fn bought(&self, data: &TrainData, customer: u32, except: Option<i64>) -> Vec<Bought> {
        let mut rows: Vec<(u32, i64)> = self
            .purchases
            .of(customer)
            .iter()
            .map(|&row| (data.product[row as usize], day(data.timestamp[row as usize])))
            .filter(|&(_, day)| except != Some(day))
            .collect();
        rows.sort_unstable();
        let length = (rows.len() as f64).ln_1p() - 5.0;
        let of_product = |rows: &[(u32, i64)]| {
            let decayed =
                |&(_, day): &(u32, i64)| (-((self.last_day - day) as f64) / self.config.decay_days).exp();
            let count = (rows.len() as f64).ln_1p();
            let recent = rows.iter().map(decayed).sum::<f64>().ln_1p();
            let propensity = f64::from(self.propensity[rows[0].0 as usize]);
            Bought { product: rows[0].0, features: [1.0, count, recent, propensity, length * count] }
        };
        rows.chunk_by(|a, b| a.0 == b.0).map(of_product).collect()
    }

    /// Each customer and day of the rows once, or [`MOST_QUERIES`] of them, evenly spread.
    fn queries(
        &self,
        data: &TrainData,
        towers: &Evaluator<'_>,
        rows: &[u32],
        cancel: &CancelToken,
    ) -> Result<Vec<Query>> {
        let known = rows.iter().filter(|&&row| data.product[row as usize] != NO_PRODUCT);
        let of = |&row: &u32| (data.customer[row as usize], day(data.timestamp[row as usize]), row);
        let mut rows: Vec<(u32, i64, u32)> = known.map(of).collect();
        // Rows of one day stay in their order.
        rows.sort_by_key(|&(customer, day, _)| (customer, day));
        let days: Vec<&[(u32, i64, u32)]> = rows.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).collect();
        let days = spread(&days, MOST_QUERIES);
        let first: Vec<u32> = days.iter().map(|rows| rows[0].2).collect();
        towers.map_scores(&first, cancel, |at, scores| {
            let (customer, own_day, _) = days[at][0];
            let bought = self.bought(data, customer, Some(own_day));
            Query::new(scores, &bought, &Purchases::counted(data, days[at].iter().map(|row| row.2)))
        })
    }
}

/// r_j: further days a buyer, in logs, over the same of all products.
fn propensity(data: &TrainData, purchases: &Purchases) -> Vec<f32> {
    let (mut buyers, mut again) = (vec![0u32; data.catalogue.len()], vec![0u32; data.catalogue.len()]);
    for customer in 0..purchases.customers() {
        let of = |&row: &u32| (data.product[row as usize], day(data.timestamp[row as usize]));
        let mut days: Vec<(u32, i64)> = purchases.of(customer).iter().map(of).collect();
        days.sort_unstable();
        days.dedup();
        for days in days.chunk_by(|a, b| a.0 == b.0) {
            buyers[days[0].0 as usize] += 1;
            again[days[0].0 as usize] += days.len() as u32 - 1;
        }
    }
    let sum = |counts: &[u32]| counts.iter().map(|&n| f64::from(n)).sum::<f64>();
    let mean = sum(&again).max(1.0) / sum(&buyers).max(1.0);
    let of = |(&again, &buyers): (&u32, &u32)| {
        let rate = (f64::from(again) + PRIOR_BUYERS * mean) / (f64::from(buyers) + PRIOR_BUYERS);
        (rate / mean).ln() as f32
    };
    again.iter().zip(&buyers).map(of).collect()
}
