//! A dataset: gzip TFRecord shards and the `metadata.json` that refers to them.
//!
//! `metadata.json` is created last; a folder without one is no dataset. Readers open the shards it lists, never a glob,
//! and verify size and SHA-256 of each as they read.

mod metadata;
mod read;

pub use metadata::{
    DATASET_FORMAT_VERSION, DatasetMetadata, FeatureInfo, METADATA_FILE, Period, ShardInfo, StageCount,
};
pub use read::Dataset;
