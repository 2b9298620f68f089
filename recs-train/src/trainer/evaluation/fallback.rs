//! Customers of whom nothing is known get what sells, as serving gives it to them.
//!
//! A model that describes customers by what they bought says nothing of one without purchases. recs-serve answers with what
//! sells most in the city of the request, small cities being drawn towards what sells everywhere ([`segment_share`]). A row is
//! judged by its place in that list, its own customer and day not counted; ties rank it last.

use recs_core::artifact::{segment_share, sold_by_segment};
use recs_core::model::ModelConfig;
use recs_core::schema::{Role, Tower};
use std::collections::HashMap;

/// Products with their rows.
pub(super) type Counts = Vec<(u32, u32)>;

/// What sells, everywhere and by city.
#[derive(Debug)]
pub(super) struct Fallback {
    /// Rows of each product.
    counts: Vec<u64>,
    /// By the vocabulary id of the city.
    cities: HashMap<u32, HashMap<u32, u64>>,
}

/// Scores of one query: shares of what its city buys.
#[derive(Debug)]
pub(super) struct Shares<'a> {
    counts: &'a [u64],
    all: u64,
    city: Option<&'a HashMap<u32, u64>>,
    of_city: u64,
    /// Rows that are left out, everywhere and of the city.
    own: Counts,
    own_in_city: bool,
}

impl Fallback {
    /// True for a model that serving does not ask about customers without purchases.
    pub(super) fn is_needed(model: &ModelConfig) -> bool {
        let schema = &model.schema;
        let reads = |role| {
            let field = schema.find_role(role).map(|field| field.name.as_str());
            field.is_some_and(|field| schema.query.iter().any(|e| e.fields().contains(&field)))
        };
        schema.widths(Tower::Query).has_history && !reads(Role::Customer) && !reads(Role::City)
    }

    /// `counts` are the rows of each product, `customers` the city of each customer and what they bought.
    pub(super) fn new(counts: Vec<u64>, customers: impl Iterator<Item = (u32, Counts)>) -> Self {
        Self { counts, cities: sold_by_segment(customers) }
    }

    /// For a query in `city`. `own` is left out: the rows of the query's own customer, who is counted in `home`.
    /// O(products).
    pub(super) fn shares(&self, city: u32, home: u32, own: Counts) -> Shares<'_> {
        let (of_city, own_in_city) = (self.cities.get(&city), city == home);
        let own_rows: u64 = own.iter().map(|&(_, rows)| u64::from(rows)).sum();
        let in_city: u64 = of_city.map_or(0, |counts| counts.values().sum());
        Shares {
            counts: &self.counts,
            all: self.counts.iter().sum::<u64>().saturating_sub(own_rows),
            city: of_city,
            of_city: in_city.saturating_sub(if own_in_city { own_rows } else { 0 }),
            own,
            own_in_city,
        }
    }
}

impl Shares<'_> {
    /// A product's score; None for one that is not in the catalogue.
    pub(super) fn score(&self, product: u32) -> Option<f32> {
        let everywhere = *self.counts.get(product as usize)?;
        let own = self.own.binary_search_by_key(&product, |(p, _)| *p);
        let own = own.map_or(0, |at| u64::from(self.own[at].1));
        let in_city = self.city.and_then(|counts| counts.get(&product)).copied().unwrap_or(0);
        let in_city = in_city.saturating_sub(if self.own_in_city { own } else { 0 });
        let share = everywhere.saturating_sub(own) as f64 / self.all.max(1) as f64;
        Some(segment_share(in_city, self.of_city, share))
    }

    /// The scores of the products from `from` on.
    pub(super) fn fill(&self, from: usize, scores: &mut [f32]) {
        for (product, score) in (from as u32..).zip(scores) {
            *score = self.score(product).unwrap_or(f32::MIN);
        }
    }
}
