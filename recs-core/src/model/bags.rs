//! Lists of table rows: what a text's n-grams are.

use std::sync::Arc;

/// Lists of rows of a table, end to end: those of list i are `ids[offsets[i]..offsets[i + 1]]`. A list is encoded as the
/// mean of its rows, an empty one as zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bags {
    offsets: Vec<u32>,
    ids: Vec<u32>,
}

impl Default for Bags {
    fn default() -> Self {
        Self { offsets: vec![0], ids: Vec::new() }
    }
}

impl Bags {
    /// Number of lists.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// True without lists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A list; an empty one beyond the end.
    pub fn list(&self, at: usize) -> &[u32] {
        match self.offsets.get(at..at + 2) {
            Some(ends) => &self.ids[ends[0] as usize..ends[1] as usize],
            None => &[],
        }
    }

    /// Appends a list.
    ///
    /// # Panics
    /// When there are 2^32 rows or more in all lists.
    pub fn push(&mut self, list: impl IntoIterator<Item = u32>) {
        self.ids.extend(list);
        self.offsets.push(offset(self.ids.len()));
    }

    /// Shortens it to `len` lists.
    pub fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.ids.truncate(self.offsets.last().map_or(0, |&end| end as usize));
    }

    /// The highest row of all lists.
    pub fn highest(&self) -> Option<u32> {
        self.ids.iter().max().copied()
    }
}

/// A place in lists of up to 2^32 numbers, of which 16 GiB are full.
///
/// # Panics
/// Beyond them.
pub(super) fn offset(len: usize) -> u32 {
    u32::try_from(len).expect("lists of rows hold fewer than 2^32")
}

/// The lists of one encoding: each row's id in `column` says which is its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BagColumn {
    /// Place among the ids of a row.
    pub column: usize,
    /// The lists.
    pub bags: Arc<Bags>,
}

impl BagColumn {
    /// Appends the lists of another part, of whose rows `ids` are, `width` a row.
    pub(super) fn append(&mut self, other: &Self, ids: &mut [u32], width: usize) {
        // Lists of a vocabulary are those of every part.
        if Arc::ptr_eq(&self.bags, &other.bags) {
            return;
        }
        let bags = Arc::make_mut(&mut self.bags);
        let from = offset(bags.len());
        (0..other.bags.len()).for_each(|at| bags.push(other.bags.list(at).iter().copied()));
        offset(bags.len());
        ids.iter_mut().skip(self.column).step_by(width.max(1)).for_each(|id| *id += from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_end_where_u32_does() {
        assert_eq!(offset(u32::MAX as usize), u32::MAX);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    #[should_panic(expected = "fewer than 2^32")]
    fn a_place_beyond_is_no_other_one() {
        offset(1 << 32);
    }
}
