//! Vocabularies: every distinct text of a field gets an id, every number its bucket.
//!
//! | file | what |
//! |---|---|
//! | `builder.rs` | [`VocabularyBuilder`]: rows -> vocabulary, mergeable, deterministic |
//! | `lookup.rs` | [`StringLookup`]: text -> id, 0 = out of vocabulary |
//! | `buckets.rs` | [`Buckets`]: number -> bucket, [`NumberStats`] |
//! | `file.rs` | `vocabularies.json` |

mod buckets;
mod builder;
mod file;
mod lookup;

pub use buckets::{Buckets, NumberStats, linspace};
pub use builder::{VocabularyBuilder, VocabularyConfig};
pub use file::{MAX_VOCABULARY_BYTES, VOCABULARY_FILE};
pub use lookup::StringLookup;

use crate::error::{Error, Result};
use crate::schema::{Encoding, Schema, Tower};
use std::collections::BTreeMap;

/// The vocabularies, buckets and statistics of one dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// Lookups by field name.
    pub(crate) lookups: BTreeMap<String, StringLookup>,
    /// Buckets by field name.
    pub(crate) buckets: BTreeMap<String, Buckets>,
    /// Statistics by field name.
    pub(crate) stats: BTreeMap<String, NumberStats>,
    /// Rows it was built from.
    pub(crate) total_examples: u64,
}

impl Vocabulary {
    /// Joins what [`Vocabulary::lookups`], [`Vocabulary::all_buckets`], [`Vocabulary::all_stats`] and
    /// [`Vocabulary::total_examples`] gave.
    ///
    /// # Errors
    /// As [`Vocabulary::check`].
    pub fn of_parts(
        schema: &Schema,
        lookups: BTreeMap<String, StringLookup>,
        buckets: BTreeMap<String, Buckets>,
        stats: BTreeMap<String, NumberStats>,
        total_examples: u64,
    ) -> Result<Self> {
        let vocabulary = Self { lookups, buckets, stats, total_examples };
        vocabulary.check(schema)?;
        Ok(vocabulary)
    }

    /// All lookups by field name.
    pub fn lookups(&self) -> &BTreeMap<String, StringLookup> {
        &self.lookups
    }

    /// All buckets by field name.
    pub fn all_buckets(&self) -> &BTreeMap<String, Buckets> {
        &self.buckets
    }

    /// All statistics by field name.
    pub fn all_stats(&self) -> &BTreeMap<String, NumberStats> {
        &self.stats
    }

    /// Rows it was built from.
    pub fn total_examples(&self) -> u64 {
        self.total_examples
    }

    /// The lookup of a field.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn lookup(&self, field: &str) -> Result<&StringLookup> {
        self.lookups.get(field).ok_or_else(|| missing(field, field))
    }

    /// The buckets of a field.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn buckets(&self, field: &str) -> Result<&Buckets> {
        self.buckets.get(field).ok_or_else(|| missing(&format!("{field}_buckets"), field))
    }

    /// The statistics of a field.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn stats(&self, field: &str) -> Result<&NumberStats> {
        self.stats.get(field).ok_or_else(|| missing(&format!("metadata.{field}_stats"), field))
    }

    /// This vocabulary with more values of a field; ids of values behind a new one move. Values that are there already
    /// change nothing. O(values).
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`] for a field without a lookup, [`Error::TooLarge`] for more than 2^32 values.
    pub fn with_values(&self, field: &str, values: &[&str]) -> Result<Self> {
        let mut all: Vec<&str> = self.lookup(field)?.values().chain(values.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        let mut grown = self.clone();
        grown.lookups.insert(field.into(), StringLookup::from_sorted(field, all)?);
        Ok(grown)
    }

    /// Rows of the embedding table of `encoding`; 0 for one without a table.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn table_rows(&self, encoding: &Encoding) -> Result<usize> {
        Ok(match encoding {
            Encoding::Embedding { field, .. }
            | Encoding::History { field, .. }
            | Encoding::Bias { field, .. } => self.lookup(field)?.len() + 1,
            Encoding::Buckets { field, .. } => self.buckets(field)?.boundaries().len() + 1,
            Encoding::Cross { bins, .. } => bins + 1,
            Encoding::NGrams { bins, .. } => *bins,
            Encoding::Normalised { .. } | Encoding::Cyclical { .. } => 0,
        })
    }

    /// Checks that everything the schema needs is there.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`] naming the key.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        for field in schema.fields.iter().filter(|f| f.has_vocabulary()) {
            self.lookup(&field.name)?;
        }
        for encoding in [Tower::Query, Tower::Candidate].iter().flat_map(|t| schema.encodings(*t)) {
            self.table_rows(encoding)?;
            if let Encoding::Normalised { field, .. } = encoding {
                self.stats(field)?;
            }
            if let Encoding::Cross { parts, .. } = encoding {
                for part in parts {
                    if let crate::schema::CrossPart::Bucket { field } = part {
                        self.buckets(field)?;
                    }
                }
            }
        }
        for (at, encoding, owner) in schema.sharing() {
            let (Some(field), Some(other)) = (encoding.vocabulary_field(), owner.vocabulary_field()) else {
                continue;
            };
            if field != other && self.lookup(field)? != self.lookup(other)? {
                let reason =
                    format!("fields `{field}` and `{other}` have other vocabularies: rows would mix them up");
                return Err(Error::config(at, reason));
            }
        }
        Ok(())
    }
}

fn missing(key: &str, field: &str) -> Error {
    Error::MissingVocabulary { file: VOCABULARY_FILE.into(), key: key.into(), field: field.into() }
}
