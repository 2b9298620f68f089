//! The walk over one layer: from node to better neighbours, until nothing better is left behind the best.

use super::beam::Beam;
use super::visited::Visited;
use recs_core::kernel::{Int8Query, estimate_rows, prefetch};
use std::collections::BinaryHeap;

/// A place in a list of neighbours that holds none.
pub(super) const NONE: u32 = u32::MAX;

/// Codes of all nodes, `[nodes, stride]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes<'g> {
    pub(super) bytes: &'g [u8],
    pub(super) stride: usize,
}

impl Codes<'_> {
    fn prefetch(&self, node: u32) {
        let start = node as usize * self.stride;
        prefetch(&self.bytes[start..start + self.stride]);
    }
}

/// The neighbours of a layer's nodes, `[nodes, degree]`, each row ended by [`NONE`] where it is shorter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'g> {
    pub(super) links: &'g [u32],
    pub(super) degree: usize,
}

impl<'g> Layer<'g> {
    #[inline]
    pub(super) fn row(&self, node: u32) -> &'g [u32] {
        &self.links[node as usize * self.degree..][..self.degree]
    }

    pub(super) fn neighbours(&self, node: u32) -> impl Iterator<Item = u32> + 'g {
        self.row(node).iter().copied().take_while(|&n| n != NONE)
    }
}

/// Working memory of walks.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(super) beam: Beam,
    pub(super) visited: Visited,
    /// Nodes that a filtered walk may still look behind.
    pub(super) ahead: BinaryHeap<u64>,
    /// Neighbours to be estimated together.
    pub(super) fresh: Vec<u32>,
    pub(super) estimates: Vec<i32>,
}

impl Walk {
    /// Collects the neighbours of a node that were not met before, with their estimates.
    #[inline]
    pub(super) fn look_behind(&mut self, node: u32, codes: Codes<'_>, layer: Layer<'_>, query: &Int8Query) {
        self.fresh.clear();
        for &neighbour in layer.row(node) {
            if neighbour == NONE {
                break;
            }
            if self.visited.insert(neighbour) {
                codes.prefetch(neighbour);
                self.fresh.push(neighbour);
            }
        }
        self.estimate_fresh(codes, query);
    }

    /// Estimates what is collected.
    pub(super) fn estimate_fresh(&mut self, codes: Codes<'_>, query: &Int8Query) {
        self.estimates.resize(self.fresh.len(), 0);
        estimate_rows(query, codes.bytes, codes.stride, &self.fresh, &mut self.estimates);
    }

    /// Estimate of one node.
    pub(super) fn estimate(node: u32, codes: Codes<'_>, query: &Int8Query) -> i32 {
        let mut estimate = [0];
        estimate_rows(query, codes.bytes, codes.stride, &[node], &mut estimate);
        estimate[0]
    }

    /// From `entry` to the best node that can be reached by going to a better neighbour again and again.
    pub(super) fn descend(
        &mut self,
        entry: u32,
        codes: Codes<'_>,
        layer: Layer<'_>,
        query: &Int8Query,
    ) -> u32 {
        let mut best = (Self::estimate(entry, codes, query), entry);
        loop {
            let from = best.1;
            self.fresh.clear();
            self.fresh.extend(layer.neighbours(from));
            self.fresh.iter().for_each(|&n| codes.prefetch(n));
            self.estimate_fresh(codes, query);
            for (&node, &estimate) in self.fresh.iter().zip(&self.estimates) {
                if estimate > best.0 {
                    best = (estimate, node);
                }
            }
            if best.1 == from {
                return from;
            }
        }
    }

    /// Leaves the `ef` best nodes that it found from `entry` in the beam; `nodes` is their number in the layer.
    pub(super) fn search(
        &mut self,
        entry: u32,
        nodes: usize,
        ef: usize,
        codes: Codes<'_>,
        layer: Layer<'_>,
        query: &Int8Query,
    ) {
        self.visited.reset(nodes);
        self.beam.reset(ef);
        self.visited.insert(entry);
        self.beam.push(entry, Self::estimate(entry, codes, query));
        while let Some(node) = self.beam.pop() {
            if let Some(next) = self.beam.peek() {
                prefetch(layer.row(next));
            }
            self.look_behind(node, codes, layer, query);
            for (&node, &estimate) in self.fresh.iter().zip(&self.estimates) {
                if estimate >= self.beam.floor() {
                    self.beam.push(node, estimate);
                }
            }
        }
    }
}
