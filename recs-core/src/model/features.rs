//! Rows of values -> the integers and numbers that towers read.

use super::bags::offset;
use super::ngrams::NGramRule;
use super::{BagColumn, Bags, Histories, cyclical};
use crate::error::{Error, Result};
use crate::hash::hash_bucket;
use crate::schema::{CYCLICAL_WIDTH, CrossPart, Encoding, Schema, Tower, Value};
use crate::vocab::{Buckets, StringLookup, Vocabulary};
use std::io::Write;
use std::sync::Arc;

/// The encoded rows of one tower.
///
/// # Shapes
/// `ids` `[rows, tables]` and `numbers` `[rows, numbers_width]`, both row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TowerColumns {
    /// Rows.
    pub rows: usize,
    /// One id per table encoding, in schema order: of n-grams the list in `bags`.
    pub ids: Vec<u32>,
    /// Numbers of the encodings without a table, in schema order.
    pub numbers: Vec<f32>,
    /// What each row's customer bought before; rows beyond its end have no history.
    pub histories: Histories,
    /// Lists of n-grams, for each encoding of such.
    pub bags: Vec<BagColumn>,
}

impl TowerColumns {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.ids.clear();
        self.numbers.clear();
        self.histories.clear();
        self.bags.clear();
    }

    /// Appends the rows of another part of the same tower.
    pub fn append(&mut self, mut other: Self) {
        self.histories.pad(self.rows);
        self.histories.append(&other.histories);
        let width = other.ids.len() / other.rows.max(1);
        if self.bags.is_empty() {
            self.bags = other.bags;
        } else {
            let bags = self.bags.iter_mut().zip(&other.bags);
            bags.for_each(|(bags, others)| bags.append(others, &mut other.ids, width));
        }
        self.rows += other.rows;
        self.ids.append(&mut other.ids);
        self.numbers.append(&mut other.numbers);
    }
}

/// Encodes the rows of both towers; training and serving use this same code.
#[derive(Debug, Clone)]
pub struct FeatureEncoder {
    /// The query tower's.
    pub query: TowerEncoder,
    /// The candidate tower's.
    pub candidate: TowerEncoder,
}

impl FeatureEncoder {
    /// Resolves every encoding against the vocabulary.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`], [`Error::Config`].
    pub fn new(schema: &Schema, vocabulary: Arc<Vocabulary>) -> Result<Self> {
        schema.validate()?;
        vocabulary.check(schema)?;
        let query = TowerEncoder::new(schema, Tower::Query, Arc::clone(&vocabulary))?;
        Ok(Self { query, candidate: TowerEncoder::new(schema, Tower::Candidate, vocabulary)? })
    }

    /// As [`FeatureEncoder::new`], for many rows: a text has the list of n-grams that its value of the vocabulary has in
    /// [`TowerEncoder::value_bags`], instead of one for each row; unknown text has none.
    ///
    /// # Errors
    /// As [`FeatureEncoder::new`].
    pub fn of_values(schema: &Schema, vocabulary: Arc<Vocabulary>) -> Result<Self> {
        let mut encoder = Self::new(schema, vocabulary)?;
        (encoder.query.bags_of_values, encoder.candidate.bags_of_values) = (true, true);
        Ok(encoder)
    }
}

/// Encodes the rows of one tower.
#[derive(Debug, Clone)]
pub struct TowerEncoder {
    vocabulary: Arc<Vocabulary>,
    steps: Vec<Step>,
    tables: usize,
    numbers: usize,
    /// Ids of n-grams are those of values.
    bags_of_values: bool,
}

/// An encoding with the places of its fields in a row.
#[derive(Debug, Clone)]
struct Step {
    encoding: Encoding,
    at: [usize; 2],
    mean: f32,
    std: f32,
}

/// Keras: epsilon of the normalisation layer, the smallest standard deviation.
const SMALLEST_STD: f32 = 1e-7;

impl TowerEncoder {
    fn new(schema: &Schema, tower: Tower, vocabulary: Arc<Vocabulary>) -> Result<Self> {
        let mut steps = Vec::new();
        for encoding in schema.encodings(tower) {
            let fields = encoding.fields();
            let first = schema.position(fields[0])?;
            let second = fields.get(1).map_or(Ok(first), |f| schema.position(f))?;
            let (mut mean, mut std) = (0.0, 1.0);
            if let Encoding::Normalised { field, .. } = encoding {
                let stats = vocabulary.stats(field)?;
                let variance = (stats.std() * stats.std()) as f32;
                (mean, std) = (stats.mean as f32, variance.sqrt().max(SMALLEST_STD));
            }
            steps.push(Step { encoding: encoding.clone(), at: [first, second], mean, std });
        }
        let widths = schema.widths(tower);
        Ok(Self { vocabulary, steps, tables: widths.ids, numbers: widths.numbers, bags_of_values: false })
    }

