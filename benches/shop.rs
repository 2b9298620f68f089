//! Customers and products with attributes that follow from their numbers.

use crate::Random;
use recs_core::hash::fingerprint64;
use recs_core::schema::Value;

/// First second of a log.
pub const FIRST_SECOND: i64 = 1_506_988_800;
/// Days of a log.
pub const DAYS: i64 = 90;
const FAVOURITES: usize = 60;

/// How large a shop is.
#[derive(Debug, Clone, Copy)]
pub struct Shop {
    /// Customers.
    pub customers: usize,
    /// Products.
    pub products: usize,
    /// Cities.
    pub cities: usize,
}

impl Shop {
    /// A customer: some come often, many rarely.
    pub fn customer(&self, random: &mut Random) -> usize {
        (random.unit().powi(2) * self.customers as f64) as usize
    }

    /// What a customer buys: half of the time one of their favourites.
    pub fn purchase(&self, customer: usize, timestamp: i64, random: &mut Random) -> Purchase {
        let hash = |what: &str, i: usize| fingerprint64(format!("{what}{i}").as_bytes()) as usize;
        let product = if random.below(2) == 0 {
            // The favourites of a customer are popular products too.
            let favourite = hash("favourite", customer * FAVOURITES + random.below(FAVOURITES));
            self.product(&mut Random::new(favourite as u64))
        } else {
            self.product(random)
        };
        let subcategory = hash("subcategory", product) % 300;
        Purchase {
            customer: (customer + 1).to_string(),
            city: format!("store_{}", hash("city", customer) % self.cities),
            revenue: (50 + hash("revenue", customer) % 500_000) as f32 / 100.0,
            timestamp,
            product: 1_000_000 + 7 * product as i64,
            name: format!("PRODUCT {} OF SUBCATEGORY {subcategory}", hash("name", product) % 5_000),
            category: format!("CATEGORY {}", subcategory % 25),
            subcategory: format!("SUBCATEGORY {subcategory}"),
        }
    }

    /// A product by popularity: density 1 / (rank + 20).
    fn product(&self, random: &mut Random) -> usize {
        let (low, high) = (20f64.ln(), (self.products as f64 + 20.0).ln());
        let rank = (low + random.unit() * (high - low)).exp() - 20.0;
        (rank as usize).min(self.products - 1)
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
    /// The row in the order of [`Schema::retail`](recs_core::schema::Schema::retail).
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
