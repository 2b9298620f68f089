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
use crate::data::{NO_PRODUCT, Purchases, TrainData, day};
use crate::error::{Error, Result};
use recs_core::observe::CancelToken;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const N: usize = 6;
/// Average buyers that every product's propensity is mixed with.
const PRIOR_BUYERS: f64 = 5.0;
const LONGEST_SEARCH: usize = 50;

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
struct Bought {
    product: u32,
    /// What t0 … t4 are multiplied with.
    features: [f64; N - 1],
}

impl RepeatTerm {
    /// A term over `purchases` with the given coefficients.
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

    /// Fits the coefficients: towers and purchases are those of the training rows, `rows` were not trained on.
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
    /// with the largest numbers only. `score` gives the towers' score of a product.
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

    /// Each customer and day of the rows once.
    fn queries(
        &self,
        data: &TrainData,
        towers: &Evaluator<'_>,
        rows: &[u32],
        cancel: &CancelToken,
    ) -> Result<Vec<Query>> {
        let mut by_query: BTreeMap<(u32, i64), Vec<u32>> = BTreeMap::new();
        for &row in rows.iter().filter(|&&row| data.product[row as usize] != NO_PRODUCT) {
            let key = (data.customer[row as usize], day(data.timestamp[row as usize]));
            by_query.entry(key).or_default().push(row);
        }
        let of: Vec<(&(u32, i64), &Vec<u32>)> = by_query.iter().collect();
        let first: Vec<u32> = of.iter().map(|(_, rows)| rows[0]).collect();
        towers.map_scores(&first, cancel, |at, scores| {
            let (&(customer, own_day), rows) = of[at];
            let bought = self.bought(data, customer, Some(own_day));
            Query::new(scores, &bought, &Purchases::counted(data, rows.iter().copied()))
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

/// A customer and day: what the likelihood needs of it.
struct Query {
    /// Rows of the day.
    rows: f64,
    /// log of the sum of e^score over the products not bought before.
    others: f64,
    /// Score, the six factors, and rows of the day, of each product bought before.
    own: Vec<(f64, [f64; N], f64)>,
}

impl Query {
    fn new(scores: &[f32], bought: &[Bought], targets: &[(u32, u32)]) -> Self {
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let term = |score: f32| f64::from(score - highest).exp();
        let mut others: f64 = scores.iter().map(|&score| term(score)).sum();
        let mut own = Vec::with_capacity(bought.len());
        for Bought { product, features } in bought {
            let score = scores[*product as usize];
            others -= term(score);
            let at = targets.binary_search_by_key(product, |target| target.0);
            let mut factors = [f64::from(score); N];
            factors[..N - 1].copy_from_slice(features);
            own.push((f64::from(score), factors, at.map_or(0.0, |at| f64::from(targets[at].1))));
        }
        let rows = targets.iter().map(|target| f64::from(target.1)).sum();
        Self { rows, others: others.max(1e-12).ln() + f64::from(highest), own }
    }
}

/// Gradient and second derivatives of the likelihood.
#[derive(Default)]
struct Curvature {
    gradient: [f64; N],
    second: [[f64; N]; N],
}

/// Negative log likelihood of the targets, less what does not depend on the coefficients.
fn likelihood(queries: &[Query], coefficients: &[f64; N], mut curvature: Option<&mut Curvature>) -> f64 {
    let mut total = 0.0;
    for query in queries {
        let logit = |score: f64, factors: &[f64; N]| {
            score + factors.iter().zip(coefficients).map(|(x, t)| x * t).sum::<f64>()
        };
        let logits: Vec<f64> = query.own.iter().map(|(score, factors, _)| logit(*score, factors)).collect();
        let highest = logits.iter().copied().fold(query.others, f64::max);
        let sum = (query.others - highest).exp() + logits.iter().map(|z| (z - highest).exp()).sum::<f64>();
        total += query.rows * (sum.ln() + highest);
        let (mut mean, mut square) = ([0.0; N], [[0.0; N]; N]);
        for ((_, factors, targets), z) in query.own.iter().zip(&logits) {
            total -= targets * z;
            let Some(curvature) = curvature.as_deref_mut() else { continue };
            let p = (z - highest).exp() / sum;
            for i in 0..N {
                mean[i] += p * factors[i];
                curvature.gradient[i] += (query.rows * p - targets) * factors[i];
                for j in 0..N {
                    square[i][j] += p * factors[i] * factors[j];
                }
            }
        }
        if let Some(curvature) = curvature.as_deref_mut() {
            for i in 0..N {
                for j in 0..N {
                    curvature.second[i][j] += query.rows * (square[i][j] - mean[i] * mean[j]);
                }
            }
        }
    }
    total
}

impl Curvature {
    /// Solves `second x = gradient` by elimination with pivots; a little on the diagonal keeps it solvable.
    fn newton_step(&self) -> [f64; N] {
        let (mut a, mut b) = (self.second, self.gradient);
        let trace: f64 = (0..N).map(|i| a[i][i]).sum();
        (0..N).for_each(|i| a[i][i] += 1e-9 * trace + f64::MIN_POSITIVE);
        for column in 0..N {
            let pivot = (column..N)
                .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
                .unwrap_or(column);
            a.swap(column, pivot);
            b.swap(column, pivot);
            let (top, known) = (a[column], b[column]);
            for (row, right) in a.iter_mut().zip(&mut b).skip(column + 1) {
                let factor = row[column] / top[column];
                row.iter_mut().zip(&top).for_each(|(x, t)| *x -= factor * t);
                *right -= factor * known;
            }
        }
        let mut x = [0.0; N];
        for row in (0..N).rev() {
            let known: f64 = (row + 1..N).map(|k| a[row][k] * x[k]).sum();
            x[row] = (b[row] - known) / a[row][row];
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries() -> Vec<Query> {
        let scores: Vec<f32> = (0..30).map(|i| ((i * 7) % 11) as f32 * 0.3).collect();
        (0..40u32)
            .map(|q| {
                let bought: Vec<Bought> = (0..6)
                    .map(|i| {
                        let c = f64::from((q + i) % 5).ln_1p();
                        let r = f64::from((q * 3 + i * 5) % 7) * 0.2 - 0.6;
                        Bought {
                            product: (q + i * 4) % 30,
                            features: [1.0, c, c * 0.5 + r * 0.1, r, c * f64::from(q % 3)],
                        }
                    })
                    .collect();
                let mut targets: Vec<(u32, u32)> =
                    (0..4).map(|i| ((q + i * i * 4) % 30, 1 + i % 2)).collect();
                targets.sort_unstable();
                targets.dedup_by_key(|t| t.0);
                Query::new(&scores, &bought, &targets)
            })
            .collect()
    }

    #[test]
    fn derivatives_equal_finite_differences() {
        let (queries, at) = (queries(), [0.3, 0.8, -0.2, 0.5, 0.1, -0.4]);
        let mut curvature = Curvature::default();
        likelihood(&queries, &at, Some(&mut curvature));
        for i in 0..N {
            let nudged = |by: f64| {
                let mut moved = at;
                moved[i] += by;
                let mut curvature = Curvature::default();
                (likelihood(&queries, &moved, Some(&mut curvature)), curvature.gradient)
            };
            let ((up, gradient_up), (down, gradient_down)) = (nudged(1e-5), nudged(-1e-5));
            assert!(
                ((up - down) / 2e-5 - curvature.gradient[i]).abs()
                    < 1e-3 * curvature.gradient[i].abs().max(1.0)
            );
            for j in 0..N {
                let numeric = (gradient_up[j] - gradient_down[j]) / 2e-5;
                assert!((numeric - curvature.second[i][j]).abs() < 1e-3 * numeric.abs().max(1.0));
            }
        }
    }

    #[test]
    fn newtons_step_solves_the_system() {
        let mut curvature = Curvature::default();
        let expected = [1.0, -2.0, 0.5, 3.0, 0.0, -1.0];
        for i in 0..N {
            for j in 0..N {
                curvature.second[i][j] = if i == j { 2.0 } else { 1.0 / (1.0 + i as f64 + j as f64) };
            }
        }
        for i in 0..N {
            curvature.gradient[i] = (0..N).map(|j| curvature.second[i][j] * expected[j]).sum();
        }
        let step = curvature.newton_step();
        assert!(step.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{step:?}");
    }
}
