//! How far the numbers would move with other customers.
//!
//! Sums of each customer are made once; a sample draws as many customers as there are, with replacement, and adds their sums
//! as often as they were drawn. Cost: samples x (customers + customers of each slice), on all threads.

use super::evaluator::sums;
use super::options::BootstrapConfig;
use super::report::{Bootstrapped, Spread};
use super::slices::Slicing;
use crate::error::Result;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::ThreadPool;
use rayon::prelude::*;
use recs_core::observe::CancelToken;

/// Recall@5, @10, @50, @100, NDCG@10, @100, MRR.
const METRICS: usize = 7;
/// What keeps the samples' seeds apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is resampled: sums over the rows of each customer.
#[derive(Debug)]
pub(super) struct Sums {
    /// Metrics, and the number of rows at the end, summed. `[customers]`
    customers: Vec<[f64; METRICS + 1]>,
    /// Hits at 100 of each slice, of all slicings one after the other.
    slices: Vec<Vec<Cell>>,
}

/// One customer's rows in one slice.
#[derive(Debug, Clone, Copy)]
struct Cell {
    customer: u32,
    rows: u32,
    hits: u32,
}

/// What the bootstrap says of one [`Sums`].
#[derive(Debug)]
pub(super) struct Spreads {
    pub(super) all: Bootstrapped,
    /// Standard error of each slice's Recall@100; None for one with fewer than two customers.
    pub(super) slices: Vec<Option<f64>>,
}

impl Sums {
    /// `customer` gives the customer, below `customers`, of each rank's row.
    pub(super) fn new(
        ranks: &[Option<u32>],
        customer: &[u32],
        customers: usize,
        slicings: &[Slicing],
    ) -> Self {
        let mut of_customers = vec![[0.0; METRICS + 1]; customers];
        for (&rank, &customer) in ranks.iter().zip(customer) {
            let sums = &mut of_customers[customer as usize];
            sums.iter_mut().zip(of_row(rank)).for_each(|(sum, value)| *sum += value);
        }
        let slices = slicings.iter().flat_map(|slicing| cells(ranks, customer, slicing)).collect();
        Self { customers: of_customers, slices }
    }

    fn customers(&self) -> usize {
        self.customers.len()
    }

    /// The metrics, then Recall@100 of each slice (NaN without rows), when each customer is there `weights` times.
    fn sample(&self, weights: &[u32]) -> Vec<f64> {
        let mut total = [0.0; METRICS + 1];
        for (sums, &weight) in self.customers.iter().zip(weights) {
            let weight = f64::from(weight);
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += weight * sum);
        }
        let of_slice = |cells: &Vec<Cell>| {
            let (mut rows, mut hits) = (0u64, 0u64);
            for cell in cells {
                let weight = u64::from(weights[cell.customer as usize]);
                rows += weight * u64::from(cell.rows);
                hits += weight * u64::from(cell.hits);
            }
            hits as f64 / rows as f64
        };
        let metrics = total[..METRICS].iter().map(|sum| sum / total[METRICS]);
        metrics.chain(self.slices.iter().map(of_slice)).collect()
    }
}

/// The metrics of a single row, and 1 for the row.
fn of_row(rank: Option<u32>) -> [f64; METRICS + 1] {
    let one = sums(&[rank]);
    let (recall, ndcg) = (|k| one.recall_at(k), |k| one.ndcg_at(k));
    let metrics = [recall(5), recall(10), recall(50), recall(100), ndcg(10), ndcg(100), one.mrr(), Some(1.0)];
    metrics.map(Option::unwrap_or_default)
}

fn cells(ranks: &[Option<u32>], customer: &[u32], slicing: &Slicing) -> Vec<Vec<Cell>> {
    let mut slices = vec![Vec::new(); slicing.names.len()];
    let mut order: Vec<u32> = (0..ranks.len() as u32).collect();
    order.sort_unstable_by_key(|&row| (customer[row as usize], row));
    for row in order {
        let (row, customer) = (row as usize, customer[row as usize]);
        let slice: &mut Vec<Cell> = &mut slices[slicing.of[row] as usize];
        if slice.last().is_none_or(|cell| cell.customer != customer) {
            slice.push(Cell { customer, rows: 0, hits: 0 });
        }
        if let Some(cell) = slice.last_mut() {
            cell.rows += 1;
            cell.hits += u32::from(ranks[row].is_some_and(|rank| rank < 100));
        }
    }
    slices
}

/// Resamples the customers of several methods alike. None for fewer than two customers, or no samples.
///
/// # Errors
/// [`recs_core::Error::Cancelled`].
pub(super) fn bootstrap(
    methods: &[Sums],
    config: BootstrapConfig,
    pool: &ThreadPool,
    cancel: &CancelToken,
) -> Result<Option<Vec<Spreads>>> {
    let customers = methods.first().map_or(0, Sums::customers);
    if config.samples == 0 || customers < 2 {
        return Ok(None);
    }
    // `[samples][methods][values]`
    let sample = |weights: &mut Vec<u32>, sample: usize| {
        cancel.check()?;
        draw(weights, config.seed ^ (sample as u64).wrapping_mul(GOLDEN));
        Ok(methods.iter().map(|sums| sums.sample(weights)).collect::<Vec<_>>())
    };
    let samples: Vec<Vec<Vec<f64>>> = pool.install(|| {
        let all = (0..config.samples).into_par_iter();
        all.map_init(|| vec![0; customers], sample).collect::<Result<_>>()
    })?;
    let of = |(method, sums): (usize, &Sums)| {
        spreads(config.samples, sums, |at| {
            samples.iter().map(|sample| sample[method][at]).filter(|value| value.is_finite()).collect()
        })
    };
    Ok(Some(methods.iter().enumerate().map(of).collect()))
}

/// How often each customer is drawn when as many are drawn as there are.
fn draw(weights: &mut [u32], seed: u64) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    weights.fill(0);
    for _ in 0..weights.len() {
        // Lemire's multiplication: the bias is below 2^-32.
        let drawn = (u128::from(random.next_u64()) * weights.len() as u128) >> 64;
        weights[drawn as usize] += 1;
    }
}

fn spreads(samples: usize, sums: &Sums, values: impl Fn(usize) -> Vec<f64>) -> Spreads {
    let spread = |at| Spread::of(values(at));
    let all = Bootstrapped {
        samples,
        customers: sums.customers(),
        recall_at_5: spread(0),
        recall_at_10: spread(1),
        recall_at_50: spread(2),
        recall_at_100: spread(3),
        ndcg_at_10: spread(4),
        ndcg_at_100: spread(5),
        mrr: spread(6),
    };
    let of_slice = |(at, cells): (usize, &Vec<Cell>)| {
        (cells.len() > 1).then(|| Spread::of(values(METRICS + at)).standard_error)
    };
    Spreads { all, slices: sums.slices.iter().enumerate().map(of_slice).collect() }
}

impl Spread {
    /// Standard deviation of the samples, and the 2.5 % and 97.5 % points, between the two nearest values.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let point = |share: f64| {
            let at = share * (n - 1.0);
            let value = |at: f64| values.get(at as usize).copied().unwrap_or_default();
            value(at.floor()) + at.fract() * (value(at.ceil()) - value(at.floor()))
        };
        Self { standard_error: (square / (n - 1.0).max(1.0)).sqrt(), low: point(0.025), high: point(0.975) }
    }
}
