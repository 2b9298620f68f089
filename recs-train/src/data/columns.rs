//! Encoded rows of a dataset.

use super::catalogue::Catalogue;
use super::column::{Column, EncodedRows};
use super::encoded_with::EncodedWith;
use crate::error::{Error, Result};
use recs_core::model::{ModelConfig, TowerColumns};
use recs_core::vocab::Vocabulary;

/// Product of a row whose product is not in the vocabulary: not trained on, a miss in the test.
pub const NO_PRODUCT: u32 = u32::MAX;

/// All rows of a dataset as integers and numbers.
///
/// Memory: 4 bytes for each table and number of the query tower, and 24 bytes, a row; nothing of that when the rows are in a
/// cache. A training adds 8 bytes a row, row numbers of the split's parts and of what is trained on, and each
/// [`Purchases`](super::Purchases) 4 more.
#[derive(Debug, Clone)]
pub struct TrainData {
    /// The query tower's columns, `[rows, …]`.
    pub query: EncodedRows,
    /// Distinct rows of the candidate tower.
    pub candidates: TowerColumns,
    /// Row of `candidates` that belongs to each row. `[rows]`
    pub candidate: Column<u32>,
    /// Position in the catalogue of each row's product, or [`NO_PRODUCT`]. `[rows]`
    pub product: Column<u32>,
    /// Vocabulary id of each row's customer. `[rows]`
    pub customer: Column<u32>,
    /// Vocabulary id of each row's city, 0 without such a field. `[rows]`
    pub city: Column<u32>,
    /// Unix seconds, 0 without such a field. `[rows]`
    pub timestamp: Column<i64>,
    /// The products, ascending by vocabulary id.
    pub catalogue: Catalogue,
    /// What the columns follow from.
    pub encoded_with: EncodedWith,
}

impl TrainData {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.product.len()
    }

    /// The candidate tower's columns of the catalogue, in catalogue order.
    pub fn catalogue_columns(&self) -> TowerColumns {
        let (from, rows) = (&self.candidates, self.catalogue.candidate.iter().map(|&c| c as usize));
        let columns = select(&from.ids, &from.numbers, from.rows, rows);
        TowerColumns { bags: from.bags.clone(), ..columns }
    }

    /// Refuses a model that reads other columns than these, and columns whose lengths do not fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the encodings that differ, [`Error::Data`] naming the column.
    pub fn check(&self, model: &ModelConfig) -> Result<()> {
        let differences = self.encoded_with.other_columns(&model.schema);
        if !differences.is_empty() {
            let reason = format!(
                "{}: the data were encoded for another schema; load them with the model's (TrainConfig::model, SearchConfig::schemas)",
                differences.join("; ")
            );
            return Err(Error::config("model", reason));
        }
        self.check_lengths().map_err(|reason| Error::Data { what: "columns", reason })
    }

    /// Refuses another vocabulary than that of these columns. O(bytes of the vocabulary).
    ///
    /// # Errors
    /// [`Error::Config`] naming the fields that differ.
    pub fn check_vocabulary(&self, vocabulary: &Vocabulary) -> Result<()> {
        let others = self.encoded_with.other_vocabularies(vocabulary);
        if others.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "has other values, boundaries or statistics of {} than the data were encoded with; load them with the model's",
            others.join(", ")
        );
        Err(Error::config("vocabulary", reason))
    }

    /// Whether these are the same rows in the same order, whatever their columns. O(rows).
    pub(crate) fn has_rows_of(&self, other: &Self) -> bool {
        let same_ids = self.product == other.product && self.customer == other.customer;
        same_ids && self.timestamp == other.timestamp && self.catalogue.ids == other.catalogue.ids
    }

    /// The query tower's columns of some rows.
    pub fn query_columns(&self, rows: &[u32]) -> TowerColumns {
        let from = &self.query;
        let columns = select(&from.ids, &from.numbers, from.rows, rows.iter().map(|&r| r as usize));
        TowerColumns { bags: from.bags.clone(), ..columns }
    }
}

fn select(ids: &[u32], numbers: &[f32], of: usize, rows: impl Iterator<Item = usize>) -> TowerColumns {
    let (tables, width) = (ids.len() / of.max(1), numbers.len() / of.max(1));
    let mut out = TowerColumns::default();
    for row in rows {
        out.rows += 1;
        out.ids.extend_from_slice(&ids[row * tables..(row + 1) * tables]);
        out.numbers.extend_from_slice(&numbers[row * width..(row + 1) * width]);
    }
    out
}
