//! What one shard gives: columns, and what is known of its candidates and products.

use recs_core::model::TowerColumns;
use std::collections::{BTreeMap, HashMap};

/// Columns that every row has.
#[derive(Debug, Clone, Default)]
pub(super) struct RowColumns {
    pub(super) query: TowerColumns,
    /// Row of the distinct candidates: of the part's own until [`Merged`] says of which of all.
    pub(super) candidate: Vec<u32>,
    /// Vocabulary id of the product until [`Merged`] gives its place in the catalogue.
    pub(super) product: Vec<u32>,
    pub(super) customer: Vec<u32>,
    pub(super) city: Vec<u32>,
    pub(super) timestamp: Vec<i64>,
}

impl RowColumns {
    pub(super) fn rows(&self) -> usize {
        self.product.len()
    }

    pub(super) fn clear(&mut self) {
        self.query.clear();
        for column in [&mut self.candidate, &mut self.product, &mut self.customer, &mut self.city] {
            column.clear();
        }
        self.timestamp.clear();
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.query.append(other.query);
        self.candidate.append(&mut other.candidate);
        self.product.append(&mut other.product);
        self.customer.append(&mut other.customer);
        self.city.append(&mut other.city);
        self.timestamp.append(&mut other.timestamp);
    }
}

/// Vocabulary ids of a row, 0 where there is no such field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Labels {
    pub(super) customer: u32,
    pub(super) city: u32,
    pub(super) product: u32,
    pub(super) name: u32,
    pub(super) category: u32,
    pub(super) subcategory: u32,
}

/// Latest purchase of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    timestamp: i64,
    pub(super) candidate: u32,
    pub(super) name: u32,
    pub(super) category: u32,
    pub(super) subcategory: u32,
}

/// One shard.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) rows: RowColumns,
    pub(super) candidates: Distinct,
    pub(super) latest: BTreeMap<u32, Latest>,
    /// The candidate of the row at hand.
    pub(super) scratch: TowerColumns,
}

impl Part {
    /// Takes a row whose query columns are there already and whose candidate is in the scratch.
    pub(super) fn push(&mut self, labels: Labels, timestamp: i64) {
        let candidate = self.candidates.insert(&self.scratch.ids, &self.scratch.numbers);
        self.scratch.clear();
        self.rows.candidate.push(candidate);
        self.rows.product.push(labels.product);
        self.rows.customer.push(labels.customer);
        self.rows.city.push(labels.city);
        self.rows.timestamp.push(timestamp);
        if labels.product != 0 {
            let Labels { name, category, subcategory, .. } = labels;
            let latest = Latest { timestamp, candidate, name, category, subcategory };
            keep_latest(&mut self.latest, labels.product, latest);
        }
    }
}

/// Of purchases at the same time the later row counts.
fn keep_latest(of: &mut BTreeMap<u32, Latest>, product: u32, new: Latest) {
    let known = of.entry(product).or_insert(new);
    if new.timestamp >= known.timestamp {
        *known = new;
    }
}

/// Candidates and products of all parts, in their order.
#[derive(Debug, Default)]
pub(super) struct Merged {
    candidates: Distinct,
    pub(super) latest: BTreeMap<u32, Latest>,
}

impl Merged {
    /// Takes the next part and gives the place among all of each of its candidates.
    pub(super) fn add(&mut self, candidates: &Distinct, latest: &BTreeMap<u32, Latest>) -> Vec<u32> {
        let columns = &candidates.columns;
        let (tables, numbers) =
            (columns.ids.len() / columns.rows.max(1), columns.numbers.len() / columns.rows.max(1));
        let places: Vec<u32> = (0..columns.rows)
            .map(|row| {
                let ids = &columns.ids[row * tables..(row + 1) * tables];
                self.candidates.insert(ids, &columns.numbers[row * numbers..(row + 1) * numbers])
            })
            .collect();
        for (&product, latest) in latest {
            let candidate = places[latest.candidate as usize];
            keep_latest(&mut self.latest, product, Latest { candidate, ..*latest });
        }
        places
    }

    pub(super) fn candidates(self) -> TowerColumns {
        self.candidates.columns
    }
}

/// Rows of a tower, each kept once, in the order of their first coming.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    columns: TowerColumns,
    seen: HashMap<Vec<u32>, u32>,
    key: Vec<u32>,
}

impl Distinct {
    fn insert(&mut self, ids: &[u32], numbers: &[f32]) -> u32 {
        self.key.clear();
        self.key.extend_from_slice(ids);
        self.key.extend(numbers.iter().map(|x| x.to_bits()));
        if let Some(&known) = self.seen.get(&self.key) {
            return known;
        }
        let new = self.columns.rows as u32;
        self.seen.insert(self.key.clone(), new);
        self.columns.rows += 1;
        self.columns.ids.extend_from_slice(ids);
        self.columns.numbers.extend_from_slice(numbers);
        new
    }
}
