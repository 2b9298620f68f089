//! Parquet files.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`ParquetConfig`] |
//! | `types.rs` | the Arrow types that columns are read as |
//! | `prune.rs` | row groups whose statistics rule them out |
//! | `reader.rs` | row groups -> Arrow batches |

mod config;
mod prune;
mod reader;
mod types;

pub use config::ParquetConfig;

use super::filter::{ReadPlan, supports};
use super::predicate::Predicate;
use super::pump::{blocking, pump};
use super::request::ReadRequest;
use super::{BatchStream, Pushdown, Source, TableInfo};
use crate::error::{Error, Place, Result};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;

/// Parquet files as tables.
///
/// Only the columns asked for are decoded. Row groups that integer, date and timestamp statistics rule out are not
/// read. Memory: one row group's pages of the columns read, and three batches.
#[derive(Debug, Clone)]
pub struct ParquetSource {
    name: String,
    config: Arc<ParquetConfig>,
}

impl ParquetSource {
    /// Checks the configuration; opens nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: ParquetConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { name: config.origin(), config: Arc::new(config) })
    }

    fn files(&self, table: &str) -> Result<Vec<PathBuf>> {
        self.config.tables.get(table).cloned().ok_or_else(|| Error::UnknownTable {
            origin: self.name.clone(),
            table: table.into(),
            available: self.config.tables.keys().cloned().collect(),
        })
    }

    async fn header(&self, table: &str) -> Result<reader::Header> {
        let (files, name) = (self.files(table)?, table.to_owned());
        blocking(&self.name, move || reader::header(&files, &name)).await
    }
}

#[async_trait]
impl Source for ParquetSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<()> {
        for table in self.config.tables.keys() {
            self.header(table).await?;
        }
        Ok(())
    }

    async fn tables(&self) -> Result<Vec<TableInfo>> {
        let mut tables = Vec::new();
        for name in self.config.tables.keys() {
            tables.push(TableInfo { name: name.clone(), rows: Some(self.header(name).await?.rows) });
        }
        Ok(tables)
    }

    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        Ok(self.header(table).await?.schema)
    }

    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        Ok(Some(self.header(table).await?.rows))
    }

    fn pushdown(&self, _table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        if supports(schema, predicate) { Pushdown::Exact } else { Pushdown::Unsupported }
    }

    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let files = self.files(&request.table)?;
        let schema = self.header(&request.table).await?.schema;
        let plan = ReadPlan::new(&self.name, &schema, &request)?;
        let place = Place::table(&self.name, &request.table);
        let job = reader::Job { files, schema, columns: plan.columns, request };
        Ok(pump(place, plan.finish, move |outlet| job.run(outlet)))
    }
}
