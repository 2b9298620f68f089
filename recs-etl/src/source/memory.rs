//! Tables in memory: for tests, for data a host already holds, and as the oracle of the other sources.

use super::filter::{ReadPlan, supports};
use super::predicate::Predicate;
use super::pump::{Flow, pump};
use super::request::ReadRequest;
use super::{BatchStream, Pushdown, Source, TableInfo};
use crate::error::{Cause, Error, Place, Result};
use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use async_trait::async_trait;
use std::collections::BTreeMap;

/// Named tables of Arrow batches.
///
/// ```
/// use recs_etl::source::{MemorySource, Source};
/// use arrow::array::{Int64Array, RecordBatch};
/// use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let rows = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// let source = MemorySource::new("my data").with_table("log", rows.schema(), vec![rows])?;
/// assert_eq!(source.row_estimate("log").await?, Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    name: String,
    tables: BTreeMap<String, Table>,
}

#[derive(Debug, Clone)]
struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl MemorySource {
    /// A source without tables; `name` is what errors call it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: format!("memory {}", name.into()), tables: BTreeMap::new() }
    }

    /// Adds or replaces a table.
    ///
    /// # Errors
    /// [`Error::Request`] when a batch is not of `schema`.
    pub fn with_table(
        mut self,
        table: impl Into<String>,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<Self> {
        let table = table.into();
        if let Some(batch) = batches.iter().find(|b| b.schema().fields() != schema.fields()) {
            return Err(Error::Request {
                place: Box::new(Place::table(&self.name, table)),
                problem: format!("a batch has the schema {}, the table {schema}", batch.schema()),
            });
        }
        self.tables.insert(table, Table { schema, batches });
        Ok(self)
    }

    fn table(&self, table: &str) -> Result<&Table> {
        self.tables.get(table).ok_or_else(|| Error::UnknownTable {
            origin: self.name.clone(),
            table: table.into(),
            available: self.tables.keys().cloned().collect(),
        })
    }
}

impl Table {
    fn rows(&self) -> u64 {
        self.batches.iter().map(|b| b.num_rows() as u64).sum()
    }
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn tables(&self) -> Result<Vec<TableInfo>> {
        Ok(self
            .tables
            .iter()
            .map(|(name, t)| TableInfo { name: name.clone(), rows: Some(t.rows()) })
            .collect())
    }

    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        Ok(self.table(table)?.schema.clone())
    }

    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        Ok(Some(self.table(table)?.rows()))
    }

    fn pushdown(&self, _table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        if supports(schema, predicate) { Pushdown::Exact } else { Pushdown::Unsupported }
    }

    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let table = self.table(&request.table)?;
        let plan = ReadPlan::new(&self.name, &table.schema, &request)?;
        let place = Place::table(&self.name, &request.table);
        let (batches, failed) = (table.batches.clone(), place.clone());
        Ok(pump(place, plan.finish, move |outlet| {
            let failed = |e| Error::Read { place: Box::new(failed.clone()), cause: Cause::new(e) };
            for batch in batches {
                let batch = batch.project(&plan.columns).map_err(failed)?;
                for start in (0..batch.num_rows()).step_by(request.batch_rows) {
                    let rows = request.batch_rows.min(batch.num_rows() - start);
                    if outlet.put(piece(&batch, start, rows).map_err(failed)?)? == Flow::Enough {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }))
    }
}

/// Some rows of a batch, copied unless they are all of it: a slice would keep the whole batch alive, and whoever counts
/// memory would count all of it for every piece.
fn piece(batch: &RecordBatch, start: usize, rows: usize) -> Result<RecordBatch, ArrowError> {
    if rows == batch.num_rows() || batch.num_columns() == 0 {
        return Ok(batch.slice(start, rows));
    }
    take_record_batch(batch, &UInt64Array::from_iter_values((start..start + rows).map(|row| row as u64)))
}
