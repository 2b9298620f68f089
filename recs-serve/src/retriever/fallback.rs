//! What stands in where the model cannot answer: the popular products of a segment, and of everybody.

use super::Reason;
use crate::index::{Filter, Hit};
use crate::model::{Popular, Ranked, Segment};

/// A list of bestsellers that holds every product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bestsellers<'a> {
    everybody: Ranked<'a>,
    segment: Option<Segment<'a>>,
}

impl<'a> Bestsellers<'a> {
    /// Of everybody.
    pub(super) fn of_everybody(popular: &'a Popular) -> Self {
        Self { everybody: popular.everybody(), segment: None }
    }

    /// Of a segment, if anything was bought in it.
    pub(super) fn of_segment(popular: &'a Popular, name: &str) -> Option<Self> {
        let segment = Some(popular.segment(name)?);
        Some(Self { everybody: popular.everybody(), segment })
    }

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
        let mut segment = self.of_segment_only().filter(passes).peekable();
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

    /// Shares of some products (distinct, ascending). O(products up to the last of them).
    pub(super) fn shares(self, of: &[u32], out: &mut Vec<Hit>) {
        let wanted = |hit: &Hit| of.binary_search(&hit.index).is_ok();
        // Each is in one of the two.
        out.extend(self.of_segment_only().chain(self.others()).filter(wanted).take(of.len()));
    }

    fn of_segment_only(self) -> impl Iterator<Item = Hit> + 'a {
        self.segment.into_iter().flat_map(|segment| segment.ranked.iter())
    }

    /// The products that nobody of the segment bought, in order.
    fn others(self) -> impl Iterator<Item = Hit> + 'a {
        let rest = self.segment.map_or(1.0, |segment| segment.rest);
        let is_other = move |hit: &Hit| !self.segment.is_some_and(|segment| segment.has(hit.index));
        self.everybody.iter().filter(is_other).map(move |hit| Hit { score: hit.score * rest, ..hit })
    }
}
