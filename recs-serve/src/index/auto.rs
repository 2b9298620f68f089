//! The index that fits a catalogue.

use super::{Filter, Hit, HnswConfig, HnswIndex, Int8Index, Query, Scratch, ScratchPool, VectorIndex};
use crate::error::Result;
use recs_core::artifact::Candidates;
use recs_core::observe::CancelToken;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How [`Index::auto`] chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IndexConfig {
    /// Catalogues of at most so many numbers (products times width) are searched exactly. The default, 200,000 products of 64
    /// numbers and a few, takes about half a millisecond a query: below it, exactness costs nothing that anybody waits for.
    pub exact_up_to: usize,
    /// The graph for larger ones.
    pub hnsw: HnswConfig,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self { exact_up_to: 16_000_000, hnsw: HnswConfig::default() }
    }
}

/// An index of this crate, chosen by size.
#[derive(Debug, Clone)]
pub enum Index {
    /// Every candidate is looked at.
    Exact(Int8Index),
    /// A graph.
    Hnsw(HnswIndex),
}

impl Index {
    /// Exact search where it takes less than about half a millisecond, a graph beyond; see [`IndexConfig`].
    ///
    /// # Errors
    /// Those of [`Int8Index::shared`] and [`HnswIndex::build_shared`].
    pub fn auto(candidates: Arc<Candidates>, config: &IndexConfig, cancel: &CancelToken) -> Result<Self> {
        if candidates.vectors.len() <= config.exact_up_to {
            return Ok(Self::Exact(Int8Index::shared(candidates)?));
        }
        Ok(Self::Hnsw(HnswIndex::build_shared(candidates, &config.hnsw, cancel)?))
    }

    fn chosen(&self) -> &dyn VectorIndex {
        match self {
            Self::Exact(index) => index,
            Self::Hnsw(index) => index,
        }
    }
}

impl VectorIndex for Index {
    fn len(&self) -> usize {
        self.chosen().len()
    }

    fn is_empty(&self) -> bool {
        self.chosen().is_empty()
    }

    fn dim(&self) -> usize {
        self.chosen().dim()
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        self.chosen().search(query, k, filter, scratch, out)
    }

    fn search_batch(&self, queries: &[Query<'_>], pool: &ScratchPool) -> Result<Vec<Vec<Hit>>> {
        self.chosen().search_batch(queries, pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::conformance;
    use ndarray::Array2;

    fn auto(vectors: Array2<f32>, exact_up_to: usize) -> Result<Box<dyn VectorIndex>> {
        let n = vectors.nrows();
        let text = vec![String::new(); n];
        let candidates = Candidates {
            ids: text.clone(),
            names: text.clone(),
            categories: text,
            available: vec![true; n],
            popularity: vec![0; n],
            vectors,
        };
        let config = IndexConfig { exact_up_to, ..IndexConfig::default() };
        let index = Index::auto(Arc::new(candidates), &config, &CancelToken::new())?;
        assert_eq!(matches!(index, Index::Exact(_)), n * index.dim() <= exact_up_to);
        Ok(Box::new(index))
    }

    #[test]
    fn conforms_whatever_is_chosen() {
        for exact_up_to in [0, 5_000, 1_000_000] {
            conformance::run(&|vectors| auto(vectors, exact_up_to));
        }
    }
}
