//! Customers of whom nothing is known get what sells, as serving gives it to them.
//!
//! A model that describes customers by what they bought says nothing of one without purchases. recs-serve answers with what
//! sells most in the city of the request, and behind it what sells most everywhere; equal counts go by the product's number.
//! A row is judged by its place in that list, its own customer and day not counted.

use crate::data::NO_PRODUCT;
use crate::trainer::popularity::ranks;
use recs_core::model::ModelConfig;
use recs_core::schema::{Role, Tower};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Products with their rows.
pub(super) type Counts = Vec<(u32, u32)>;

/// What sells, everywhere and by city.
#[derive(Debug)]
pub(super) struct Fallback {
    counts: Vec<u64>,
    /// Rank of each product.
    everywhere: Vec<u32>,
    /// By the vocabulary id of the city: rows of each product, by product.
    cities: HashMap<u32, Vec<(u32, u64)>>,
}

/// The list of one query: of each product the place in it, not all places being taken.
#[derive(Debug)]
pub(super) struct Order<'a> {
    everywhere: Cow<'a, [u32]>,
    /// Products of the city with their places, by product.
    city: Vec<(u32, u32)>,
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
        let mut cities: HashMap<u32, HashMap<u32, u64>> = HashMap::new();
        for (city, bought) in customers.filter(|(city, _)| *city != 0) {
            let of_city = cities.entry(city).or_default();
            bought.iter().for_each(|&(p, rows)| *of_city.entry(p).or_default() += u64::from(rows));
        }
        let sorted = |(city, counts): (u32, HashMap<u32, u64>)| {
            let mut counts: Vec<(u32, u64)> = counts.into_iter().collect();
            counts.sort_unstable();
            (city, counts)
        };
        let everywhere = ranks(&counts);
        Self { counts, everywhere, cities: cities.into_iter().map(sorted).collect() }
    }

    /// The list for a query in `city`. `own` is left out: the rows of the query's own customer, who is counted in `home`.
    /// O(products of the city), with own rows O(products log products).
    pub(super) fn order(&self, city: u32, home: u32, own: &Counts) -> Order<'_> {
        let own_of = |product: u32| {
            let at = own.binary_search_by_key(&product, |(p, _)| *p);
            at.map_or(0, |at| u64::from(own[at].1))
        };
        let left = |&(product, rows): &(u32, u64)| {
            (product, if city == home { rows.saturating_sub(own_of(product)) } else { rows })
        };
        let of_city = self.cities.get(&city).map_or(&[][..], Vec::as_slice);
        let mut of_city: Vec<(u32, u64)> = of_city.iter().map(left).filter(|(_, rows)| *rows > 0).collect();
        of_city.sort_unstable_by_key(|&(product, rows)| (Reverse(rows), product));
        let mut places: Vec<(u32, u32)> = of_city.iter().map(|(product, _)| *product).zip(0..).collect();
        places.sort_unstable();
        let everywhere = if own.is_empty() {
            Cow::Borrowed(&self.everywhere[..])
        } else {
            let mut counts = self.counts.clone();
            for &(product, rows) in own {
                counts[product as usize] = counts[product as usize].saturating_sub(u64::from(rows));
            }
            Cow::Owned(ranks(&counts))
        };
        Order { everywhere, city: places }
    }
}

impl Order<'_> {
    /// A product's score: the better its place, the higher; None for one that is not in the catalogue.
    pub(super) fn score(&self, product: u32) -> Option<f32> {
        if product == NO_PRODUCT {
            return None;
        }
        let behind = self.city.len() as u32;
        let everywhere = || self.everywhere.get(product as usize).map(|rank| behind + rank);
        let at = self.city.binary_search_by_key(&product, |(p, _)| *p);
        at.map_or_else(|_| everywhere(), |at| Some(self.city[at].1)).map(|place| -(place as f32))
    }

    /// The scores of the products from `from` on.
    pub(super) fn fill(&self, from: usize, scores: &mut [f32]) {
        let behind = self.city.len() as u32;
        let ranks = self.everywhere.iter().skip(from);
        scores.iter_mut().zip(ranks).for_each(|(score, &rank)| *score = -((behind + rank) as f32));
        for &(product, place) in &self.city {
            if let Some(score) = (product as usize).checked_sub(from).and_then(|at| scores.get_mut(at)) {
                *score = -(place as f32);
            }
        }
    }
}
