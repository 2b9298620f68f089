//! Which nodes a walk has met.

/// A bit for each node, cleared in proportion to what was met.
#[derive(Debug, Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    /// Nodes met, until there are so many that clearing everything is cheaper.
    met: Vec<u32>,
}

/// Clearing a word that lies anywhere costs about as much as clearing so many in a row.
const WORDS_AT_ONCE: usize = 16;

impl Visited {
    /// Forgets everything; `nodes` of them from now on.
    pub(super) fn reset(&mut self, nodes: usize) {
        let words = nodes.div_ceil(64);
        if self.words.len() != words || self.met.len() * WORDS_AT_ONCE >= words {
            self.words.clear();
            self.words.resize(words, 0);
        } else {
            self.met.iter().for_each(|&node| self.words[node as usize / 64] = 0);
        }
        self.met.clear();
    }

    /// Notes a node; true when it was not met before.
    #[inline]
    pub(super) fn insert(&mut self, node: u32) -> bool {
        let (word, bit) = (&mut self.words[node as usize / 64], 1 << (node % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        if is_new && self.met.len() * WORDS_AT_ONCE < self.words.len() {
            self.met.push(node);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_the_walk_before() {
        let mut visited = Visited::default();
        for (nodes, step) in
            [(10_000, 1), (10_000, 777), (64, 1), (100_000, 9999), (100_000, 3), (100_000, 50_000)]
        {
            visited.reset(nodes);
            for node in (0..nodes as u32).step_by(step) {
                assert!(visited.insert(node) && !visited.insert(node), "{node} of {nodes}");
            }
        }
    }
}
