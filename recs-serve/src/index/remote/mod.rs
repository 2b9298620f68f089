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
pub use pgvector::{Connect, PgvectorConfig, PgvectorIndex};
#[cfg(feature = "qdrant")]
pub use qdrant::{QdrantConfig, QdrantIndex};

use super::{Filter, Hit, check_query};
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use ndarray::ArrayView2;

/// Refuses vectors that cannot be searched, before anything is sent.
#[cfg(any(feature = "pgvector", feature = "qdrant"))]
fn check_vectors(vectors: &ndarray::ArrayView2<'_, f32>) -> Result<()> {
    let mut rows = vectors.rows().into_iter().enumerate();
    rows.try_for_each(|(i, row)| super::check_finite("candidate", i, &row.to_vec()))
}

/// Candidates that are looked at to see whether they are the model's.
const PROBED: usize = 64;
/// Two ways of adding up a product may differ by so much of the vectors' lengths.
const TOLERANCE: f32 = 1e-4;

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
    /// [`Error::Remote`].
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
    /// [`Error::Dimension`], [`Error::NonFinite`],
    /// [`Error::Remote`].
    fn search<'a>(
        &'a self,
        query: &'a [f32],
        k: usize,
        filter: &'a Filter,
    ) -> BoxFuture<'a, Result<Vec<Hit>>> {
        Box::pin(async move {
            check_query(query, 0, self.dim())?;
            let mut hits = self.find(query, k.min(self.len()), filter).await?;
            if let Some(Hit { index, .. }) = hits.iter().find(|hit| hit.index as usize >= self.len()) {
                let reason = format!("holds candidate {index}, the model has {}: fill it again", self.len());
                return Err(Error::index(format!("{self:?}"), reason));
            }
            hits.sort_unstable_by(|a, b| b.before(a).cmp(&a.before(b)));
            hits.truncate(k);
            Ok(hits)
        })
    }

    /// Whether it holds these vectors, by the products of a sample of them; whoever opens one that was filled before asks this.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// [`Error::Index`] when it holds others, [`Error::Remote`].
    fn verify<'a>(&'a self, vectors: ArrayView2<'a, f32>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let others =
                |reason: String| Error::index(format!("{self:?}"), format!("{reason}: fill it again"));
            if vectors.dim() != (self.len(), self.dim()) {
                let ((len, dim), of) = (vectors.dim(), self.dim());
                let held = self.len();
                return Err(others(format!("holds {held} vectors of {of}, the model has {len} of {dim}")));
            }
            let step = (self.len() / PROBED).max(1);
            let last = self.len().saturating_sub(1);
            let probed: Vec<u32> = (0..self.len())
                .step_by(step)
                .chain([last])
                .filter(|&i| i < self.len())
                .map(|i| i as u32)
                .collect();
            // One in the middle: a vector of zeros would tell nothing.
            let query = vectors.rows().into_iter().max_by(|a, b| a.dot(a).total_cmp(&b.dot(b)));
            let Some(query) = query.map(|row| row.to_vec()) else { return Ok(()) };
            let hits = self.nearest(&query, probed.len(), Among::Only(&probed), Care::Exact).await?;
            let query = ndarray::ArrayView1::from(&query);
            for &candidate in &probed {
                let row = vectors.row(candidate as usize);
                let (expected, length) = (row.dot(&query), (row.dot(&row) * query.dot(&query)).sqrt());
                let found = hits.iter().find(|hit| hit.index == candidate).map(|hit| hit.score);
                if !found.is_some_and(|found| {
                    (found - expected).abs() <= TOLERANCE * length.max(f32::MIN_POSITIVE)
                }) {
                    return Err(others(format!("candidate {candidate} is another vector than the model's")));
                }
            }
            Ok(())
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
