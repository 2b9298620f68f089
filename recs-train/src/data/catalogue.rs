//! The products of a dataset.

use super::part::Latest;
use std::collections::{BTreeMap, HashMap};

/// The products that the rows hold.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Vocabulary id of each product. `[products]`
    pub ids: Vec<u32>,
    /// Row of [`TrainData::candidates`](super::TrainData::candidates) of each product: that of its latest purchase, as a
    /// service would have it. `[products]`
    ///
    /// That may be a test row: where attributes of a product change, its vector in a report has those of the test's days,
    /// which training rows did not have. Keep attributes out of the candidate tower that say how a product sells.
    pub candidate: Vec<u32>,
    /// Vocabulary id of the name in that row, 0 without such a field.
    pub name: Vec<u32>,
    /// Vocabulary id of the category in that row, 0 without such a field.
    pub category: Vec<u32>,
    /// Vocabulary id of the subcategory in that row, 0 without such a field.
    pub subcategory: Vec<u32>,
}

impl Catalogue {
    /// The catalogue, and the place in it of each vocabulary id.
    pub(super) fn of(latest: &BTreeMap<u32, Latest>) -> (Self, HashMap<u32, u32>) {
        let (mut catalogue, mut places) = (Self::default(), HashMap::with_capacity(latest.len()));
        for (&id, latest) in latest {
            places.insert(id, catalogue.ids.len() as u32);
            catalogue.ids.push(id);
            catalogue.candidate.push(latest.candidate);
            catalogue.name.push(latest.name);
            catalogue.category.push(latest.category);
            catalogue.subcategory.push(latest.subcategory);
        }
        (catalogue, places)
    }

    /// Number of products.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without products.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
