//! What stands in where the model cannot answer: the popular products of a segment, and of everybody.

use crate::index::{Filter, Hit};
use recs_core::artifact::{Candidates, Customers};
use std::collections::HashMap;

/// Products by training rows, the most bought first, ties by number.
#[derive(Debug, Default)]
pub(super) struct Popular {
    /// Product and its share of all rows.
    ranked: Vec<Hit>,
}

impl Popular {
    fn new(counts: impl Iterator<Item = (u32, u64)>) -> Self {
        let mut counts: Vec<(u32, u64)> = counts.collect();
        counts.sort_unstable_by_key(|&(product, count)| (std::cmp::Reverse(count), product));
        let total = counts.iter().map(|&(_, count)| count as f64).sum::<f64>().max(1.0);
        let share = |(index, count)| Hit { index, score: (count as f64 / total) as f32 };
        Self { ranked: counts.into_iter().map(share).collect() }
    }

    /// The first `k` that pass. O(products looked at).
    pub(super) fn first(&self, k: usize, filter: &Filter, out: &mut Vec<Hit>) {
        out.clear();
        out.extend(self.ranked.iter().filter(|hit| filter.passes(hit.index)).take(k));
    }

    /// Shares of some products (ascending), those that are in the list. O(list).
    pub(super) fn shares(&self, of: &[u32], out: &mut Vec<Hit>) {
        out.extend(self.ranked.iter().filter(|hit| of.binary_search(&hit.index).is_ok()));
    }
}

/// Popularity over all customers, and for each segment.
///
/// Memory: 8 bytes a product, and 8 bytes for each distinct product of each segment.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) everybody: Popular,
    segments: HashMap<String, Popular>,
}

impl Fallback {
    /// Counts purchases by segment.
    pub(super) fn new(candidates: &Candidates, customers: &Customers) -> Self {
        let everybody = Popular::new((0..).zip(candidates.popularity.iter().copied()));
        let mut counts: HashMap<&str, HashMap<u32, u64>> = HashMap::new();
        for (position, segment) in customers.segment.iter().enumerate().filter(|(_, s)| !s.is_empty()) {
            let of_segment = counts.entry(segment).or_default();
            let (products, bought) = customers.purchases(position);
            for (&product, &rows) in products.iter().zip(bought) {
                *of_segment.entry(product).or_default() += u64::from(rows);
            }
        }
        let ranked =
            |(name, counts): (&str, HashMap<u32, u64>)| (name.to_owned(), Popular::new(counts.into_iter()));
        let segments = counts.into_iter().filter(|(_, counts)| !counts.is_empty()).map(ranked).collect();
        Self { everybody, segments }
    }

    /// The products of a segment, if anything was bought in it.
    pub(super) fn segment(&self, name: &str) -> Option<&Popular> {
        self.segments.get(name)
    }
}
