//! Where rows come from: files and databases behind one trait.
//!
//! ```text
//!  csv ─┐
//!  parquet ─┤ Source ── BatchStream of Arrow batches ──> engine (SQL) or dataset (shards)
//!  sqlite ─┤
//!  postgres ─┤
//!  memory ─┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`Source`], the contract |
//! | `request.rs` | [`ReadRequest`]: table, columns, predicates, limit, batch size |
//! | `predicate.rs`, `filter.rs` | [`Predicate`] and how it is evaluated on a batch |
//! | `column.rs`, `builder.rs` | [`ColumnType`]: declared types of CSV and SQLite columns, and the builders that fill them |
//! | `pump.rs` | blocking reader thread -> bounded channel -> stream |
//! | `cancellable.rs` | stops a read when its job is cancelled |
//! | `memory.rs` | [`MemorySource`]: the simplest correct source, the oracle of the others |
//! | `conformance.rs` | the behaviour suite, public with feature `testing` |
//! | `database/` | what the connectors of database servers share: TCP with a reason for each failure, TLS |
//! | `csv/`, `parquet/`, `postgres/`, `sqlite/` | one connector each: `{mod,config,reader,types}` |

#[cfg(any(feature = "csv", feature = "postgres", feature = "sqlite"))]
mod builder;
mod cancellable;
mod column;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(feature = "csv")]
mod csv;
#[cfg(feature = "postgres")]
mod database;
mod filter;
mod memory;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "postgres")]
mod postgres;
mod predicate;
mod pump;
mod request;
#[cfg(feature = "sqlite")]
mod sqlite;

pub(crate) use cancellable::Cancellable;
pub use column::ColumnType;
#[cfg(feature = "csv")]
pub use csv::{CsvConfig, CsvSource, CsvTable};
#[cfg(feature = "postgres")]
pub use database::{TlsConfig, TlsMode};
pub use memory::MemorySource;
#[cfg(feature = "parquet")]
pub use parquet::{ParquetConfig, ParquetSource};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresConfig, PostgresSource, SpecialValues};
pub use predicate::{CompareOp, Predicate, Scalar};
pub use request::{DEFAULT_BATCH_ROWS, ReadRequest};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteConfig, SqliteSource};

use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::fmt::Debug;

/// Arrow batches as they are read; the stream ends after its first error.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// A table of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Name to use in a [`ReadRequest`].
    pub name: String,
    /// Rows, where the source knows without reading them all.
    pub rows: Option<u64>,
}

/// How well a source applies a predicate while reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushdown {
    /// Exactly the rows that satisfy it come back.
    Exact,
    /// Some rows that fail it may come back (e.g. whole row groups): the caller filters again.
    Inexact,
    /// The source cannot use it; a request that carries it is refused.
    Unsupported,
}

/// A place that tables are read from.
///
/// Connectors implement it; the SQL engine and the dataset writer call it. A source is a description, cheap to clone
/// behind an `Arc` and shared by threads: opening happens in the calls below, so that a source can be built before its
/// database is up.
///
/// # Contract
/// - **Names**: `name` is for people and errors (kind and path or host), never a password, token or query string.
/// - **Schema**: `schema` says what `read` will deliver, for as long as the table is not changed. Every batch has
///   exactly the fields of `schema`, cut to and ordered by the projection. A projection may be empty: batches then
///   carry row counts only. A column named twice in it is an error.
/// - **Order**: two reads of an unchanged table give the same rows in the same order. Batch boundaries may differ.
/// - **Bounds**: no batch has more than `batch_rows` rows, none is empty, and a reader holds a fixed number of
///   batches at a time, whatever the table's size. Blocking work stays off the async threads.
/// - **Filters**: all predicates hold at once. Comparison follows SQL: a null satisfies nothing but `IS NULL`. Floats
///   are in total order, NaN above infinity. A source never leaves out a row that satisfies every predicate; whether
///   it may deliver others is what `pushdown` says. `limit` counts delivered rows, so it may come only with predicates
///   that are [`Pushdown::Exact`].
/// - **Errors**: an unreadable value is an error that names source, table, row and column, never a silent null; after
///   an error the stream ends. A reader that dies yields an error, not an early end.
/// - **Stopping**: dropping the stream stops the reader within one batch.
///
/// A wrapper forwards every method. The suite in `source::conformance` (feature `testing`) checks each rule.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// Kind and address, for people: `csv /data/log.csv`.
    fn name(&self) -> &str;

    /// Connection test: opens everything that is configured and reads nothing beyond headers.
    ///
    /// # Errors
    /// The reason why a read would fail at once.
    async fn check(&self) -> Result<()>;

    /// The tables, in a stable order.
    ///
    /// # Errors
    /// When the source cannot be opened.
    async fn tables(&self) -> Result<Vec<TableInfo>>;

    /// Columns and types of a table.
    ///
    /// # Errors
    /// [`UnknownTable`](crate::Error::UnknownTable), or when the table cannot be opened.
    async fn schema(&self, table: &str) -> Result<SchemaRef>;

    /// Rows of the table, where known without reading it; may be an estimate.
    ///
    /// # Errors
    /// As [`Source::schema`].
    async fn row_estimate(&self, table: &str) -> Result<Option<u64>>;

    /// How well `read` would apply `predicate`. Never touches the source's data.
    ///
    /// `schema` is what [`Source::schema`] returned for the table.
    fn pushdown(&self, table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown;

    /// Streams rows.
    ///
    /// # Errors
    /// At once: unknown table or column, a predicate whose value is not of the column's type, a contradictory request.
    /// In the stream: everything that is found while reading.
    async fn read(&self, request: ReadRequest) -> Result<BatchStream>;

    /// The first `rows` rows, for a person to look at.
    ///
    /// # Errors
    /// As [`Source::read`].
    async fn preview(&self, table: &str, rows: usize) -> Result<RecordBatch> {
        let schema = self.schema(table).await?;
        let request = ReadRequest::table(table).with_limit(rows as u64);
        let mut stream = self.read(request).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        concat_batches(&schema, &batches).map_err(|e| crate::Error::Read {
            place: Box::new(crate::Place::table(self.name(), table)),
            cause: crate::Cause::new(e),
        })
    }
}
