//! One model version on disk: every file listed in `manifest.json` with its SHA-256, the manifest created last.
//! ```text
//! manifest.json           format version, model version, tenant, files {name: size, sha256}
//! model.json              ModelConfig          weights.safetensors   both towers
//! vocabularies.json       ids and buckets      candidates.parquet    id, name, category, ..., vector
//! customers.parquet       id, products, counts, last day, segment
//! model_metadata.json     sizes, hyperparameters, test metrics       training_stats.json
//! probe.parquet           purchases of the test rows that a server judges it by
//! index.*                 what a server maps; made by recs-serve, where the publisher has it
//! ```
//!
//! | file | what |
//! |---|---|
//! | `digest.rs` | [`Digest`], and readers and writers that keep one |
//! | `manifest.rs` | [`Manifest`] |
//! | `metadata.rs` | [`ModelMetadata`], `model_metadata.json` |
//! | `catalogue.rs` | [`Candidates`], [`Customers`] |
//! | `probe.rs` | [`Probe`]: purchases after the training rows |
//! | `segment.rs` | [`segment_share`]: what customers are given of whom nothing is known |
//! | `tables.rs` | their Parquet form (feature `tables`) |
//! | `model.rs` | [`ModelArtifact`]: publish and load (feature `tables`) |
//! | `attachment.rs` | [`Attachment`]: files of a version that others make and read (feature `tables`) |
//! | `refresh/` | [`refresh_candidates`]: another list of products, without training (feature `tables`) |

#[cfg(feature = "tables")]
mod attachment;
mod catalogue;
mod digest;
mod manifest;
mod metadata;
#[cfg(feature = "tables")]
mod model;
mod probe;
#[cfg(feature = "tables")]
mod refresh;
mod segment;
#[cfg(feature = "tables")]
mod tables;

#[cfg(feature = "tables")]
pub use attachment::Attachment;
pub use catalogue::{CANDIDATES_FILE, CUSTOMERS_FILE, Candidates, Customers};
pub use digest::{Digest, DigestReader, DigestWriter};
pub use manifest::{ARTIFACT_FORMAT_VERSION, MANIFEST_FILE, Manifest};
pub use metadata::{Metrics, ModelMetadata, TestMetrics, VocabularySizes};
#[cfg(feature = "tables")]
pub use model::{ArtifactFiles, ModelArtifact};
pub use probe::{MAX_PROBES, PROBE_FILE, Probe};
#[cfg(feature = "tables")]
pub use refresh::{Changes, Missing, Product, ProductValue, RefreshOptions, Refreshed, refresh_candidates};
pub use segment::{segment_share, sold_by_segment};
#[cfg(feature = "tables")]
pub use tables::parquet_properties;
