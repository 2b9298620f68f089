//! Rows of a table under a new vocabulary -> rows under the old one.

use crate::error::{Error, Result};
use crate::schema::{CrossPart, Encoding};
use crate::vocab::{Buckets, StringLookup, Vocabulary};
use ndarray::ArrayRef2;

/// True for a table with a row for each value of `field`.
pub fn has_row_by_value(encoding: &Encoding, field: &str) -> bool {
    match encoding {
        Encoding::Embedding { field: of, .. }
        | Encoding::History { field: of, .. }
        | Encoding::Bias { field: of, .. } => of == field,
        Encoding::Buckets { .. }
        | Encoding::Cross { .. }
        | Encoding::NGrams { .. }
        | Encoding::Normalised { .. }
        | Encoding::Cyclical { .. } => false,
    }
}

/// Where each row of a table comes from.
///
/// * A table by vocabulary (`embedding`, `history`, `bias`): from the row of the same value; row 0, values outside the
///   vocabulary, from row 0.
/// * Buckets: with equal boundaries row by row. Otherwise a bucket between two boundaries comes from the old bucket in
///   which its middle lies, or the nearest between two boundaries; the two open ends from their likes.
/// * A cross: bin by bin, since bins are hashes of values; none when one of its parts is the bucket of a field whose
///   boundaries moved, since its bins then stand for other values.
/// * N-grams: bin by bin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowSources {
    /// Every row from the row of its own number.
    Same,
    /// No row: the old ones stand for something else.
    Nothing,
    /// From these rows; None for a value that is new. `[rows]`
    Rows(Vec<Option<u32>>),
}

impl RowSources {
    /// Sources of the table of `encoding`, which both vocabularies serve. O(values).
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn new(encoding: &Encoding, new: &Vocabulary, old: &Vocabulary) -> Result<Self> {
        Ok(match encoding {
            Encoding::Embedding { field, .. }
            | Encoding::History { field, .. }
            | Encoding::Bias { field, .. } => by_value(new.lookup(field)?, old.lookup(field)?),
            Encoding::Buckets { field, .. } => by_middle(new.buckets(field)?, old.buckets(field)?),
            Encoding::Cross { parts, .. } => {
                for part in parts {
                    if let CrossPart::Bucket { field } = part
                        && new.buckets(field)? != old.buckets(field)?
                    {
                        return Ok(Self::Nothing);
                    }
                }
                Self::Same
            }
            Encoding::NGrams { .. } => Self::Same,
            Encoding::Normalised { .. } | Encoding::Cyclical { .. } => Self::Nothing,
        })
    }

    /// Copies the rows that have a source, and gives the number of those that have none.
    ///
    /// # Errors
    /// [`Error::Shape`] naming `tensor` when the tables do not fit the vocabularies.
    pub fn copy(&self, from: &ArrayRef2<f32>, to: &mut ArrayRef2<f32>, tensor: &str) -> Result<usize> {
        let shape = |expected: Vec<usize>, got: &[usize]| {
            let (file, tensor) = (crate::model::WEIGHTS_FILE.into(), tensor.to_owned());
            Err(Error::Shape { file, tensor, expected, got: got.to_vec() })
        };
        if from.ncols() != to.ncols() {
            return shape(vec![from.nrows(), to.ncols()], from.shape());
        }
        let sources = match self {
            Self::Nothing => return Ok(to.nrows()),
            Self::Same if from.dim() == to.dim() => {
                to.assign(from);
                return Ok(0);
            }
            Self::Same => return shape(to.shape().to_vec(), from.shape()),
            Self::Rows(sources) => sources,
        };
        let highest = sources.iter().flatten().max().map_or(0, |&row| row as usize + 1);
        if sources.len() != to.nrows() || highest > from.nrows() {
            return shape(vec![highest, to.ncols()], from.shape());
        }
        let mut without = 0;
        for (source, mut row) in sources.iter().zip(to.rows_mut()) {
            match source {
                Some(source) => row.assign(&from.row(*source as usize)),
                None => without += 1,
            }
        }
        Ok(without)
    }
}

