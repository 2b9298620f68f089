//! The distinct ids of a batch, without sorting and without hashing.

use crate::backend::Batch;

/// Ids of a batch, each once, in the order of their first coming.
///
/// Memory: 8 bytes for each id that there may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Distinct {
    /// For each possible id the turn in which it was last seen, and its place in `ids` then.
    seen: Vec<(u32, u32)>,
    turn: u32,
    pub(super) ids: Vec<u32>,
    /// Place in `ids` of each member of the batch. `[batch]`
    pub(super) slots: Vec<u32>,
}

impl Distinct {
    /// For ids below `n`.
    pub(super) fn new(n: usize) -> Self {
        Self { seen: vec![(0, 0); n], ..Self::default() }
    }

    /// Ids are below this.
    pub(super) fn limit(&self) -> usize {
        self.seen.len()
    }

    /// Takes the rows of a batch, or its targets where it has some.
    pub(super) fn fill_from(
        &mut self,
        batch: Batch<'_>,
        of_row: impl Fn(u32) -> u32,
        of_target: impl Fn(u32) -> u32,
    ) {
        match batch.targets {
            None => self.fill(batch.rows.iter().map(|&row| of_row(row))),
            Some(targets) => self.fill(targets.columns.iter().map(|&product| of_target(product))),
        }
    }

    /// Takes the next batch. O(batch).
    pub(super) fn fill(&mut self, batch: impl ExactSizeIterator<Item = u32>) {
        self.ids.clear();
        self.slots.clear();
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            self.seen.fill((0, 0));
            self.turn = 1;
        }
        self.extend(batch);
    }

    /// Takes further members of the batch. O(members).
    pub(super) fn extend(&mut self, members: impl ExactSizeIterator<Item = u32>) {
        let Self { seen, turn, ids, slots } = self;
        let mut known = ids.len();
        ids.resize(known + members.len(), 0);
        // Without a branch on what is known already, which no processor can foretell.
        slots.extend(members.map(|id| {
            let seen = &mut seen[id as usize];
            let is_new = seen.0 != *turn;
            let slot = if is_new { known as u32 } else { seen.1 };
            *seen = (*turn, slot);
            ids[known] = id;
            known += usize::from(is_new);
            slot
        }));
        ids.truncate(known);
    }

    /// Place in `ids` of an id that the batch has.
    pub(super) fn find(&self, id: u32) -> Option<u32> {
        let (turn, slot) = *self.seen.get(id as usize)?;
        (turn == self.turn).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_each_id_once_and_says_where() {
        let mut distinct = Distinct::new(10);
        for (batch, ids, slots) in [
            (vec![7u32, 3, 7, 9, 3], vec![7u32, 3, 9], vec![0u32, 1, 0, 2, 1]),
            (vec![3, 3], vec![3], vec![0, 0]),
            (vec![], vec![], vec![]),
        ] {
            distinct.fill(batch.into_iter());
            assert_eq!((&distinct.ids, &distinct.slots), (&ids, &slots));
        }
        distinct.fill([4u32, 6].into_iter());
        distinct.extend([6u32, 0, 4].into_iter());
        assert_eq!((&distinct.ids, &distinct.slots), (&vec![4, 6, 0], &vec![0, 1, 1, 2, 0]));
        assert_eq!([0, 3, 6, 99].map(|id| distinct.find(id)), [Some(2), None, Some(1), None]);
        distinct.turn = u32::MAX;
        distinct.fill([3u32, 1].into_iter());
        assert_eq!((&distinct.ids, distinct.turn), (&vec![3, 1], 1));
    }
}
