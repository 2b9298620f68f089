//! What the benchmarks share: a purchase log that looks like a grocery's, made from a seed.
//!
//! [`PurchaseLog`] has the sizes of 90 days of the grocery data that the examples use: 2,240 customers, 9,667 products,
//! 143 cities. Products are drawn with a popularity that falls as 1 / (rank + 20); each customer buys half of the time
//! from 60 favourites of its own, so that there is something to learn and about 40 % of the rows are repurchases. Rows
//! come basket by basket in the order of time, as an extraction writes them: neighbours share customer and timestamp.

mod encoded;
mod shards;
mod shop;

pub use encoded::{encoded, vocabulary_of};
pub use shards::{publish_metadata, write_shards};
pub use shop::{DAYS, FIRST_SECOND, Purchase, Shop};

use ndarray::Array2;
use recs_core::Result;
use recs_core::dataset::Dataset;
use recs_core::example::RowWriter;
use recs_core::schema::Schema;
use recs_core::store::Store;

/// Customers of the log.
pub const CUSTOMERS: usize = 2_240;
/// Products of the log.
pub const PRODUCTS: usize = 9_667;
/// Seed of everything here.
pub const SEED: u64 = 2017;

const GROCERY: Shop = Shop { customers: CUSTOMERS, products: PRODUCTS, cities: 143 };
const ROWS_A_BASKET: usize = 8;

/// Uniform numbers by SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A log of purchases.
#[derive(Debug, Clone)]
pub struct PurchaseLog {
    /// The rows in the order of time.
    pub rows: Vec<Purchase>,
}

impl PurchaseLog {
    /// The log of `rows` rows; the same every time.
    pub fn new(rows: usize) -> Self {
        let mut random = Random::new(SEED);
        let baskets = rows.div_ceil(ROWS_A_BASKET);
        let mut log = Vec::with_capacity(rows);
        for basket in 0..baskets {
            let minutes = basket as i64 * DAYS * 1440 / baskets as i64;
            let customer = GROCERY.customer(&mut random);
            for _ in 0..ROWS_A_BASKET.min(rows - log.len()) {
                log.push(GROCERY.purchase(customer, FIRST_SECOND + minutes * 60, &mut random));
            }
        }
        Self { rows: log }
    }

    /// The rows as Examples.
    ///
    /// # Errors
    /// None in practice: the rows have the schema's types.
    pub fn records(&self) -> Result<Vec<Vec<u8>>> {
        let writer = RowWriter::new(&Schema::retail());
        let record = |row: &Purchase| {
            let mut bytes = Vec::new();
            writer.write(&row.values(), &mut bytes).map(|()| bytes)
        };
        self.rows.iter().map(record).collect()
    }

    /// The log as a published dataset of gzip shards in memory.
    ///
    /// # Errors
    /// Those of the store and the codecs.
    pub async fn dataset(&self, shards: usize) -> Result<Dataset> {
        write_shards(Store::memory(), &Schema::retail(), &self.records()?, shards).await
    }
}

/// Vectors of independent numbers of mean 0, each of length about 1. `[rows, dim]`
pub fn vectors(rows: usize, dim: usize, seed: u64) -> Array2<f32> {
    let mut random = Random::new(seed);
    // The sum of four uniform numbers is close to normal; its variance is 1 / 3.
    let scale = (3.0 / dim as f64).sqrt();
    let mut number = || ((0..4).map(|_| random.unit()).sum::<f64>() - 2.0) * scale;
    Array2::from_shape_simple_fn((rows, dim), || number() as f32)
}

/// Prints what stands beside the times: bytes a row, recall.
#[allow(clippy::print_stderr, reason = "a benchmark's output is what it prints")]
pub fn beside(what: &str, value: f64, unit: &str) {
    eprintln!("{what}: {value:.3} {unit}");
}
