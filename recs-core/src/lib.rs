//! What the recs crates share: formats, features, towers, metrics, and where everything lies.
//!
//! recs takes a company from its database to served two-tower recommendations. This crate holds what the stages hand to
//! each other; it knows no database, no GPU and no HTTP server.
//!
//! ```
//! use recs_core::model::{FeatureEncoder, ModelConfig, TowerColumns, TowerModel, Weights};
//! use recs_core::schema::{Schema, Tower, Value};
//! use recs_core::vocab::{VocabularyBuilder, VocabularyConfig};
//! use std::sync::Arc;
//!
//! # fn main() -> recs_core::Result<()> {
//! // One purchase: customer, city, revenue, timestamp, product, name, category, subcategory.
//! let row = [
//!     Value::Text("42"), Value::Text("store_7"), Value::Float(99.5), Value::Int64(1_514_764_800),
//!     Value::Int64(1_071_939), Value::Text("YOGURT"), Value::Text("GROCERY"), Value::Text("DAIRY"),
//! ];
//! let schema = Schema::retail();
//! let mut builder = VocabularyBuilder::new(&schema, &VocabularyConfig::default())?;
//! builder.push(&row)?;
//! let vocabulary = Arc::new(builder.finish()?);
//!
//! // A model of zeros, and the customer's embedding.
//! let config = ModelConfig::reference(schema);
//! let weights = Weights::build(&config, &vocabulary, |_, shape| Ok(vec![0.0; shape.iter().product()]))?;
//! let encoder = FeatureEncoder::new(&config.schema, vocabulary)?;
//! let mut columns = TowerColumns::default();
//! encoder.query.encode(&row, &mut columns)?;
//! let embedding = TowerModel::new(&config, Tower::Query, weights.query)?.embed(&columns)?;
//! assert_eq!(embedding.dim(), (1, 32));
//! # Ok(()) }
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | `interop` | Arrow batches in and out over the C Data Interface |
//! | `tables` | Parquet tables of an artifact: candidates, customers |
//! | `webhooks`, `smtp` | alerts as HTTP requests and by mail |
//! | `gcs`, `s3`, `azure` | stores by `gs://`, `s3://`, `az://` URL |

pub mod artifact;
pub mod dataset;
/// The error of this crate.
pub mod error;
pub mod example;
pub mod growth;
pub mod hash;
#[cfg(feature = "interop")]
pub mod interop;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod observe;
pub mod schema;
pub mod secret;
pub mod slab;
pub mod store;
pub mod tenant;
pub mod tfrecord;
pub mod vocab;

pub use error::{Error, Result};
