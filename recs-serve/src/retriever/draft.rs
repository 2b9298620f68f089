//! The list of products while it is filled.

use super::catalogue::Catalogue;
use super::{Reason, Request};
use std::collections::{HashMap, HashSet};

/// A product in the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) product: u32,
    pub(super) base: f32,
    pub(super) source: Reason,
    pub(super) is_pinned: bool,
}

/// At most k products, each once, at most `cap` of a category.
#[derive(Debug)]
pub(super) struct Draft<'r> {
    catalogue: &'r Catalogue,
    k: usize,
    cap: Option<usize>,
    entries: Vec<Entry>,
    of_category: HashMap<u32, usize>,
}

impl<'r> Draft<'r> {
    pub(super) fn new(catalogue: &'r Catalogue, request: &Request) -> Self {
        let of_category = HashMap::new();
        Self { catalogue, k: request.k, cap: request.category_cap, entries: Vec::new(), of_category }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.k
    }

    /// Most products of a category.
    pub(super) fn cap(&self) -> Option<usize> {
        self.cap
    }

    /// How many of these products, each given once, a list without an end would take.
    pub(super) fn most_of(&self, products: impl Iterator<Item = u32>) -> usize {
        let Some(cap) = self.cap else { return products.count() };
        let (mut free, mut of_category) = (0, HashMap::<u32, usize>::new());
        for product in products {
            match self.catalogue.capped_category(product) {
                Some(category) => *of_category.entry(category).or_default() += 1,
                None => free += 1,
            }
        }
        free + of_category.values().map(|&count| count.min(cap)).sum::<usize>()
    }

    /// The products so far.
    pub(super) fn products(&self) -> HashSet<u32> {
        self.entries.iter().map(|e| e.product).collect()
    }

    /// Appends unless the list or the product's category is full; the caller sees to it that no product comes twice.
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        if self.is_full() {
            return false;
        }
        if let Some(cap) = self.cap
            && let Some(category) = self.catalogue.capped_category(entry.product)
        {
            let taken = self.of_category.entry(category).or_default();
            if *taken >= cap {
                return false;
            }
            *taken += 1;
        }
        self.entries.push(entry);
        true
    }

    /// Takes back what was appended after the first `len`.
    pub(super) fn truncate(&mut self, len: usize) {
        for entry in self.entries.drain(len.min(self.entries.len())..) {
            if self.cap.is_some()
                && let Some(category) = self.catalogue.capped_category(entry.product)
                && let Some(taken) = self.of_category.get_mut(&category)
            {
                *taken -= 1;
            }
        }
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}
