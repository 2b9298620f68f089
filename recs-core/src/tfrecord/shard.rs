//! Names of shards and which rows go where.

use crate::error::{Error, Result};
use std::ops::Range;

/// Most shards a dataset may have; the name has five digits.
pub const MAX_SHARDS: usize = 99_999;

/// `data-00003-of-00025.tfrecord.gz`.
pub fn shard_name(shard: usize, shards: usize) -> String {
    format!("data-{shard:05}-of-{shards:05}.tfrecord.gz")
}

/// Splits a known number of rows into contiguous runs, one a shard, the first ones longer by at most one row.
///
/// ```
/// use recs_core::tfrecord::ShardPlan;
/// let plan = ShardPlan::new(10, 4)?;
/// let runs: Vec<_> = (0..plan.shards()).map(|s| plan.rows(s)).collect();
/// assert_eq!(runs, [0..3, 3..6, 6..8, 8..10]);
/// # Ok::<(), recs_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPlan {
    rows: u64,
    shards: usize,
}

impl ShardPlan {
    /// A plan for `rows` rows; shards may be empty when there are fewer rows.
    ///
    /// # Errors
    /// [`Error::Config`] unless `shards` is 1 to [`MAX_SHARDS`].
    pub fn new(rows: u64, shards: usize) -> Result<Self> {
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(Error::config(
                "dataset.shards",
                format!("is {shards}, allowed are 1 to {MAX_SHARDS}"),
            ));
        }
        Ok(Self { rows, shards })
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Number of rows in all shards.
    pub fn total_rows(&self) -> u64 {
        self.rows
    }

    /// Rows of `shard`, by their number in the whole.
    pub fn rows(&self, shard: usize) -> Range<u64> {
        let (shard, shards) = (shard as u64, self.shards as u64);
        let (base, longer) = (self.rows / shards, self.rows % shards);
        let start = |s: u64| s * base + s.min(longer);
        start(shard)..start(shard + 1)
    }
}
