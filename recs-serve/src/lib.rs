//! Ranked products from a trained two-tower model, and an HTTP router that serves them.
//!
//! A [`Retriever`](retriever::Retriever) answers requests in this process; [`http::router`] puts it on the network, in an
//! axum host of yours, for one tenant or many. Nothing here is global: threads and clock come from the host.
//!
//! ```
//! use recs_serve::http::{AppState, Auth, ServeConfig, router};
//! use recs_serve::retriever::{Host, Request, Retriever};
//! use recs_serve::workers::Workers;
//! use recs_core::artifact::ModelArtifact;
//! use recs_core::store::Store;
//! use recs_core::tenant::TenantId;
//! use std::sync::Arc;
//!
//! # use recs_core::artifact::{Candidates, Customers, ModelMetadata};
//! # use recs_core::model::{ModelConfig, Weights};
//! # use recs_core::schema::{Schema, Value};
//! # use recs_core::vocab::{VocabularyBuilder, VocabularyConfig};
//! # async fn train(store: &Store, tenant: &TenantId) -> Result<(), Box<dyn std::error::Error>> {
//! #     let config = ModelConfig::reference(Schema::retail());
//! #     let mut builder = VocabularyBuilder::new(&config.schema, &VocabularyConfig::default())?;
//! #     for product in 1..=3 {
//! #         builder.push(&[
//! #             Value::Text("42"), Value::Text("store_7"), Value::Float(99.5), Value::Int64(1_514_764_800),
//! #             Value::Int64(product), Value::Text("YOGURT"), Value::Text("GROCERY"), Value::Text("DAIRY"),
//! #         ])?;
//! #     }
//! #     let vocabulary = Arc::new(builder.finish()?);
//! #     let weights = Weights::build(&config, &vocabulary, |_, shape| Ok(vec![0.01; shape.iter().product()]))?;
//! #     let text = |t: &str| vec![t.to_owned(); 3];
//! #     let candidates = Candidates {
//! #         ids: ["1", "2", "3"].map(str::to_owned).to_vec(), names: text("YOGURT"), categories: text("GROCERY"),
//! #         available: vec![true; 3], popularity: vec![3, 2, 1], vectors: ndarray::Array2::ones((3, 32)),
//! #     };
//! #     let artifact = ModelArtifact {
//! #         metadata: ModelMetadata { model_version: "v1".into(), ..Default::default() }, config,
//! #         weights: Arc::new(weights), vocabulary, candidates: Arc::new(candidates),
//! #         customers: Arc::new(Customers { offsets: vec![0], ..Default::default() }),
//! #         probe: Arc::default(), training_stats: serde_json::json!({}),
//! #     };
//! #     artifact.publish(&store.tenant(tenant)?, "2026-01-01T00:00:00Z").await?;
//! #     Ok(())
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (store, tenant) = (Store::memory(), TenantId::new("acme")?);
//! # train(&store, &tenant).await?;
//! // Load the newest model of a tenant.
//! let root = store.tenant(&tenant)?;
//! let version = ModelArtifact::latest_version(&root).await?;
//! let artifact = ModelArtifact::load(&root, &version).await?;
//! let host = Host::new(Workers::new(2)?);
//! let retriever = Arc::new(Retriever::new(Arc::new(artifact), host.clone())?);
//!
//! // Ask it here ...
//! let request = Request { customer_id: "42".into(), city: Some("store_7".into()), k: 2, ..Request::default() };
//! let answer = retriever.recommend(&request)?;
//! assert_eq!((answer.items.len(), answer.items[0].rank), (2, 1));
//!
//! // ... or over HTTP; `swap` again whenever there is a newer version.
//! let state = AppState::new(host, ServeConfig { default_tenant: Some(tenant.clone()), ..ServeConfig::default() })?;
//! state.swap(&tenant, retriever.clone());
//! let app: axum::Router = router(state, Auth::Open);
//! # let _ = app;
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`index`] | nearest vectors: the trait [`VectorIndex`](index::VectorIndex), exact and approximate search, filters |
//! | [`bulk`] | lists for all customers, as Parquet |
//! | [`deploy`] | a server that follows the registry: load, verify, try, swap, watch, roll back; versions side by side |
//! | [`model`] | a model as it is served: all that answering needs, in one file that can be mapped |
//! | [`monitor`] | what was served and what customers did: logs, drift, alerts, versions compared |
//! | [`registry`] | which versions serve, as the store says it: production, canary, shadow, audit |
//! | [`retriever`] | requests -> products with reasons: rules, fallbacks, batches |
//! | `http` | the router, its state, problem details |
//! | [`workers`], [`clock`] | what the host lends: threads and time |
//!
//! | feature | what it adds |
//! |---|---|
//! | `http` (default) | the axum router; without it the crate has no HTTP dependency |
//! | `hnsw_rs` | `index::HnswRsIndex`, by the crate of that name |
//! | `qdrant`, `pgvector` | [`index::remote`]: vectors in other processes |
//! | `json-schema` | schemars' `JsonSchema` for settings |
//! | `testing` | `index::conformance`, the behaviour suite for indexes of your own; what fuzzers call |

mod background;
pub mod bulk;
pub mod clock;
pub mod deploy;
mod error;
#[cfg(feature = "http")]
pub mod http;
pub mod index;
mod listed;
pub mod model;
pub mod monitor;
pub mod registry;
pub mod retriever;
mod turns;
pub mod workers;

pub use error::{Error, Fault, Result};
