//! What stands in where the model cannot answer: the popular products of a segment, and of everybody.

use super::Reason;
use crate::index::{Filter, Hit};
use recs_core::artifact::{Candidates, Customers, segment_share, sold_by_segment};
use std::collections::HashMap;

/// Popularity over all customers, and for each segment.
///
/// Memory: 8 bytes a product, and 12 bytes for each distinct product of each segment.
#[derive(Debug)]
pub(super) struct Fallback {
    /// Product and its share of all rows, the most bought first, ties by number.
    everybody: Vec<Hit>,
    segments: HashMap<String, Segment>,
}

/// What a segment bought, see [`segment_share`].
#[derive(Debug)]
struct Segment {
    /// Products and their shares, the highest first.
    ranked: Vec<Hit>,
    /// The same products, ascending.
    products: Vec<u32>,
    /// What the shares of all other products are multiplied with.
    rest: f32,
}

/// A list of bestsellers that holds every product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bestsellers<'a> {
    everybody: &'a [Hit],
    segment: Option<&'a Segment>,
}

impl Fallback {
    /// Counts purchases by segment.
    pub(super) fn new(candidates: &Candidates, customers: &Customers) -> Self {
        let of_customer = |(position, segment)| {
            let (products, bought) = customers.purchases(position);
            (segment, products.iter().copied().zip(bought.iter().copied()))
        };
        let sold = sold_by_segment(customers.segment.iter().map(String::as_str).enumerate().map(of_customer));
        let popularity = &candidates.popularity;
        let total = popularity.iter().sum::<u64>().max(1) as f64;
        let share = |product: u32| popularity[product as usize] as f64 / total;
        let everybody =
            ranked((0..popularity.len() as u32).map(|index| Hit { index, score: share(index) as f32 }));
        let segment = |(name, sold): (&str, HashMap<u32, u64>)| (name.to_owned(), Segment::new(&sold, share));
        let segments = sold.into_iter().map(segment).collect();
        Self { everybody, segments }
    }

    /// Of everybody.
    pub(super) fn everybody(&self) -> Bestsellers<'_> {
        Bestsellers { everybody: &self.everybody, segment: None }
    }

    /// Of a segment, if anything was bought in it.
    pub(super) fn segment(&self, name: &str) -> Option<Bestsellers<'_>> {
        let segment = Some(self.segments.get(name)?);
        Some(Bestsellers { everybody: &self.everybody, segment })
    }
}

impl Segment {
    fn new(counts: &HashMap<u32, u64>, share: impl Fn(u32) -> f64) -> Self {
        let all = counts.values().sum();
        let hit =
            |(&index, &rows): (&u32, &u64)| Hit { index, score: segment_share(rows, all, share(index)) };
        let mut products: Vec<u32> = counts.keys().copied().collect();
        products.sort_unstable();
        Self { ranked: ranked(counts.iter().map(hit)), products, rest: segment_share(0, all, 1.0) }
    }

    fn has(&self, product: u32) -> bool {
        self.products.binary_search(&product).is_ok()
    }
}

impl<'a> Bestsellers<'a> {
    /// What a list made of them began with.
    pub(super) fn reason(self) -> Reason {
        if self.segment.is_some() { Reason::Segment } else { Reason::Popularity }
    }

    /// Why a product is where it is: bought in the segment, or by everybody.
    pub(super) fn reason_of(self, product: u32) -> Reason {
        if self.segment.is_some_and(|segment| segment.has(product)) {
            Reason::Segment
        } else {
            Reason::Popularity
        }
    }

    /// The first `k` that pass. O(products looked at).
    pub(super) fn first(self, k: usize, filter: &Filter, out: &mut Vec<Hit>) {
        out.clear();
        let passes = |hit: &Hit| filter.passes(hit.index);
        let mut segment =
            self.segment.map_or(&[][..], |s| &s.ranked).iter().copied().filter(passes).peekable();
        let mut others = self.others().filter(passes).peekable();
        while out.len() < k {
            let own_first = match (segment.peek(), others.peek()) {
                (Some(own), Some(other)) => own.before(other),
                (own, _) => own.is_some(),
            };
            match if own_first { segment.next() } else { others.next() } {
                Some(hit) => out.push(hit),
                None => return,
            }
        }
    }

    /// Shares of some products (ascending). O(list).
    pub(super) fn shares(self, of: &[u32], out: &mut Vec<Hit>) {
        let wanted = |hit: &Hit| of.binary_search(&hit.index).is_ok();
        out.extend(self.segment.into_iter().flat_map(|segment| &segment.ranked).copied().filter(wanted));
        out.extend(self.others().filter(wanted));
    }

    /// The products that nobody of the segment bought, in order.
    fn others(self) -> impl Iterator<Item = Hit> + 'a {
        let rest = self.segment.map_or(1.0, |segment| segment.rest);
        let is_other = move |hit: &&Hit| !self.segment.is_some_and(|segment| segment.has(hit.index));
        self.everybody.iter().filter(is_other).map(move |hit| Hit { score: hit.score * rest, ..*hit })
    }
}

/// The highest first, ties by number.
fn ranked(hits: impl Iterator<Item = Hit>) -> Vec<Hit> {
    let mut hits: Vec<Hit> = hits.collect();
    hits.sort_unstable_by(|a, b| b.before(a).cmp(&a.before(b)));
    hits
}
