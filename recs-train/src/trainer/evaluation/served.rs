//! What a published model knows of customers, for rows of any dataset.
//!
//! A published model has purchases without days. Where a test row's own customer and day have other rows before the test,
//! the model may have been trained on them: they are taken off again, as in the training's own evaluation. Of the repeat
//! term products go that were bought on no other day; what the own day adds to the others' terms stays.

use super::fallback::{Counts, Fallback};
use super::known::Entries;
use crate::data::{Purchases, TrainData, day};
use recs_core::artifact::ModelArtifact;
use recs_core::model::Histories;
use recs_core::schema::Role;
use std::collections::HashMap;

/// Purchases of a published model's customers.
#[derive(Debug)]
pub(in crate::trainer) struct Served<'a> {
    artifact: &'a ModelArtifact,
    /// Place in the model's customers of each vocabulary id.
    positions: HashMap<u32, usize>,
    /// Vocabulary id of each customer's city.
    cities: Vec<u32>,
    /// Vocabulary id of each product of the model's catalogue.
    product_ids: Vec<u32>,
    /// Place in the model's catalogue of each product of the data's.
    places: Vec<u32>,
    /// Rows of the data before the test.
    before: Purchases,
}

impl<'a> Served<'a> {
    /// `places` gives each product of the data its place in the model's catalogue, `before` are the rows before the test.
    pub(in crate::trainer) fn new(
        artifact: &'a ModelArtifact,
        data: &TrainData,
        places: Vec<u32>,
        before: &[u32],
    ) -> recs_core::Result<Self> {
        let schema = &artifact.config.schema;
        let lookup = |role| artifact.vocabulary.lookup(&schema.role(role)?.name);
        let (customers, products) = (lookup(Role::Customer)?, lookup(Role::Product)?);
        let ids = artifact.customers.ids.iter().map(|id| customers.id(id));
        let cities =
            schema.find_role(Role::City).map(|field| artifact.vocabulary.lookup(&field.name)).transpose()?;
        let city = |text: &String| cities.map_or(0, |cities| cities.id(text));
        Ok(Self {
            artifact,
            positions: ids.zip(0..).collect(),
            cities: artifact.customers.segment.iter().map(city).collect(),
            product_ids: artifact.candidates.ids.iter().map(|id| products.id(id)).collect(),
            places,
            before: Purchases::new(data, before),
        })
    }

    /// Products of the model's catalogue that the row's customer bought, without the row's own day.
    pub(super) fn purchases(&self, data: &TrainData, row: u32) -> Vec<(u32, u32)> {
        let Some(&position) = self.positions.get(&data.customer[row as usize]) else { return Vec::new() };
        let (products, counts) = self.artifact.customers.purchases(position);
        let own_day = day(data.timestamp[row as usize]);
        let mut own: HashMap<u32, u32> = HashMap::new();
        if own_day <= i64::from(self.artifact.customers.last_day[position]) {
            for &other in self.before.of(data.customer[row as usize]) {
                if day(data.timestamp[other as usize]) == own_day {
                    *own.entry(self.places[data.product[other as usize] as usize]).or_default() += 1;
                }
            }
        }
        let left = |(&product, &count): (&u32, &u32)| {
            (product, count.saturating_sub(own.get(&product).copied().unwrap_or(0)))
        };
        products.iter().zip(counts).map(left).filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn histories(&self, data: &TrainData, rows: &[u32]) -> Histories {
        let mut histories = Histories::default();
        for &row in rows {
            let purchases = self.purchases(data, row).into_iter();
            histories.push(purchases.map(|(product, n)| (self.product_ids[product as usize], n as f32)));
        }
        histories
    }

    /// The repeat term of a row's customer; None for a model without one.
    pub(super) fn repeats(&self, data: &TrainData, row: u32) -> Entries {
        let Some(&position) = self.positions.get(&data.customer[row as usize]) else { return Vec::new() };
        let kept = self.purchases(data, row);
        let is_kept = |product: u32| kept.binary_search_by_key(&product, |(p, _)| *p).is_ok();
        self.artifact.customers.repeats(position).filter(|(product, _)| is_kept(*product)).collect()
    }

    pub(super) fn fallback(&self) -> Fallback {
        let ids = &self.artifact.customers.ids;
        let counts = self.artifact.candidates.popularity.clone();
        Fallback::new(counts, (0..ids.len()).map(|position| self.home_at(position)))
    }

    pub(super) fn home(&self, customer: u32) -> (u32, Counts) {
        self.positions.get(&customer).map_or_else(Default::default, |&position| self.home_at(position))
    }

    fn home_at(&self, position: usize) -> (u32, Counts) {
        let customers = &self.artifact.customers;
        let (products, rows) = customers.purchases(position);
        (self.cities[position], products.iter().copied().zip(rows.iter().copied()).collect())
    }

    pub(super) fn has_repeats(&self) -> bool {
        !self.artifact.customers.repeat.is_empty()
    }
}
