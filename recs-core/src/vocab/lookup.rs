//! Text -> id.

use crate::error::{Error, Result};
use crate::hash::fingerprint64;
use crate::slab::{Slab, Texts};

/// Distinct texts in Unicode code point order; value i has id i + 1, everything else id 0.
///
/// Memory: the bytes of the texts once, 8 bytes an entry for their ends, 8 to 16 for the hash table.
#[derive(Debug, Clone)]
pub struct StringLookup {
    texts: Texts,
    /// Ids by the hash of their texts, each in the first free place from there on; 0 is free. A power of two long, at most half
    /// full.
    table: Slab<u32>,
}

impl StringLookup {
    /// Builds the lookup of sorted distinct values.
    ///
    /// # Errors
    /// [`Error::Document`] when `values` are not strictly ascending; `field` is named.
    pub fn from_sorted<S: AsRef<str>>(field: &str, values: impl IntoIterator<Item = S>) -> Result<Self> {
        let texts: Texts = values.into_iter().collect();
        let pairs = texts.iter().zip(texts.iter().skip(1)).enumerate();
        let unsorted = pairs.map(|(at, (before, value))| (at, before >= value, value)).find(|found| found.1);
        if let Some((at, _, value)) = unsorted {
            return Err(Error::document(
                super::VOCABULARY_FILE,
                format!(
                    "{field}: value {} ({value:?}) does not come after the one before it; values are sorted by code point, without duplicates",
                    at + 1
                ),
            ));
        }
        let table = index(&texts, field)?.into();
        Ok(Self { texts, table })
    }

    /// Joins what [`StringLookup::parts`] gave. None when the table cannot be that of the texts.
    pub fn of_parts(texts: Texts, table: Slab<u32>) -> Option<Self> {
        let taken = table.iter().filter(|&&id| id != 0).count();
        let fits = table.len().is_power_of_two()
            && taken == texts.len()
            && taken < table.len()
            && table.iter().all(|&id| id as usize <= texts.len());
        fits.then_some(Self { texts, table })
    }

    /// The texts in the order of their ids, and the hash table.
    pub fn parts(&self) -> (&Texts, &Slab<u32>) {
        (&self.texts, &self.table)
    }

    /// Number of values, without out-of-vocabulary.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// True when there is no value.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Id of `value`, 0 when it is not in the vocabulary. O(length of the text).
    #[inline]
    pub fn id(&self, value: &str) -> u32 {
        let table = &self.table[..];
        let mut at = fingerprint64(value.as_bytes()) as usize & (table.len() - 1);
        loop {
            match table[at] {
                0 => return 0,
                id if self.text(id) == Some(value) => return id,
                _ => at = (at + 1) & (table.len() - 1),
            }
        }
    }

    /// Text of an id; None for 0 and for ids beyond the vocabulary.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id.checked_sub(1)? as usize)
    }

    /// The values in id order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.texts.iter()
    }
}

fn index(texts: &Texts, field: &str) -> Result<Vec<u32>> {
    if u32::try_from(texts.len()).is_err() {
        return Err(Error::TooLarge {
            file: field.into(),
            what: "a vocabulary (values)",
            size: texts.len() as u64,
            limit: u64::from(u32::MAX),
            remedy: "hash the field instead",
        });
    }
    let places = (2 * texts.len()).next_power_of_two().max(2);
    let mut table = vec![0u32; places];
    for (id, text) in (1..).zip(texts.iter()) {
        let mut at = fingerprint64(text.as_bytes()) as usize & (places - 1);
        while table[at] != 0 {
            at = (at + 1) & (places - 1);
        }
        table[at] = id;
    }
    Ok(table)
}

impl PartialEq for StringLookup {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
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
    fn tables_of_other_texts_are_refused() {
        let lookup = StringLookup::from_sorted("f", ["a", "b", "c"]).unwrap();
        let (texts, table) = lookup.parts();
        assert_eq!(StringLookup::of_parts(texts.clone(), table.clone()), Some(lookup.clone()));
        for table in [vec![], vec![1], vec![1, 2, 3, 3], vec![1, 2, 3], vec![1, 2, 4, 0], vec![0, 0, 1, 2]] {
            assert!(StringLookup::of_parts(texts.clone(), table.into()).is_none());
        }
        assert_eq!(StringLookup::from_sorted("f", [""; 0]).unwrap().id("a"), 0);
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
