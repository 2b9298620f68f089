//! Nearest vectors by dot product.
//!
//! ```text
//! Query {vector, k, filter} -> VectorIndex::search (borrows Scratch) -> hits, best first
//! ```
//!
//! | file | what |
//! |---|---|
//! | `auto.rs` | [`Index`]: the index that fits a catalogue |
//! | `exact.rs` | [`ExactIndex`]: every vector is scored; the reference for all others |
//! | `int8.rs`, `shortlist.rs` | [`Int8Index`]: the same answers from a quarter of the bytes |
//! | `hnsw/` | [`HnswIndex`]: a graph of near neighbours; approximate |
//! | `hnsw_rs.rs` | `HnswRsIndex`: the crate of that name (feature `hnsw_rs`) |
//! | `remote/` | [`remote::RemoteIndex`]: vectors in Qdrant or PostgreSQL, for catalogues beyond one machine |
//! | `vectors.rs` | the vectors in f32, own or shared with a catalogue |
//! | `filter.rs` | [`Filter`]: which candidates may be returned; [`BitSet`] |
//! | `scratch.rs` | [`Scratch`]: working memory of a search, and its pool |
//! | `conformance.rs` | the behaviour suite that every index passes (feature `testing`) |

mod auto;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod exact;
mod filter;
mod hnsw;
#[cfg(feature = "hnsw_rs")]
mod hnsw_rs;
mod int8;
pub mod remote;
mod scratch;
mod shortlist;
mod vectors;

pub use auto::{Index, IndexConfig};
pub use exact::ExactIndex;
pub use filter::{BitSet, Filter, Labels};
pub use hnsw::{HnswConfig, HnswIndex};
#[cfg(feature = "hnsw_rs")]
pub use hnsw_rs::HnswRsIndex;
pub use int8::Int8Index;
pub use recs_core::kernel::Hit;
pub use scratch::{Scratch, ScratchPool};

use crate::error::{Error, Result};
use rayon::prelude::*;

/// A search that reads more is answered in clearly less work together with others: on the machine of benches/README.md 1.3 times less
/// at 2.5 MB, which handing requests over eats up, 2.3 times at 13 MB.
const UNCACHED_BYTES: usize = 4 << 20;

/// One query of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// `[dim]`, finite.
    pub vector: &'a [f32],
    /// Hits wanted.
    pub k: usize,
    /// Which candidates may be returned.
    pub filter: &'a Filter,
}

/// A set of vectors, numbered from 0, that finds those with the largest dot product with a query.
///
/// **Who implements it**: this crate, and whoever has an index of their own in this process. An index across a network is
/// a [`RemoteIndex`](remote::RemoteIndex), which is searched by [`remote::Blocking`]. **Who calls it**: the retriever, from any thread, many at a time;
/// an index is immutable once built, and a search changes nothing but the scratch and the output it was lent.
///
/// What holds for every implementation (the suite in `conformance` checks each sentence):
/// - Hits come best first: higher score before lower, and at equal scores the lower number first. No candidate twice.
/// - A score is the dot product of query and candidate in f32; two ways of adding it up may differ in the last bits.
/// - Only candidates that pass the filter are returned, and **k are returned whenever k pass**, all that pass otherwise.
///   An approximate index may miss better candidates; it may not come back with too few. When the filter is selective it
///   scores what is left one by one.
/// - `k` may be anything: 0 gives nothing, more than there are gives all.
/// - A query of another width or with a number that is not finite is an error, never an empty or arbitrary answer.
/// - What a search left in the scratch has no influence on the next. `out` is overwritten, not appended to.
/// - Candidates are finite, checked when the index is built.
///
/// A wrapper forwards every method, `search_batch` too: an implementation may have a faster one than the default.
pub trait VectorIndex: Send + Sync + std::fmt::Debug {
    /// Number of vectors.
    fn len(&self) -> usize;

    /// True where a search waits for others, the network say: then it must not run on a thread that others wait for.
    fn waits(&self) -> bool {
        false
    }

    /// True where several queries at a time take clearly less work than one by one: where each reads more than the caches hold.
    fn gains_together(&self) -> bool {
        false
    }

    /// Bytes that it takes beside the vectors.
    fn extra_bytes(&self) -> u64 {
        0
    }

    /// True when there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width of the vectors.
    fn dim(&self) -> usize;

    /// Puts the `k` best candidates that pass `filter` into `out`.
    ///
    /// # Shapes
    /// `query` `[dim]`.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::NonFinite`].
    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()>;

    /// Answers many queries, each as [`VectorIndex::search`] would, split over the current rayon pool. Scores may differ in their
    /// last bits, and with them the order of candidates that score nearly the same. One bad query fails the batch.
    ///
    /// # Errors
    /// Those of [`VectorIndex::search`].
    fn search_batch(&self, queries: &[Query<'_>], pool: &ScratchPool) -> Result<Vec<Vec<Hit>>> {
        check_queries(queries, self.dim())?;
        let one = |query: &Query<'_>| {
            let mut out = Vec::new();
            pool.with(|scratch| self.search(query.vector, query.k, query.filter, scratch, &mut out))?;
            Ok(out)
        };
        queries.par_iter().map(one).collect()
    }
}

/// The checks that every search begins with; `row` is the query's place in its batch.
///
/// # Errors
/// [`Error::Dimension`], [`Error::NonFinite`].
pub fn check_query(query: &[f32], row: usize, dim: usize) -> Result<()> {
    if query.len() != dim {
        return Err(Error::Dimension { what: "query", expected: dim, got: query.len() });
    }
    check_finite("query", row, query)
}

/// [`check_query`] for all queries of a batch.
fn check_queries(queries: &[Query<'_>], dim: usize) -> Result<()> {
    queries.iter().enumerate().try_for_each(|(row, query)| check_query(query.vector, row, dim))
}

/// Refuses a vector with a number that is infinite or not a number.
fn check_finite(what: &'static str, row: usize, vector: &[f32]) -> Result<()> {
    match vector.iter().position(|x| !x.is_finite()) {
        Some(position) => Err(Error::NonFinite { what, row, position, value: vector[position] }),
        None => Ok(()),
    }
}

/// Queries of one task of a batch: tasks as even as `most` allows, so that no thread waits for a last full one.
fn task_size(queries: usize, most: usize) -> usize {
    let tasks = queries.div_ceil(most).next_multiple_of(rayon::current_num_threads());
    queries.div_ceil(tasks.max(1)).max(1)
}
