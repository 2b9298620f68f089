//! What the benchmarks share: a purchase log that looks like a grocery's, made from a seed.
//!
//! [`PurchaseLog`] has the sizes of 90 days of the grocery data that the examples use: 2,240 customers, 9,667 products,
//! 143 cities. Products are drawn with a popularity that falls as 1 / (rank + 20); each customer buys half of the time
//! from 60 favourites of its own, so that there is something to learn and about 40 % of the rows are repurchases. Rows
//! come basket by basket in the order of time, as an extraction writes them: neighbours share customer and timestamp.

mod shards;

pub use shards::write_shards;

use ndarray::Array2;
use recs_core::dataset::Dataset;
use recs_core::example::RowWriter;
use recs_core::schema::{Schema, Value};
use recs_core::store::Store;
use recs_core::{Result, hash::fingerprint64};

/// Customers of the log.
pub const CUSTOMERS: usize = 2_240;
/// Products of the log.
pub const PRODUCTS: usize = 9_667;
/// Cities of the log.
pub const CITIES: usize = 143;
/// Seed of everything here.
pub const SEED: u64 = 2017;

const FIRST_SECOND: i64 = 1_506_988_800;
const DAYS: i64 = 90;
const FAVOURITES: usize = 60;
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

    /// A product by popularity: density 1 / (rank + 20).
    fn product(&mut self) -> usize {
        let (low, high) = (20f64.ln(), (PRODUCTS as f64 + 20.0).ln());
        let rank = (low + self.unit() * (high - low)).exp() - 20.0;
        (rank as usize).min(PRODUCTS - 1)
    }
}

/// One row.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// Decimal text.
    pub customer: String,
    /// One a customer, mostly.
    pub city: String,
    /// The customer's total.
    pub revenue: f32,
    /// Unix seconds, to the minute.
    pub timestamp: i64,
    /// Seven digits.
    pub product: i64,
    /// Name of the product.
    pub name: String,
    /// One of 25.
    pub category: String,
    /// One of 300.
    pub subcategory: String,
}

impl Purchase {
    /// The row in the order of [`Schema::retail`].
    pub fn values(&self) -> [Value<'_>; 8] {
        use Value::{Float, Int64, Text};
        [
            Text(&self.customer),
            Text(&self.city),
            Float(self.revenue),
            Int64(self.timestamp),
            Int64(self.product),
            Text(&self.name),
            Text(&self.category),
            Text(&self.subcategory),
        ]
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
            // Some customers come often, many rarely.
            let customer = (random.unit().powi(2) * CUSTOMERS as f64) as usize;
            for _ in 0..ROWS_A_BASKET.min(rows - log.len()) {
                log.push(purchase(customer, FIRST_SECOND + minutes * 60, &mut random));
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

/// The attributes of customers and products follow from their numbers.
fn purchase(customer: usize, timestamp: i64, random: &mut Random) -> Purchase {
    let hash = |what: &str, i: usize| fingerprint64(format!("{what}{i}").as_bytes()) as usize;
    let product = if random.below(2) == 0 {
        // The favourites of a customer are popular products too.
        Random::new(hash("favourite", customer * FAVOURITES + random.below(FAVOURITES)) as u64).product()
    } else {
        random.product()
    };
    let subcategory = hash("subcategory", product) % 300;
    Purchase {
        customer: (customer + 1).to_string(),
        city: format!("store_{}", hash("city", customer) % CITIES),
        revenue: (50 + hash("revenue", customer) % 500_000) as f32 / 100.0,
        timestamp,
        product: 1_000_000 + 7 * product as i64,
        name: format!("PRODUCT {} OF SUBCATEGORY {subcategory}", hash("name", product) % 5_000),
        category: format!("CATEGORY {}", subcategory % 25),
        subcategory: format!("SUBCATEGORY {subcategory}"),
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
