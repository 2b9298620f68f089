//! Where a dataset's rows come from.

use super::config::DatasetConfig;
use crate::engine::{Engine, Rows, Tables};
use crate::error::{Error, Place, Result};
use crate::extract::Extraction;
use crate::source::{ReadRequest, Source};
use arrow::datatypes::Schema as ArrowSchema;
use futures::TryStreamExt;
use recs_core::dataset::{Period, StageCount};
use recs_core::observe::CancelToken;
use recs_core::schema::Schema;
use std::sync::Arc;

/// Rows in their final order, their number, and what `metadata.json` says about where they came from.
#[derive(Debug)]
pub struct DatasetInput {
    pub(super) name: String,
    pub(super) rows: Rows,
    pub(super) total_rows: u64,
    pub(super) period: Option<Period>,
    pub(super) filters: serde_json::Map<String, serde_json::Value>,
    pub(super) counts: Vec<StageCount>,
}

impl From<Extraction> for DatasetInput {
    fn from(extraction: Extraction) -> Self {
        Self {
            name: "extraction".into(),
            total_rows: extraction.total_rows(),
            period: Some(extraction.period()),
            filters: extraction.filters(),
            counts: extraction.counts.to_metadata(),
            rows: extraction.rows,
        }
    }
}

impl DatasetInput {
    /// Rows that a host has made itself: `name` is what errors call them, `total_rows` must be their exact number.
    pub fn new(name: impl Into<String>, rows: Rows, total_rows: u64) -> Self {
        let (period, filters, counts) = (None, serde_json::Map::new(), Vec::new());
        Self { name: name.into(), rows, total_rows, period, filters, counts }
    }

    /// Says where the rows came from, for a table that an earlier extraction left behind.
    #[must_use]
    pub fn with_origin(
        mut self,
        period: Option<Period>,
        filters: serde_json::Map<String, serde_json::Value>,
        counts: Vec<StageCount>,
    ) -> Self {
        (self.period, self.filters, self.counts) = (period, filters, counts);
        self
    }

    /// An extracted table or Parquet file: the columns of `schema`, in the table's own order or in that of
    /// [`DatasetConfig::sort_key`], for which an engine is needed. The table is read twice: counted, then written.
    ///
    /// # Errors
    /// [`Error::Config`] for a sort key without engine, [`Error::MissingColumn`], [`Error::Request`] for an empty
    /// table, those of the source and of the engine.
    pub async fn from_table(
        source: Arc<dyn Source>,
        table: &str,
        schema: &Schema,
        config: &DatasetConfig,
        engine: Option<&dyn Engine>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let source: Arc<dyn Source> = Arc::new(crate::source::Cancellable::new(source, cancel.clone()));
        let place = Place::table(source.name(), table);
        let (columns, projected) = columns(&source, table, schema, &place).await?;
        let total_rows = count(&source, table).await?;
        if total_rows == 0 {
            let problem = "the table has no rows; a dataset needs at least one".into();
            return Err(Error::Request { place: Box::new(place), problem });
        }
        let rows = match (config.sort_key.as_slice(), engine) {
            ([], _) => {
                let batches = source.read(ReadRequest::table(table).with_columns(columns)).await?;
                Rows { schema: Arc::new(projected), batches }
            }
            (_, None) => return Err(Error::config("dataset.sort_key", "sorting a table needs an engine")),
            (key, Some(engine)) => {
                let tables = Tables::new().with("rows", Arc::clone(&source), table);
                engine.execute(&sorted(&columns, key), &tables).await?
            }
        };
        Ok(Self::new(place.to_string(), rows, total_rows))
    }
}

/// The distinct columns that the schema's fields come from, and the Arrow schema of a read of them.
async fn columns(
    source: &Arc<dyn Source>,
    table: &str,
    schema: &Schema,
    place: &Place,
) -> Result<(Vec<String>, ArrowSchema)> {
    let stored = source.schema(table).await?;
    let mut columns: Vec<String> = Vec::new();
    let mut positions = Vec::new();
    for field in &schema.fields {
        let at = stored.index_of(&field.column).map_err(|_| Error::MissingColumn {
            place: Box::new(place.clone().in_column(&field.column)),
            available: stored.fields().iter().map(|f| f.name().clone()).collect(),
        })?;
        if !columns.contains(&field.column) {
            columns.push(field.column.clone());
            positions.push(at);
        }
    }
    let projected = stored
        .project(&positions)
        .map_err(|e| Error::Read { place: Box::new(place.clone()), cause: crate::Cause::new(e) })?;
    Ok((columns, projected))
}

/// The exact number of rows, by a pass that decodes no column.
async fn count(source: &Arc<dyn Source>, table: &str) -> Result<u64> {
    let batches = source.read(ReadRequest::table(table).with_columns(Vec::<String>::new())).await?;
    batches.try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows() as u64) }).await
}

fn sorted(columns: &[String], key: &[String]) -> String {
    let quote = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let list: Vec<String> = columns.iter().map(quote).collect();
    let order: Vec<String> = key.iter().chain(columns).map(|name| format!("{} ASC", quote(name))).collect();
    format!("SELECT {} FROM rows ORDER BY {}", list.join(", "), order.join(", "))
}
