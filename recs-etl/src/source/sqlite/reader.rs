//! Rows of a table as Arrow batches.

use super::catalog::{Catalog, Table, quoted};
use super::config::SqliteConfig;
use super::types::{append, described};
use crate::error::{Cause, Error, Place, Result};
use crate::source::builder::ColumnBuilder;
use crate::source::predicate::{Predicate, Scalar};
use crate::source::pump::{Flow, Outlet};
use crate::source::request::ReadRequest;
use crate::source::{ColumnType, CompareOp};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};
use std::sync::Arc;

/// A batch ends early at so much text, whatever its rows.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// Most literals of an `IN` list that are handed to SQLite.
const MAX_IN: usize = 500;

/// Everything a reading thread needs.
pub(super) struct Job {
    pub(super) config: Arc<SqliteConfig>,
    pub(super) table: Table,
    pub(super) columns: Vec<usize>,
    pub(super) request: ReadRequest,
}

impl Job {
    pub(super) fn run(&self, outlet: &mut Outlet) -> Result<()> {
        let catalog = Catalog::open(&self.config)?;
        let (sql, values) = self.statement();
        let mut statement = catalog.connection.prepare(&sql).map_err(|e| self.failed(None, e))?;
        let mut rows =
            statement.query(rusqlite::params_from_iter(values)).map_err(|e| self.failed(None, e))?;
        let mut batch = Building::new(self)?;
        let mut read = 0u64;
        loop {
            let more = match rows.next().map_err(|e| self.failed(Some(read + 1), e))? {
                Some(row) => {
                    read += 1;
                    batch.push(self, row, read)?;
                    true
                }
                None => false,
            };
            let full = batch.rows == self.request.batch_rows || batch.bytes >= MAX_BATCH_BYTES;
            let put = full || !more && batch.rows > 0;
            if put && outlet.put(batch.finish(self)?)? == Flow::Enough || !more {
                return Ok(());
            }
        }
    }

    /// `SELECT rowid, columns FROM table WHERE … ORDER BY rowid`.
    fn statement(&self) -> (String, Vec<Value>) {
        let rowid = self.table.rowid.unwrap_or("NULL");
        let columns = self.columns.iter().map(|&at| quoted(&self.table.columns[at].name));
        let list: Vec<String> = std::iter::once(rowid.to_owned()).chain(columns).collect();
        let mut sql = format!("SELECT {} FROM {}", list.join(", "), quoted(&self.table.name));
        let mut values = Vec::new();
        let conditions: Vec<String> =
            self.request.predicates.iter().filter_map(|p| self.condition(p, &mut values)).collect();
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        match (self.table.rowid, self.table.key.as_slice()) {
            (Some(rowid), _) => sql.push_str(&format!(" ORDER BY {rowid}")),
            (None, []) => {}
            (None, key) => {
                let key: Vec<String> = key.iter().map(|k| quoted(k)).collect();
                sql.push_str(&format!(" ORDER BY {}", key.join(", ")));
            }
        }
        (sql, values)
    }

    /// The part of a predicate that SQLite judges as we do: integers, equality of text, null. Rows are filtered again
    /// after decoding, so leaving a condition out is always right.
    fn condition(&self, predicate: &Predicate, values: &mut Vec<Value>) -> Option<String> {
        let column = self.table.columns.iter().find(|c| c.name == predicate.column())?;
        let name = quoted(&column.name);
        let declaration = column.declaration.to_ascii_uppercase();
        let integer = column.column_type == ColumnType::Int64 && declaration.contains("INT");
        let text =
            column.column_type == ColumnType::Text && (declaration.contains("CHAR") || declaration == "TEXT");
        let collate = if text { " COLLATE BINARY" } else { "" };
        let mut bind = |value: &Scalar, equality: bool| {
            let value = match value {
                Scalar::Int(v) if integer => Value::Integer(*v),
                Scalar::Text(v) if text && equality => Value::Text(v.clone()),
                _ => return None,
            };
            values.push(value);
            Some(format!("?{}", values.len()))
        };
        match predicate {
            Predicate::IsNull { .. } => Some(format!("{name} IS NULL")),
            Predicate::IsNotNull { .. } => Some(format!("{name} IS NOT NULL")),
            Predicate::Compare { op, value, .. } => {
                let bound = bind(value, *op == CompareOp::Eq)?;
                Some(format!("{name}{collate} {} {bound}", op.sql()))
            }
            Predicate::In { values: list, .. } if (1..=MAX_IN).contains(&list.len()) => {
                let bound: Option<Vec<String>> = list.iter().map(|v| bind(v, true)).collect();
                Some(format!("{name}{collate} IN ({})", bound?.join(", ")))
            }
            Predicate::In { .. } => None,
        }
    }

    fn place(&self, row: Option<u64>) -> Place {
        let place = Place::table(self.config.origin(), &self.table.name);
        match row {
            Some(row) => place.at_row(row),
            None => place,
        }
    }

    fn failed(&self, row: Option<u64>, error: rusqlite::Error) -> Error {
        Error::Read { place: Box::new(self.place(row)), cause: Cause::new(error) }
    }
}

/// The batch that is being filled.
struct Building {
    schema: SchemaRef,
    builders: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

impl Building {
    fn new(job: &Job) -> Result<Self> {
        let schema = job.table.schema();
        let schema: Schema = schema
            .project(&job.columns)
            .map_err(|e| Error::Read { place: Box::new(job.place(None)), cause: Cause::new(e) })?;
        let builders =
            job.columns.iter().map(|&at| ColumnBuilder::new(job.table.columns[at].column_type)).collect();
        Ok(Self { schema: Arc::new(schema), builders, rows: 0, bytes: 0 })
    }

    fn push(&mut self, job: &Job, row: &Row<'_>, ordinal: u64) -> Result<()> {
        for (place, (builder, &at)) in self.builders.iter_mut().zip(&job.columns).enumerate() {
            let value = row.get_ref(place + 1).map_err(|e| job.failed(Some(ordinal), e))?;
            let bytes = value_bytes(value);
            if bytes > job.config.max_value_bytes || append(builder, value).is_none() {
                let rowid = row.get::<_, Option<i64>>(0).ok().flatten().and_then(|id| u64::try_from(id).ok());
                let column = &job.table.columns[at];
                return Err(Error::Value {
                    place: Box::new(job.place(Some(rowid.unwrap_or(ordinal))).in_column(&column.name)),
                    expected: format!("{} (declared `{}`)", column.column_type, column.declaration),
                    got: described(value),
                    remedy: "mend the value, set sqlite.types for this column, or raise max_value_bytes"
                        .into(),
                });
            }
            self.bytes += bytes;
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, job: &Job) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::Read { place: Box::new(job.place(None)), cause: Cause::new(e) })
    }
}

fn value_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 8,
    }
}
