//! The walk when only some candidates may be returned.

use super::HnswIndex;
use super::beam;
use crate::index::{Filter, Scratch};
use recs_core::kernel::{Int8Query, prefetch};

/// The best that pass lie further apart than the best: so many more are kept, if any that do not pass are in the way.
const WIDER: usize = 8;
/// As many of a sample as make no difference.
const NEARLY_ALL: usize = Filter::SAMPLE - Filter::SAMPLE / 16;
/// A walk over more than this share of the nodes costs more than estimating them all one after the other.
const SCAN_SHARE: usize = 10;
/// Nodes that a walk meets for each that it keeps.
const MET_FOR_EACH: usize = 12;

impl HnswIndex {
    /// Leaves the best that pass in `scratch.picked`: the walk goes on over nodes that do not pass until `ef` were found that do.
    /// False when scanning all is cheaper, because few pass, or few where the query is.
    pub(super) fn walk_filtered(
        &self,
        query: &Int8Query,
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
    ) -> bool {
        let nodes = self.image.nodes();
        let passing = filter.sample(self.image.candidates);
        let wider = if passing > NEARLY_ALL { 2 } else { WIDER };
        let (ef, budget) = (self.image.config.ef_search.max(k).saturating_mul(wider), nodes / SCAN_SHARE);
        if passing == 0 || ef.saturating_mul(MET_FOR_EACH * Filter::SAMPLE / passing) > budget {
            return false;
        }
        let entry = self.entry(query, &mut scratch.walk);
        let (codes, layer, of) = (self.image.codes(), self.image.layer(0), self.image.candidates_of());
        let walk = &mut scratch.walk;
        let passes = |node: u32| of.node(node).iter().any(|&candidate| filter.passes(candidate));
        walk.visited.reset(nodes);
        walk.beam.reset(ef);
        walk.ahead.clear();
        walk.fresh.clear();
        walk.visited.insert(entry);
        walk.fresh.push(entry);
        walk.estimate_fresh(codes, query);
        let mut met = 0;
        loop {
            met += walk.fresh.len();
            for (&node, &estimate) in walk.fresh.iter().zip(&walk.estimates) {
                if estimate >= walk.beam.floor() {
                    walk.ahead.push(beam::key(node, estimate));
                    if passes(node) {
                        walk.beam.push(node, estimate);
                    }
                }
            }
            match walk.ahead.pop() {
                Some(key) if beam::estimate(key) >= walk.beam.floor() => {
                    if let Some(&next) = walk.ahead.peek() {
                        prefetch(layer.row(beam::node(next)));
                    }
                    walk.look_behind(beam::node(key), codes, layer, query);
                }
                _ => break,
            }
            if met > budget {
                return false;
            }
        }
        scratch.shortlist.reset(k, query.slack());
        for (node, estimate) in scratch.walk.beam.nodes() {
            let passing = of.node(node).iter().filter(|&&candidate| filter.passes(candidate));
            passing.for_each(|&candidate| scratch.shortlist.push(candidate, estimate));
        }
        scratch.shortlist.take(&mut scratch.picked);
        true
    }
}
