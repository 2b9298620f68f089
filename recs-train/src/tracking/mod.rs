//! Observers that keep what they hear: [`JsonLines`] in a file, `mlflow` in a server. Several listen at once through
//! [`recs_core::observe::Tee`].

mod jsonl;
#[cfg(feature = "mlflow")]
pub mod mlflow;

pub use jsonl::JsonLines;
