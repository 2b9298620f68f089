//! The best nodes that a walk has seen, and which of them it has not looked behind yet.

/// At most `ef` nodes, the best first, each marked once its neighbours were looked at.
///
/// A sorted list instead of two heaps: most nodes that a walk meets do not enter, and those that do enter near the end.
#[derive(Debug, Default)]
pub(super) struct Beam {
    ef: usize,
    /// Descending. Estimate in the upper half, ordered as numbers without sign; then the node, lower numbers higher; then
    /// one bit that says that the node waits to be looked behind.
    keys: Vec<u64>,
    /// No node before it waits.
    next: usize,
}

const WAITS: u64 = 1;

/// Most nodes of a graph: one bit of 32 is taken.
pub(super) const MAX_NODES: usize = 1 << 31;

pub(super) fn key(node: u32, estimate: i32) -> u64 {
    u64::from((estimate as u32) ^ (1 << 31)) << 32 | u64::from(!node << 1) | WAITS
}

pub(super) fn node(key: u64) -> u32 {
    !((key as u32) >> 1 | 1 << 31)
}

pub(super) fn estimate(key: u64) -> i32 {
    ((key >> 32) as u32 ^ (1 << 31)) as i32
}

impl Beam {
    /// Empties it.
    pub(super) fn reset(&mut self, ef: usize) {
        self.ef = ef;
        self.keys.clear();
        self.next = 0;
    }

    /// A node with a lower estimate cannot enter.
    #[inline]
    pub(super) fn floor(&self) -> i32 {
        if self.keys.len() < self.ef { i32::MIN } else { self.keys.last().map_or(i32::MIN, |&k| estimate(k)) }
    }

    /// Offers a node that was not offered before.
    #[inline]
    pub(super) fn push(&mut self, node: u32, estimate: i32) {
        let key = key(node, estimate);
        if self.keys.len() == self.ef {
            match self.keys.last() {
                Some(&worst) if key > worst => self.keys.pop(),
                _ => return,
            };
        }
        let at = self.keys.partition_point(|&k| k > key);
        self.keys.insert(at, key);
        self.next = self.next.min(at);
    }

    /// The best node that waits; it waits no more.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<u32> {
        while let Some(key) = self.keys.get_mut(self.next) {
            self.next += 1;
            if *key & WAITS != 0 {
                *key &= !WAITS;
                return Some(node(*key));
            }
        }
        None
    }

    /// The node that [`Beam::pop`] would give if nothing came before it.
    #[inline]
    pub(super) fn peek(&self) -> Option<u32> {
        self.keys.get(self.next).map(|&key| node(key))
    }

    /// The nodes, best first.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (u32, i32)> + '_ {
        self.keys.iter().map(|&key| (node(key), estimate(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_the_best_and_gives_each_once(estimates in proptest::collection::vec(-20i32..20, 0..60), ef in 1usize..20) {
            let mut beam = Beam::default();
            beam.reset(ef);
            let mut looked = Vec::new();
            for (node, &estimate) in (0..).zip(&estimates) {
                prop_assert!(estimate >= beam.floor() || beam.nodes().all(|(_, e)| e > estimate));
                beam.push(node, estimate);
                if node % 3 == 0 {
                    looked.extend(beam.pop());
                }
            }
            while let Some(node) = beam.pop() {
                looked.push(node);
            }
            let mut expected: Vec<(u32, i32)> = (0..).zip(estimates).collect();
            expected.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            expected.truncate(ef);
            prop_assert_eq!(beam.nodes().collect::<Vec<_>>(), expected.clone());
            let distinct: std::collections::HashSet<u32> = looked.iter().copied().collect();
            prop_assert_eq!(distinct.len(), looked.len());
            prop_assert!(expected.iter().all(|(node, _)| distinct.contains(node)));
        }
    }

    #[test]
    fn numbers_and_estimates_survive() {
        for (n, e) in [(0, 0), (MAX_NODES as u32 - 1, i32::MIN), (7, i32::MAX), (12_345, -1)] {
            assert_eq!((node(key(n, e)), estimate(key(n, e))), (n, e));
            assert_eq!(node(key(n, e) & !WAITS), n);
        }
    }
}
