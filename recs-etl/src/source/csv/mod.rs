//! Delimited text files with a header line.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`CsvConfig`], [`CsvTable`] |
//! | `types.rs` | types from a sample of rows |
//! | `reader.rs` | records -> Arrow batches |

mod config;
mod reader;
mod types;

pub use config::{CsvConfig, CsvTable};

use super::filter::{ReadPlan, supports};
use super::predicate::Predicate;
use super::pump::{blocking, pump};
use super::request::ReadRequest;
use super::{BatchStream, Pushdown, Source, TableInfo};
use crate::error::{Error, Place, Result};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use std::sync::Arc;

/// CSV files as tables.
///
/// Every file has a header line. Types are declared in [`CsvTable::types`] or inferred from the first rows; a later
/// value that does not fit is an error that names its row, never a silent null. Files must be UTF-8; a byte order mark
/// is skipped. Quoted fields may hold delimiters, quotes and line breaks. A record with more or fewer fields than the
/// header is an error.
#[derive(Debug, Clone)]
pub struct CsvSource {
    name: String,
    config: Arc<CsvConfig>,
}

impl CsvSource {
    /// Checks the configuration; opens nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: CsvConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { name: config.origin(), config: Arc::new(config) })
    }

    fn table(&self, table: &str) -> Result<CsvTable> {
        self.config.tables.get(table).cloned().ok_or_else(|| Error::UnknownTable {
            origin: self.name.clone(),
            table: table.into(),
            available: self.config.tables.keys().cloned().collect(),
        })
    }

    async fn typed(&self, table: &str) -> Result<types::TypedHeader> {
        let (config, wanted) = (Arc::clone(&self.config), self.table(table)?);
        let place = Place::table(&self.name, table);
        blocking(&self.name, move || types::header_and_types(&config, &wanted, &place)).await
    }
}

fn arrow_schema(header: &types::TypedHeader) -> SchemaRef {
    let fields: Vec<Field> = header.columns.iter().map(|(n, t)| Field::new(n, t.arrow(), true)).collect();
    Arc::new(Schema::new(fields))
}

#[async_trait]
impl Source for CsvSource {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self) -> Result<()> {
        for table in self.config.tables.keys() {
            self.typed(table).await?;
        }
        Ok(())
    }

    async fn tables(&self) -> Result<Vec<TableInfo>> {
        Ok(self.config.tables.keys().map(|name| TableInfo { name: name.clone(), rows: None }).collect())
    }

    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        Ok(arrow_schema(&self.typed(table).await?))
    }

    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        self.table(table).map(|_| None)
    }

    fn pushdown(&self, _table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        if supports(schema, predicate) { Pushdown::Exact } else { Pushdown::Unsupported }
    }

    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let table = self.table(&request.table)?;
        let header = self.typed(&request.table).await?;
        let plan = ReadPlan::new(&self.name, &arrow_schema(&header), &request)?;
        let place = Place::table(&self.name, &request.table);
        let job = reader::Job {
            config: Arc::clone(&self.config),
            table,
            name: request.table.clone(),
            header,
            columns: plan.columns,
            batch_rows: request.batch_rows,
        };
        Ok(pump(place, plan.finish, move |outlet| job.run(outlet)))
    }
}
