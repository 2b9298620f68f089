//! SQLite databases, opened read-only.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`SqliteConfig`] |
//! | `types.rs` | declared types -> column types, and values -> builders |
//! | `catalog.rs` | tables, columns, row order |
//! | `reader.rs` | rows -> Arrow batches |

mod catalog;
mod config;
mod reader;
mod types;

pub use config::SqliteConfig;

use super::filter::{ReadPlan, supports};
use super::predicate::Predicate;
use super::pump::{blocking, pump};
use super::request::ReadRequest;
use super::{BatchStream, Pushdown, Source, TableInfo};
use crate::error::{Place, Result};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use std::sync::Arc;

/// A SQLite database.
///
/// SQLite lets any value stand in any column; here the declared type holds, and a value that does not fit is an error
/// with its rowid. Rows come in rowid order (primary key order for tables without rowid), from one snapshot.
///
/// | declared | read as |
/// |---|---|
/// | contains `INT` | `int64` |
/// | `DECIMAL(p,s)`, `NUMERIC(p,s)` | exact decimal |
/// | `REAL`, `FLOAT`, `DOUBLE`, `NUMERIC` | `float64` |
/// | `BOOL…` | `bool` (0 and 1, or text) |
/// | `DATE` | `date` (text `2018-01-01`, or Unix seconds of a midnight) |
/// | `DATETIME…`, `TIMESTAMP…` | `timestamp` (ISO text, or Unix seconds) |
/// | `BLOB` | `binary` |
/// | anything else, or nothing | `text` (numbers written out) |
#[derive(Debug, Clone)]
pub struct SqliteSource {
    name: String,
    config: Arc<SqliteConfig>,
}

impl SqliteSource {
    /// A source of the database at the configured path; opens nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config).
    pub fn new(config: SqliteConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { name: config.origin(), config: Arc::new(config) })
    }

    async fn with<T, F>(&self, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&catalog::Catalog) -> Result<T> + Send + 'static,
    {
        let config = Arc::clone(&self.config);
        blocking(&self.name, move || call(&catalog::Catalog::open(&config)?)).await
    }
}

#[async_trait]
impl Source for SqliteSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<()> {
        self.with(|catalog| catalog.tables().map(drop)).await
    }

    async fn tables(&self) -> Result<Vec<TableInfo>> {
        self.with(catalog::Catalog::tables).await
    }

    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        let table = table.to_owned();
        self.with(move |catalog| Ok(catalog.table(&table)?.schema())).await
    }

    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        let table = table.to_owned();
        self.with(move |catalog| {
            let table = catalog.table(&table)?;
            catalog.row_estimate(&table)
        })
        .await
    }

    fn pushdown(&self, _table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        if supports(schema, predicate) { Pushdown::Exact } else { Pushdown::Unsupported }
    }

    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let name = request.table.clone();
        let table = self.with(move |catalog| catalog.table(&name)).await?;
        let plan = ReadPlan::new(&self.name, &table.schema(), &request)?;
        let place = Place::table(&self.name, &request.table);
        let job = reader::Job { config: Arc::clone(&self.config), table, columns: plan.columns, request };
        Ok(pump(place, plan.finish, move |outlet| job.run(outlet)))
    }
}
