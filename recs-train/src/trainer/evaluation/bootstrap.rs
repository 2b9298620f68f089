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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pool() -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap()
    }

    /// The samples written out: the drawn customers' rows one after the other.
    fn written_out(
        ranks: &[Option<u32>],
        customer: &[u32],
        customers: usize,
        (samples, seed): (usize, u64),
        is_in: impl Fn(usize) -> bool,
    ) -> [Vec<f64>; 2] {
        let (mut recall, mut mrr) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            let mut weights = vec![0; customers];
            draw(&mut weights, seed ^ (sample as u64).wrapping_mul(GOLDEN));
            assert_eq!(weights.iter().sum::<u32>() as usize, customers);
            let rows = (0..ranks.len()).filter(|&row| is_in(row));
            let drawn = rows.flat_map(|row| vec![ranks[row]; weights[customer[row] as usize] as usize]);
            let all = sums(&drawn.collect::<Vec<_>>());
            recall.extend(all.recall_at(100));
            mrr.extend(all.mrr());
        }
        [recall, mrr]
    }

    fn deviation(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (square / (values.len() - 1) as f64).sqrt()
    }

    proptest! {
        #[test]
        fn sums_with_weights_are_the_samples_written_out(
            rows in proptest::collection::vec((0u32..9, proptest::option::of(0u32..200), 0u32..3), 30..90),
            seed in any::<u64>(),
        ) {
            let mut present: Vec<u32> = rows.iter().map(|row| row.0).collect();
            present.sort_unstable();
            present.dedup();
            let place = |row: &(u32, _, _)| present.binary_search(&row.0).unwrap() as u32;
            let customer: Vec<u32> = rows.iter().map(place).collect();
            let ranks: Vec<Option<u32>> = rows.iter().map(|row| row.1).collect();
            let of: Vec<u32> = rows.iter().map(|row| row.2).collect();
            let slicing = Slicing { by: "third".into(), names: vec![String::new(); 3], of: of.clone() };
            let sums = Sums::new(&ranks, &customer, present.len(), &[slicing]);
            let config = BootstrapConfig { samples: 150, seed };
            let spreads = bootstrap(&[sums], config, &pool(), &CancelToken::new()).unwrap();
            prop_assume!(present.len() > 1);
            let spreads = spreads.unwrap().remove(0);
            let [mut recall, mrr] = written_out(&ranks, &customer, present.len(), (150, seed), |_| true);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
            prop_assert!(near(spreads.all.recall_at_100.standard_error, deviation(&recall)));
            prop_assert!(near(spreads.all.mrr.standard_error, deviation(&mrr)));
            recall.sort_by(f64::total_cmp);
            // 0.025 x 149 = 3.725, 0.975 x 149 = 145.275.
            prop_assert!(near(spreads.all.recall_at_100.low, 0.275 * recall[3] + 0.725 * recall[4]));
            prop_assert!(near(spreads.all.recall_at_100.high, 0.725 * recall[145] + 0.275 * recall[146]));
            for (slice, error) in (0..).zip(&spreads.slices) {
                let [recall, _] =
                    written_out(&ranks, &customer, present.len(), (150, seed), |row| of[row] == slice);
                let mut there: Vec<u32> = (0..of.len()).filter(|&r| of[r] == slice).map(|r| customer[r]).collect();
                there.sort_unstable();
                there.dedup();
                prop_assert_eq!(error.is_some(), there.len() > 1);
                prop_assert!(error.is_none_or(|error| near(error, deviation(&recall))));
            }
        }
    }

    /// The textbook's errors: of independent rows, and of customers whose rows are all hits or all misses.
    #[test]
    fn the_error_is_that_of_as_many_customers_not_of_as_many_rows() {
        for (rows, customers) in [(400u32, 400u32), (4000, 400)] {
            let customer: Vec<u32> = (0..rows).map(|row| row % customers).collect();
            let ranks: Vec<Option<u32>> = customer.iter().map(|c| (c % 4 == 0).then_some(3)).collect();
            let sums = Sums::new(&ranks, &customer, customers as usize, &[]);
            let config = BootstrapConfig { samples: 4000, seed: 1 };
            let spreads = bootstrap(&[sums], config, &pool(), &CancelToken::new()).unwrap().unwrap();
            let expected = (0.25 * 0.75 / f64::from(customers)).sqrt();
            let got = spreads[0].all.recall_at_100.standard_error;
            assert!((got / expected - 1.0).abs() < 0.06, "{got} beside {expected}");
        }
    }

    #[test]
    fn one_customer_says_nothing_of_others_and_a_cancelled_job_ends() {
        let sums = |customers: u32| Sums::new(&[Some(1), None], &[0, customers - 1], customers as usize, &[]);
        let config = BootstrapConfig::default();
        assert!(bootstrap(&[sums(1)], config, &pool(), &CancelToken::new()).unwrap().is_none());
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(bootstrap(&[sums(2)], config, &pool(), &cancel).is_err());
    }
}
