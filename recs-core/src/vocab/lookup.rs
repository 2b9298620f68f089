//! Text -> id.

use crate::error::{Error, Result};
use crate::hash::fingerprint64;
use hashbrown::HashTable;

/// Distinct texts in Unicode code point order; value i has id i + 1, everything else id 0.
///
/// Memory: the bytes of the texts once, 4 bytes an entry for their ends, about 5 for the hash table.
#[derive(Debug, Clone)]
pub struct StringLookup {
    text: String,
    ends: Vec<usize>,
    table: HashTable<u32>,
}

impl StringLookup {
    /// Builds the lookup of sorted distinct values.
    ///
    /// # Errors
    /// [`Error::Document`] when `values` are not strictly ascending; `field` is named.
    pub fn from_sorted<S: AsRef<str>>(field: &str, values: impl IntoIterator<Item = S>) -> Result<Self> {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for value in values {
            let value = value.as_ref();
            if let Some(&end) = ends.last() {
                let start = ends.len().checked_sub(2).map_or(0, |i| ends[i]);
                if &text[start..end] >= value {
                    return Err(Error::document(
                        super::VOCABULARY_FILE,
                        format!(
                            "{field}: value {} ({value:?}) does not come after the one before it; values are sorted by code point, without duplicates",
                            ends.len()
                        ),
                    ));
                }
            }
            text.push_str(value);
            ends.push(text.len());
        }
        let mut lookup = Self { text, ends, table: HashTable::new() };
        lookup.index(field)?;
        Ok(lookup)
    }

    fn index(&mut self, field: &str) -> Result<()> {
        let Ok(len) = u32::try_from(self.ends.len()) else {
            return Err(Error::TooLarge {
                file: field.into(),
                what: "a vocabulary (values)",
                size: self.ends.len() as u64,
                limit: u64::from(u32::MAX),
                remedy: "hash the field instead",
            });
        };
        let mut table = HashTable::with_capacity(self.ends.len());
        for i in 0..len {
            let hash = fingerprint64(self.value(i).as_bytes());
            table.insert_unique(hash, i, |&j| fingerprint64(self.value(j).as_bytes()));
        }
        self.table = table;
        Ok(())
    }

    fn value(&self, i: u32) -> &str {
        let i = i as usize;
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[i]]
    }

    /// Number of values, without out-of-vocabulary.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there is no value.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Id of `value`, 0 when it is not in the vocabulary. O(length of the text).
    #[inline]
    pub fn id(&self, value: &str) -> u32 {
        let hash = fingerprint64(value.as_bytes());
        self.table.find(hash, |&i| self.value(i) == value).map_or(0, |i| i + 1)
    }

    /// Text of an id; None for 0 and for ids beyond the vocabulary.
    pub fn text(&self, id: u32) -> Option<&str> {
        let i = id.checked_sub(1)?;
        ((i as usize) < self.ends.len()).then(|| self.value(i))
    }

    /// The values in id order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.ends.len()).map(|i| self.value(i as u32))
    }
}

impl PartialEq for StringLookup {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ends == other.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    proptest::proptest! {
        #[test]
        fn every_value_has_its_id(values in proptest::collection::btree_set(".{0,8}", 0..60), other in ".{0,8}") {
            let lookup = StringLookup::from_sorted("f", &values).unwrap();
            for (i, value) in values.iter().enumerate() {
                assert_eq!(lookup.id(value), i as u32 + 1);
                assert_eq!(lookup.text(i as u32 + 1), Some(value.as_str()));
            }
            assert_eq!(lookup.id(&other) == 0, !values.contains(&other));
            assert_eq!(lookup.values().map(str::to_owned).collect::<BTreeSet<_>>(), values);
        }
    }

    #[test]
    fn refuses_unsorted_and_repeated_values() {
        for bad in [["b", "a"], ["a", "a"]] {
            assert!(
                StringLookup::from_sorted("city", bad).unwrap_err().to_string().contains("city: value 1")
            );
        }
    }
}
