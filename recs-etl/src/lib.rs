//! From a company's tables to the rows a recommender learns from: sources, the 90-day extraction as one SQL statement,
//! and gzip TFRecord datasets.
//!
//! ```
//! use recs_core::{observe::{CancelToken, Silent}, schema::Schema, store::Store};
//! use recs_etl::dataset::{DatasetConfig, write_dataset};
//! use recs_etl::engine::{DataFusionConfig, DataFusionEngine, Tables};
//! use recs_etl::extract::{ExtractConfig, Stage, extract};
//! use recs_etl::source::{CsvConfig, CsvSource};
//! use std::sync::Arc;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! // A purchase log, as any shop system exports it.
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("log.csv");
//! std::fs::write(&path, "customer_id,product_id,city,value,timestamp\n\
//!     anna,17,Graz,9.90,2018-01-01 10:00:00\n\
//!     anna,18,Graz,5.00,2018-01-01 10:00:00\n\
//!     ben,17,Linz,0.00,2017-12-31 18:30:00\n")?;
//! let source = Arc::new(CsvSource::new(CsvConfig::file("transactions", &path))?);
//! let tables = Tables::new().with("transactions", source, "transactions");
//!
//! // Which purchases count: every number of this is configuration.
//! let mut config = ExtractConfig { min_products: 2, revenue_share: 1.0, ..ExtractConfig::default() };
//! config.products.table.clear(); // no product table here: names come out as "N/A"
//! let engine = DataFusionEngine::new(&DataFusionConfig::default())?;
//! let cancel = CancelToken::new();
//! let extraction = extract(&engine, &tables, &config, &Silent, &cancel).await?;
//! assert_eq!(extraction.counts.after(Stage::PositiveValue).map(|c| c.rows), Some(2));
//!
//! // Shards and metadata.json, all or nothing.
//! let shape = DatasetConfig { shards: 2, ..DatasetConfig::default() };
//! let metadata = write_dataset(&Store::memory(), extraction.into(), &Schema::retail(), &shape, &Silent, &cancel).await?;
//! assert_eq!(metadata.total_examples, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `csv` | yes | [`source::CsvSource`] |
//! | `parquet` | yes | [`source::ParquetSource`] |
//! | `sqlite` | yes | [`source::SqliteSource`], SQLite compiled in |
//! | `postgres` | no | [`source::PostgresSource`](crate::source): PostgreSQL and what speaks its protocol |
//! | `sql` | yes | [`engine::DataFusionEngine`]: SQL in process |
//! | `testing` | no | `source::conformance`, the behaviour suite for sources of your own |

pub mod dataset;
mod day;
pub mod engine;
mod error;
pub mod extract;
pub mod source;

pub use day::Day;
pub use error::{Cause, DatabaseFailure, Error, Place, Result};
