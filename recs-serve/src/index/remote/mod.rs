//! Indexes across a network.
//!
//! ```text
//! RemoteIndex::search: filter -> plan -> nearest (of all, or among named ones) -> what passes, best first
//!                         too few: asked for more, at last for all
//! Blocking<R>: a RemoteIndex as VectorIndex, for a retriever
//! ```
//!
//! | file | what |
//! |---|---|
//! | `blocking.rs` | [`Blocking`]: where a search must not be async |
//! | `qdrant.rs` | `QdrantIndex`: a collection of [Qdrant](https://qdrant.tech) (feature `qdrant`) |
//! | `pgvector.rs` | `PgvectorIndex`: a table of PostgreSQL with [pgvector](https://github.com/pgvector/pgvector) (feature `pgvector`) |

mod blocking;
#[cfg(feature = "pgvector")]
mod pgvector;
#[cfg(feature = "qdrant")]
mod qdrant;

pub use blocking::Blocking;
#[cfg(feature = "pgvector")]
pub use pgvector::{PgvectorConfig, PgvectorIndex};
#[cfg(feature = "qdrant")]
pub use qdrant::{QdrantConfig, QdrantIndex};

use super::{Filter, Hit, check_query};
use crate::error::Result;
use futures::future::BoxFuture;

/// Refuses vectors that cannot be searched, before anything is sent.
#[cfg(any(feature = "pgvector", feature = "qdrant"))]
fn check_vectors(vectors: &ndarray::ArrayView2<'_, f32>) -> Result<()> {
    let mut rows = vectors.rows().into_iter().enumerate();
    rows.try_for_each(|(i, row)| super::check_finite("candidate", i, &row.to_vec()))
}

/// A filter that lets at most so many through is sent as the list of these.
const MAX_NAMED: usize = 10_000;
/// Most candidates that are fetched to find those that pass, before the list of those that pass is sent, however long.
const MAX_FETCHED: usize = 100_000;
/// How much further each try looks.
const DEEPER: usize = 4;

/// What a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among<'a> {
    /// Every candidate.
    All,
    /// These.
    Only(&'a [u32]),
}

/// How carefully it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// By the other side's index: fast, may miss some, may come back with too few.
    Approximate,
    /// By looking at each.
    Exact,
}

/// A set of vectors in another process, for catalogues beyond one machine. Numbers are those of the catalogue.
///
/// **Who implements it**: this crate for Qdrant and pgvector, and whoever has another one. Only [`RemoteIndex::nearest`] knows
/// the other side; what rules there are stays here. **Who calls it**: hosts that are async, and a retriever by [`Blocking`].
pub trait RemoteIndex: Send + Sync + std::fmt::Debug {
    /// Number of vectors.
    fn len(&self) -> usize;

    /// True when there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width of the vectors.
    fn dim(&self) -> usize;

    /// Up to `limit` candidates of the largest dot products with `query`, with these. With [`Care::Exact`] they are the best
    /// ones, and as many as there are. In any order among equals.
    ///
    /// # Errors
    /// [`Error::Remote`](crate::Error::Remote).
    fn nearest<'a>(
        &'a self,
        query: &'a [f32],
        limit: usize,
        among: Among<'a>,
        care: Care,
    ) -> BoxFuture<'a, Result<Vec<Hit>>>;

    /// The `k` best candidates that pass `filter`, best first: k whenever k pass, as [`VectorIndex`](super::VectorIndex) says.
    ///
    /// # Errors
    /// [`Error::Dimension`](crate::Error::Dimension), [`Error::NonFinite`](crate::Error::NonFinite),
    /// [`Error::Remote`](crate::Error::Remote).
    fn search<'a>(
        &'a self,
        query: &'a [f32],
        k: usize,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>>> {
        Box::pin(async move {
            check_query(query, 0, self.dim())?;
            let mut hits = self.find(query, k.min(self.len()), filter).await?;
            hits.sort_unstable_by(|a, b| b.before(a).cmp(&a.before(b)));
            hits.truncate(k);
            Ok(hits)
        })
    }

    /// [`RemoteIndex::search`] without the order.
    #[doc(hidden)]
    fn find<'a>(&'a self, query: &'a [f32], k: usize, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Hit>>> {
        Box::pin(async move {
            if k == 0 {
                return Ok(Vec::new());
            }
            if !filter.is_within(MAX_NAMED)
                && let Some(hits) = self.sift(query, k, filter).await?
            {
                return Ok(hits);
            }
            let mut passing = Vec::new();
            filter.passing(self.len(), &mut passing);
            match passing.is_empty() {
                true => Ok(Vec::new()),
                false => self.nearest(query, k, Among::Only(&passing), Care::Exact).await,
            }
        })
    }

    /// Looks at all and keeps what passes; None when too many would have to be fetched.
    #[doc(hidden)]
    fn sift<'a>(
        &'a self,
        query: &'a [f32],
        k: usize,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Option<Vec<Hit>>>> {
        Box::pin(async move {
            // Denied ones may all be among the best; of others as many are expected as a sample says.
            let mut limit = match filter.denied() {
                Some(denied) => k.saturating_add(denied),
                None => k.saturating_mul(Filter::SAMPLE) / filter.sample(self.len()).max(1) * 2,
            };
            let mut care = Care::Approximate;
            loop {
                limit = limit.min(self.len());
                if limit > MAX_FETCHED.max(k) && limit < self.len() {
                    return Ok(None);
                }
                let mut hits = self.nearest(query, limit, Among::All, care).await?;
                let came = hits.len();
                hits.retain(|hit| filter.passes(hit.index));
                if hits.len() >= k || came >= self.len() {
                    return Ok(Some(hits));
                }
                match (came < limit, care) {
                    (false, _) => limit = limit.saturating_mul(DEEPER),
                    // The other side's index does not reach further.
                    (true, Care::Approximate) => care = Care::Exact,
                    // Somebody took candidates away: there are no more.
                    (true, Care::Exact) => return Ok(Some(hits)),
                }
            }
        })
    }
}
