//! Working memory of searches, kept between them.

use super::hnsw::Walk;
use super::shortlist::Shortlist;
use recs_core::kernel::{Int8Query, TopK};
use std::sync::{Mutex, PoisonError};

/// Working memory of one search at a time. What it holds between searches means nothing.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct Scratch {
    /// Scores of a block of candidates, for one query or for a block of them.
    pub scores: Vec<f32>,
    /// Vectors of a block of queries, end to end.
    pub block: Vec<f32>,
    /// The best hits of one query.
    pub best: TopK,
    /// A query in whole numbers.
    pub(crate) rounded: Int8Query,
    /// Estimates of some candidates.
    pub(crate) estimates: Vec<i32>,
    /// Candidates that estimates leave over.
    pub(crate) shortlist: Shortlist,
    /// Working memory of walks over a graph.
    pub(crate) walk: Walk,
    /// Candidates to be scored.
    pub picked: Vec<u32>,
}

/// What looked at more candidates than these is dropped: one list of the whole catalogue would hold hundreds of megabytes for ever.
const KEPT: usize = 1 << 17;

/// Scratch that waits for its next search. It grows to one for each thread that ever searched at the same time.
#[derive(Debug, Default)]
pub struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
}

impl ScratchPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lends scratch to `search` and takes it back; that of a search that panics is dropped.
    pub fn with<T>(&self, search: impl FnOnce(&mut Scratch) -> T) -> T {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch = idle.unwrap_or_default();
        let found = search(&mut scratch);
        if scratch.picked.capacity() > KEPT {
            return found;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        found
    }
}
