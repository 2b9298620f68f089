//! Rows that ask the same, such as those of one basket: they are scored once.

use crate::data::{TrainData, day};
use std::ops::Range;

/// Rows, those with equal queries beside each other.
#[derive(Debug)]
pub(super) struct DistinctQueries {
    pub(super) rows: Vec<u32>,
    /// Where each of `rows` stands among the rows given.
    places: Vec<usize>,
    /// Ranges of `rows` with equal queries.
    pub(super) groups: Vec<Range<usize>>,
}

impl DistinctQueries {
    /// Of rows in any order. O(rows log rows).
    pub(super) fn of(data: &TrainData, rows: &[u32]) -> Self {
        let mut places: Vec<usize> = (0..rows.len()).collect();
        let key = |place: usize| (data.customer[rows[place] as usize], data.timestamp[rows[place] as usize]);
        places.sort_by_key(|&place| key(place));
        let rows: Vec<u32> = places.iter().map(|&place| rows[place]).collect();
        let (mut groups, mut from) = (Vec::new(), 0);
        for group in rows.chunk_by(|&a, &b| Self::ask_the_same(data, a as usize, b as usize)) {
            groups.push(from..from + group.len());
            from += group.len();
        }
        Self { rows, places, groups }
    }

    /// What is known of a customer differs between days: that of the query's own day is left out. The city is asked for those
    /// of whom nothing is known, even where the model does not read it.
    fn ask_the_same(data: &TrainData, a: usize, b: usize) -> bool {
        let row = |numbers: usize, at: usize| {
            let width = numbers / data.query.rows.max(1);
            at * width..(at + 1) * width
        };
        let (ids, numbers) = (&data.query.ids, &data.query.numbers);
        let bits = |at: usize| numbers[row(numbers.len(), at)].iter().map(|number| number.to_bits());
        data.customer[a] == data.customer[b]
            && data.city[a] == data.city[b]
            && day(data.timestamp[a]) == day(data.timestamp[b])
            && ids[row(ids.len(), a)] == ids[row(ids.len(), b)]
            && bits(a).eq(bits(b))
    }

    /// Puts what belongs to `rows` into the order of the rows given; nothing stays nothing.
    pub(super) fn in_order_of_rows<T: Copy + Default>(&self, of_rows: &[T]) -> Vec<T> {
        if of_rows.is_empty() {
            return Vec::new();
        }
        let mut ordered = vec![T::default(); of_rows.len()];
        self.places.iter().zip(of_rows).for_each(|(&place, value)| ordered[place] = *value);
        ordered
    }
}
