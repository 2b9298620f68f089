//! Rows -> vocabulary, in one pass.

use super::{Buckets, NumberStats, StringLookup, Vocabulary, linspace};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::observe::{CancelToken, Event, Observer};
use crate::schema::{DType, Role, Schema, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// How many buckets, and how much memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct VocabularyConfig {
    /// Boundaries for revenue and other floats.
    pub revenue_buckets: usize,
    /// Boundaries for timestamps and other integers.
    pub timestamp_buckets: usize,
    /// Bytes of distinct text at most, over all fields; a stop, not a target.
    pub max_text_bytes: u64,
}

impl Default for VocabularyConfig {
    fn default() -> Self {
        Self { revenue_buckets: 1000, timestamp_buckets: 90, max_text_bytes: 8 << 30 }
    }
}

impl VocabularyConfig {
    fn validate(&self) -> Result<()> {
        for (name, n) in
            [("revenue_buckets", self.revenue_buckets), ("timestamp_buckets", self.timestamp_buckets)]
        {
            if !(1..=1_000_000).contains(&n) {
                return Err(Error::config(
                    format!("vocab.{name}"),
                    format!("is {n}, allowed are 1 to 1,000,000"),
                ));
            }
        }
        Ok(())
    }
}

/// Collects distinct texts and statistics of numbers.
///
/// Memory: each distinct text once plus about 50 bytes; rows are not kept. Two builders of different shards merge; the
/// result depends on the rows and the order of merging only.
#[derive(Debug, Clone)]
pub struct VocabularyBuilder {
    config: VocabularyConfig,
    fields: Vec<Column>,
    rows: u64,
    text_bytes: u64,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    dtype: DType,
    role: Role,
    texts: Option<HashSet<Box<str>>>,
    stats: Option<NumberStats>,
}

impl VocabularyBuilder {
    /// An empty builder.
    ///
    /// # Errors
    /// [`Error::Config`] for bucket counts out of range.
    pub fn new(schema: &Schema, config: &VocabularyConfig) -> Result<Self> {
        config.validate()?;
        let column = |f: &crate::schema::Field| Column {
            name: f.name.clone(),
            dtype: f.dtype,
            role: f.role,
            texts: f.has_vocabulary().then(HashSet::new),
            stats: (!f.has_vocabulary()).then(NumberStats::default),
        };
        Ok(Self {
            config: config.clone(),
            fields: schema.fields.iter().map(column).collect(),
            rows: 0,
            text_bytes: 0,
        })
    }

    /// Takes one row, values in schema order.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for a number that is not finite, [`Error::TooLarge`] above the text limit.
    pub fn push(&mut self, row: &[Value<'_>]) -> Result<()> {
        for (column, value) in self.fields.iter_mut().zip(row) {
            if let Some(stats) = &mut column.stats {
                stats.push(number(value, &column.name, self.rows)?);
            }
            if let Some(texts) = &mut column.texts {
                let mut decimal = itoa::Buffer::new();
                let text = match value {
                    Value::Text(text) => text,
                    Value::Int64(n) => decimal.format(*n),
                    Value::Float(_) => continue,
                };
                if !texts.contains(text) {
                    texts.insert(text.into());
                    self.text_bytes += text.len() as u64;
                }
            }
        }
        self.rows += 1;
        self.check_size()
    }

    fn check_size(&self) -> Result<()> {
        if self.text_bytes <= self.config.max_text_bytes {
            return Ok(());
        }
        Err(Error::TooLarge {
            file: super::VOCABULARY_FILE.into(),
            what: "distinct text (bytes)",
            size: self.text_bytes,
            limit: self.config.max_text_bytes,
            remedy: "raise vocab.max_text_bytes, or hash the widest field instead of giving it a vocabulary",
        })
    }

    /// Takes the rows of another builder of the same schema.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above the text limit.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        for (column, theirs) in self.fields.iter_mut().zip(other.fields) {
            if let (Some(stats), Some(more)) = (&mut column.stats, &theirs.stats) {
                stats.merge(more);
            }
            if let (Some(texts), Some(more)) = (&mut column.texts, theirs.texts) {
                for text in more {
                    let bytes = text.len() as u64;
                    if texts.insert(text) {
                        self.text_bytes += bytes;
                    }
                }
            }
        }
        self.rows += other.rows;
        self.check_size()
    }

    /// Sorts, numbers and computes the boundaries.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] when there was no row.
    pub fn finish(self) -> Result<Vocabulary> {
        if self.rows == 0 {
            return Err(Error::InvalidValue {
                file: super::VOCABULARY_FILE.into(),
                record: None,
                column: "*".into(),
                reason: "the dataset has no rows, so there is nothing to build a vocabulary from".into(),
            });
        }
        let (mut lookups, mut buckets, mut stats) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for column in self.fields {
            if let Some(texts) = column.texts {
                let mut values: Vec<Box<str>> = texts.into_iter().collect();
                values.sort_unstable();
                lookups.insert(column.name.clone(), StringLookup::from_sorted(&column.name, values)?);
            }
            if let Some(found) = column.stats {
                let n = match (column.role, column.dtype) {
                    (Role::Timestamp, _) | (_, DType::Int64) => self.config.timestamp_buckets,
                    _ => self.config.revenue_buckets,
                };
                let key = format!("{}_buckets", column.name);
                buckets.insert(column.name.clone(), Buckets::new(&key, linspace(found.min, found.max, n))?);
                stats.insert(column.name, found);
            }
        }
        Ok(Vocabulary { lookups, buckets, stats, total_examples: self.rows })
    }
}

fn number(value: &Value<'_>, column: &str, row: u64) -> Result<f64> {
    match value {
        Value::Int64(n) => Ok(*n as f64),
        Value::Float(x) if x.is_finite() => Ok(f64::from(*x)),
        other => Err(Error::InvalidValue {
            file: super::VOCABULARY_FILE.into(),
            record: Some(row),
            column: column.into(),
            reason: format!("{other:?} is no finite number; mend or drop the row"),
        }),
    }
}

impl Vocabulary {
    /// Builds the vocabulary of a dataset, `parallelism` shards at a time. Memory: that of [`VocabularyBuilder`] for the
    /// whole, and for each of the shards in flight.
    ///
    /// # Errors
    /// Those of reading the dataset and of [`VocabularyBuilder`].
    pub async fn build(
        dataset: &Dataset,
        schema: &Schema,
        config: &VocabularyConfig,
        parallelism: usize,
        observer: Arc<dyn Observer>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        const STAGE: &str = "vocabulary";
        let empty = VocabularyBuilder::new(schema, config)?;
        let (started, total) = (Instant::now(), dataset.metadata().total_examples);
        observer.on_event(&Event::Started { stage: STAGE, total: Some(total), unit: "rows" });
        let (start, mut merged) = (empty.clone(), empty);
        let merge = |part| {
            merged.merge(part)?;
            observer.on_event(&Event::Progress { stage: STAGE, done: merged.rows });
            Ok(())
        };
        let push = |builder: &mut VocabularyBuilder, row: &[Value<'_>]| builder.push(row);
        dataset.merge_rows(schema, parallelism, cancel, |_| start.clone(), push, merge).await?;
        let vocabulary = merged.finish()?;
        observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
        Ok(vocabulary)
    }
}