    /// Ids per row.
    pub fn tables(&self) -> usize {
        self.tables
    }

    /// Numbers per row.
    pub fn numbers_width(&self) -> usize {
        self.numbers
    }

    /// The vocabulary it was made with.
    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// The n-grams of every value of the vocabulary, by id; of id 0 none. Memory: some 4 bytes for each character and
    /// length of a distinct text.
    ///
    /// # Errors
    /// [`Error::MissingVocabulary`].
    pub fn value_bags(&self) -> Result<Vec<BagColumn>> {
        let mut columns = Vec::new();
        let with_id = self.steps.iter().filter(|step| step.encoding.has_id());
        for (column, step) in with_id.enumerate() {
            let Some((field, rule)) = n_grams(&step.encoding) else { continue };
            let mut bags = Bags::default();
            bags.push([]);
            self.vocabulary.lookup(field)?.values().for_each(|text| bags.push(rule.rows(text)));
            columns.push(BagColumn { column, bags: Arc::new(bags) });
        }
        Ok(columns)
    }

    /// Appends one row; `row` holds the values of all fields in schema order (those of the other tower are not read).
    /// Unknown text gets id 0.
    ///
    /// # Errors
    /// [`Error::WrongType`] for a value of another type, [`Error::InvalidValue`] for a number that is not finite;
    /// `columns` is left as it was.
    pub fn encode(&self, row: &[Value<'_>], columns: &mut TowerColumns) -> Result<()> {
        let before = (columns.ids.len(), columns.numbers.len());
        let encoded = self.steps.iter().try_for_each(|step| self.apply(step, row, columns));
        match encoded {
            Ok(()) => columns.rows += 1,
            Err(_) => {
                // Each row has one list of each.
                let lists = columns.bags.iter_mut();
                lists.for_each(|lists| Arc::make_mut(&mut lists.bags).truncate(columns.rows));
                columns.ids.truncate(before.0);
                columns.numbers.truncate(before.1);
            }
        }
        encoded
    }

    fn apply(&self, step: &Step, row: &[Value<'_>], columns: &mut TowerColumns) -> Result<()> {
        match &step.encoding {
            Encoding::Embedding { field, .. } | Encoding::Bias { field, .. } => {
                let lookup = self.vocabulary.lookup(field)?;
                columns.ids.push(lookup_id(lookup, value(row, step.at[0], field)?, field)?);
            }
            Encoding::NGrams { field, .. } if self.bags_of_values => {
                let lookup = self.vocabulary.lookup(field)?;
                columns.ids.push(lookup_id(lookup, value(row, step.at[0], field)?, field)?);
            }
            Encoding::NGrams { field, .. } => {
                let Some((_, rule)) = n_grams(&step.encoding) else { return Ok(()) };
                let rows = match value(row, step.at[0], field)? {
                    Value::Text(text) => rule.rows(text),
                    Value::Int64(n) => rule.rows(itoa::Buffer::new().format(*n)),
                    found @ Value::Float(_) => return Err(wrong_type(field, "bytes or int64", found)),
                };
                let column = columns.ids.len() - columns.rows * self.tables;
                let list = push_bag(columns, column, rows);
                columns.ids.push(list);
            }
            // A history is not a value of the row: whoever knows the customer's purchases adds it.
            Encoding::History { .. } => {}
            Encoding::Buckets { field, .. } => {
                let buckets = self.vocabulary.buckets(field)?;
                columns.ids.push(bucket(buckets, value(row, step.at[0], field)?, field)?);
            }
            Encoding::Normalised { field, .. } => {
                let x = number(value(row, step.at[0], field)?, field)?;
                columns.numbers.push((x - step.mean) / step.std);
            }
            Encoding::Cyclical { field, .. } => {
                let phases: [f32; CYCLICAL_WIDTH] = cyclical(seconds(value(row, step.at[0], field)?, field)?);
                columns.numbers.extend_from_slice(&phases);
            }
            Encoding::Cross { parts, bins, .. } => {
                let mut text = Text::default();
                self.push_part(&parts[0], row, step.at[0], &mut text)?;
                text.push(b"_x_");
                self.push_part(&parts[1], row, step.at[1], &mut text)?;
                columns.ids.push(hash_bucket(text.bytes(), *bins as u64) as u32);
            }
        }
        Ok(())
    }

    fn push_part(&self, part: &CrossPart, row: &[Value<'_>], at: usize, text: &mut Text) -> Result<()> {
        let found = value(row, at, part.field())?;
        match part {
            CrossPart::Text { field } => match found {
                Value::Text(t) => text.push(t.as_bytes()),
                Value::Int64(n) => text.push(itoa::Buffer::new().format(*n).as_bytes()),
                Value::Float(_) => return Err(wrong_type(field, "bytes or int64", found)),
            },
            CrossPart::Bucket { field } => {
                let bucket = bucket(self.vocabulary.buckets(field)?, found, field)?;
                text.push(itoa::Buffer::new().format(bucket).as_bytes());
            }
            CrossPart::Hours { field } => {
                let hours = seconds(found, field)?.div_euclid(3600);
                text.push(itoa::Buffer::new().format(hours).as_bytes());
            }
        }
        Ok(())
    }
}

/// Field and rule of an encoding by n-grams.
fn n_grams(encoding: &Encoding) -> Option<(&str, NGramRule)> {
    match encoding {
        Encoding::NGrams { field, from, to, words, bins, .. } => {
            Some((field, NGramRule { from: *from, to: *to, words: *words, bins: *bins }))
        }
        _ => None,
    }
}

/// Appends a list to those of an id column, and gives its place.
fn push_bag(columns: &mut TowerColumns, column: usize, rows: Vec<u32>) -> u32 {
    let at = columns.bags.iter().position(|bags| bags.column == column).unwrap_or_else(|| {
        columns.bags.push(BagColumn { column, ..BagColumn::default() });
        columns.bags.len() - 1
    });
    let bags = Arc::make_mut(&mut columns.bags[at].bags);
    bags.push(rows);
    offset(bags.len() - 1)
}

/// Text of a cross: on the stack up to 128 bytes.
struct Text {
    stack: [u8; 128],
    len: usize,
    heap: Vec<u8>,
}

impl Default for Text {
    fn default() -> Self {
        Self { stack: [0; 128], len: 0, heap: Vec::new() }
    }
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        if self.heap.is_empty() && (&mut self.stack[self.len..]).write_all(bytes).is_ok() {
            self.len += bytes.len();
            return;
        }
        if self.heap.is_empty() {
            self.heap.extend_from_slice(&self.stack[..self.len]);
        }
        self.heap.extend_from_slice(bytes);
    }

    fn bytes(&self) -> &[u8] {
        if self.heap.is_empty() { &self.stack[..self.len] } else { &self.heap }
    }
}

fn value<'r, 'a>(row: &'r [Value<'a>], at: usize, field: &str) -> Result<&'r Value<'a>> {
    row.get(at).ok_or_else(|| {
        Error::config("row", format!("has {} values, field `{field}` is number {at}", row.len()))
    })
}

fn lookup_id(lookup: &StringLookup, value: &Value<'_>, field: &str) -> Result<u32> {
    match value {
        Value::Text(text) => Ok(lookup.id(text)),
        Value::Int64(n) => Ok(lookup.id(itoa::Buffer::new().format(*n))),
        Value::Float(_) => Err(wrong_type(field, "bytes or int64", value)),
    }
}

fn number(value: &Value<'_>, field: &str) -> Result<f32> {
    let x = match value {
        Value::Float(x) => *x,
        Value::Int64(n) => *n as f32,
        Value::Text(_) => return Err(wrong_type(field, "a number", value)),
    };
    if x.is_finite() {
        return Ok(x);
    }
    Err(Error::InvalidValue {
        file: "row".into(),
        record: None,
        column: field.into(),
        reason: format!("{x} is not finite"),
    })
}

fn bucket(buckets: &Buckets, value: &Value<'_>, field: &str) -> Result<u32> {
    Ok(buckets.bucket(number(value, field)?))
}

fn seconds(value: &Value<'_>, field: &str) -> Result<i64> {
    match value {
        Value::Int64(n) => Ok(*n),
        other => Err(wrong_type(field, "int64 (Unix seconds)", other)),
    }
}

fn wrong_type(field: &str, expected: &str, got: &Value<'_>) -> Error {
    Error::WrongType {
        file: "row".into(),
        record: None,
        column: field.into(),
        expected: expected.into(),
        got: got.dtype().to_string(),
    }
}