fn by_value(new: &StringLookup, old: &StringLookup) -> RowSources {
    if new == old {
        return RowSources::Same;
    }
    let known = new.values().map(|value| Some(old.id(value)).filter(|&id| id != 0));
    RowSources::Rows(std::iter::once(Some(0)).chain(known).collect())
}

fn by_middle(new: &Buckets, old: &Buckets) -> RowSources {
    let (boundaries, ends) = (new.boundaries(), old.boundaries().len() as u32);
    if new == old {
        return RowSources::Same;
    }
    let between = boundaries.windows(2).map(|w| {
        let bucket = old.bucket((w[0] / 2.0 + w[1] / 2.0) as f32);
        // One boundary has no bucket between two: then only open ends.
        Some(if ends > 1 { bucket.clamp(1, ends - 1) } else { bucket })
    });
    RowSources::Rows(std::iter::once(Some(0)).chain(between).chain([Some(ends)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::linspace;
    use ndarray::Array2;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn rows(sources: RowSources) -> Vec<Option<u32>> {
        match sources {
            RowSources::Rows(rows) => rows,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        /// Values come in front, in the middle, at the end, and go.
        #[test]
        fn a_value_keeps_its_row(
            old in proptest::collection::btree_set("[a-e]{0,3}", 0..40),
            new in proptest::collection::btree_set("[a-e]{0,3}", 0..40),
        ) {
            let lookup = |values: &BTreeSet<String>| StringLookup::from_sorted("f", values).unwrap();
            let (a, b) = (lookup(&old), lookup(&new));
            // Each row holds its own number, so a copy says where it came from.
            let from = Array2::from_shape_fn((old.len() + 1, 2), |(row, column)| (row * 2 + column) as f32);
            let mut to = Array2::from_elem((new.len() + 1, 2), -1.0);
            let without = by_value(&b, &a).copy(&from, &mut to, "t").unwrap();
            prop_assert_eq!(without, new.difference(&old).count());
            prop_assert_eq!(to.row(0), from.row(0));
            for value in &new {
                let row = to.row(b.id(value) as usize);
                match old.contains(value) {
                    true => prop_assert_eq!(row, from.row(a.id(value) as usize)),
                    false => prop_assert!(row.iter().all(|x| *x == -1.0)),
                }
            }
        }

        #[test]
        fn every_bucket_comes_from_the_one_around_its_middle(
            (min, width) in (-50f64..50.0, 1f64..90.0), (a, b) in (1usize..30, 1usize..30), shift in -40f64..40.0,
        ) {
            let buckets = |from: f64, n| Buckets::new("k", linspace(from, from + width, n)).unwrap();
            let (old, new) = (buckets(min, a), buckets(min + shift, b));
            prop_assume!(old != new);
            let rows = rows(by_middle(&new, &old));
            prop_assert_eq!(rows.len(), b + 1);
            prop_assert_eq!((rows[0], rows[b]), (Some(0), Some(a as u32)));
            for (i, row) in rows[1..b].iter().enumerate() {
                let middle = (new.boundaries()[i] + new.boundaries()[i + 1]) / 2.0;
                let (row, edges) = (row.unwrap() as usize, old.boundaries());
                if a > 1 && (edges[0] + 0.01..edges[a - 1] - 0.01).contains(&middle) {
                    prop_assert!(edges[row - 1] <= middle + 0.01 && middle - 0.01 <= edges[row], "{row}: {middle}");
                } else if a > 1 {
                    prop_assert!((1..a).contains(&row));
                }
            }
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let (from, mut to) = (Array2::zeros((2, 3)), Array2::zeros((2, 2)));
        let refused = RowSources::Same.copy(&from, &mut to, "query.city.embedding").unwrap_err();
        assert!(refused.to_string().contains("query.city.embedding"), "{refused}");
        let beyond = RowSources::Rows(vec![Some(0), Some(9)]);
        assert!(beyond.copy(&Array2::zeros((2, 2)), &mut to, "t").is_err());
    }
}
