//! What a caller wants of a table.

use super::predicate::Predicate;
use crate::error::{Error, Place, Result};

/// Rows of a batch unless a request says otherwise: 8,192 rows of a purchase log are about 1 MiB.
pub const DEFAULT_BATCH_ROWS: usize = 8192;

/// Largest batch that may be asked for.
const MAX_BATCH_ROWS: usize = 1 << 20;

/// Which rows and columns of a table to read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRequest {
    /// The table.
    pub table: String,
    /// Columns, in the order wanted; `None` is all of them, an empty list row counts only.
    pub projection: Option<Vec<String>>,
    /// All must hold.
    pub predicates: Vec<Predicate>,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// At most so many rows a batch.
    pub batch_rows: usize,
}

impl ReadRequest {
    /// All rows and columns of `table`.
    pub fn table(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            projection: None,
            predicates: Vec::new(),
            limit: None,
            batch_rows: DEFAULT_BATCH_ROWS,
        }
    }

    /// Only these columns, in this order.
    #[must_use]
    pub fn with_columns<I: IntoIterator<Item: Into<String>>>(mut self, columns: I) -> Self {
        self.projection = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Only rows that satisfy `predicate`, and the earlier ones.
    #[must_use]
    pub fn with_predicate(mut self, predicate: Predicate) -> Self {
        self.predicates.push(predicate);
        self
    }

    /// At most `rows` rows.
    #[must_use]
    pub fn with_limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// At most `rows` rows a batch.
    #[must_use]
    pub fn with_batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = rows;
        self
    }

    /// What is wrong with the request whatever the table.
    pub(super) fn check(&self, place: &Place) -> Result<()> {
        let refuse = |problem: String| Error::Request { place: Box::new(place.clone()), problem };
        if self.batch_rows == 0 || self.batch_rows > MAX_BATCH_ROWS {
            return Err(refuse(format!(
                "batch_rows is {}, allowed are 1 to {MAX_BATCH_ROWS}",
                self.batch_rows
            )));
        }
        let names = self.projection.as_deref().unwrap_or_default();
        match (1..names.len()).find(|&i| names[..i].contains(&names[i])) {
            Some(i) => Err(refuse(format!("column `{}` is asked for twice", names[i]))),
            None => Ok(()),
        }
    }
}
