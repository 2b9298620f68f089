//! How a dataset is written.

use crate::error::{Error, Result};
use recs_core::tfrecord::{DEFAULT_GZIP_LEVEL, MAX_SHARDS};
use serde::{Deserialize, Serialize};

/// Shape and cost of a dataset. The bytes depend on `shards`, `gzip_level` and `sort_key` only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DatasetConfig {
    /// Number of files.
    pub shards: usize,
    /// gzip level, 0 to 9.
    pub gzip_level: u32,
    /// Columns that order a table's rows; all its columns break ties. Empty keeps the table's own order. An extraction
    /// has an order of its own.
    pub sort_key: Vec<String>,
    /// Shards that are encoded at a time; 0 takes all cores.
    pub parallelism: usize,
    /// Rows that may wait for their encoder, in bytes. Shards larger than this are encoded one after the other: raise
    /// it or the number of shards then.
    pub max_buffered_bytes: usize,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self {
            shards: 25,
            gzip_level: DEFAULT_GZIP_LEVEL,
            sort_key: Vec::new(),
            parallelism: 0,
            max_buffered_bytes: 256 << 20,
        }
    }
}

impl DatasetConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, problem: String| Err(Error::config(format!("dataset.{field}"), problem));
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return refuse("shards", format!("is {}, allowed are 1 to {MAX_SHARDS}", self.shards));
        }
        if self.gzip_level > 9 {
            return refuse("gzip_level", format!("is {}, allowed are 0 to 9", self.gzip_level));
        }
        if self.parallelism > 1024 {
            return refuse("parallelism", "must be at most 1024; 0 takes all cores".into());
        }
        if !(1 << 20..=1 << 40).contains(&self.max_buffered_bytes) {
            return refuse("max_buffered_bytes", "must be 1 MiB to 1 TiB".into());
        }
        Ok(())
    }

    pub(super) fn workers(&self) -> usize {
        match self.parallelism {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            given => given,
        }
    }
}
