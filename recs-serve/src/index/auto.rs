//! The index that fits a catalogue.

use super::{
    ExactIndex, Filter, Hit, HnswConfig, HnswIndex, Int8Index, Query, Scratch, ScratchPool, VectorIndex,
};
use crate::error::Result;
use recs_core::artifact::Candidates;
use recs_core::kernel::{Int8Blocks, MAX_INT8_DIM};
use recs_core::observe::CancelToken;
use recs_core::slab::Slab;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How [`Index::auto`] chooses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
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

enum Kind {
    Plain,
    Exact,
    Hnsw,
}

impl Kind {
    fn of(numbers: usize, dim: usize, config: &IndexConfig) -> Self {
        match dim > MAX_INT8_DIM {
            true => Self::Plain,
            false if numbers <= config.exact_up_to => Self::Exact,
            false => Self::Hnsw,
        }
    }
}

/// An index of this crate, chosen by size.
#[derive(Debug, Clone)]
pub enum Index {
    /// Every candidate is looked at.
    Exact(Int8Index),
    /// A graph.
    Hnsw(HnswIndex),
    /// Every candidate is scored in f32: for vectors that are wider than one byte a number is made for.
    Plain(ExactIndex),
}

impl Index {
    /// Exact search where it takes less than about half a millisecond, a graph beyond, see [`IndexConfig`]; vectors of more than
    /// 1024 numbers are searched exactly however many there are.
    ///
    /// # Errors
    /// Those of [`Int8Index::shared`], [`HnswIndex::build_shared`] and [`ExactIndex::shared`].
    pub fn auto(candidates: Arc<Candidates>, config: &IndexConfig, cancel: &CancelToken) -> Result<Self> {
        let (numbers, dim) = (candidates.vectors.len(), candidates.vectors.ncols());
        Ok(match Kind::of(numbers, dim, config) {
            Kind::Plain => Self::Plain(ExactIndex::shared(candidates)?),
            Kind::Exact => Self::Exact(Int8Index::shared(candidates)?),
            Kind::Hnsw => Self::Hnsw(HnswIndex::build_shared(candidates, &config.hnsw, cancel)?),
        })
    }

    /// As [`Index::auto`], sharing vectors end to end; `codes` are theirs, if they were made before.
    ///
    /// # Errors
    /// As [`Index::auto`].
    pub(crate) fn of_slab(
        vectors: Slab<f32>,
        dim: usize,
        codes: Option<Int8Blocks>,
        config: &IndexConfig,
        cancel: &CancelToken,
    ) -> Result<Self> {
        Ok(match Kind::of(vectors.len(), dim, config) {
            Kind::Plain => Self::Plain(ExactIndex::of_slab(vectors, dim)?),
            Kind::Exact => Self::Exact(Int8Index::of_slab(vectors, dim, codes)?),
            Kind::Hnsw => Self::Hnsw(HnswIndex::of_slab(vectors, dim, &config.hnsw, cancel)?),
        })
    }

    /// True for a catalogue of so many numbers that [`Index::of_slab`] builds a graph for.
    pub(crate) fn is_graph(numbers: usize, dim: usize, config: &IndexConfig) -> bool {
        matches!(Kind::of(numbers, dim, config), Kind::Hnsw)
    }

    /// The codes that [`Index::of_slab`] would make; None for a catalogue that is not searched by them.
    ///
    /// # Errors
    /// As [`Index::auto`].
    pub(crate) fn codes(vectors: &[f32], dim: usize, config: &IndexConfig) -> Result<Option<Int8Blocks>> {
        match Kind::of(vectors.len(), dim, config) {
            Kind::Exact => Ok(Some(Int8Blocks::new(vectors, dim)?)),
            Kind::Plain | Kind::Hnsw => Ok(None),
        }
    }

    fn chosen(&self) -> &dyn VectorIndex {
        match self {
            Self::Exact(index) => index,
            Self::Hnsw(index) => index,
            Self::Plain(index) => index,
        }
    }
}

impl VectorIndex for Index {
    fn len(&self) -> usize {
        self.chosen().len()
    }

    fn extra_bytes(&self) -> u64 {
        self.chosen().extra_bytes()
    }

    fn waits(&self) -> bool {
        self.chosen().waits()
    }

    fn gains_together(&self) -> bool {
        self.chosen().gains_together()
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
        let is_wide = index.dim() > MAX_INT8_DIM;
        assert_eq!(matches!(index, Index::Exact(_)), !is_wide && n * index.dim() <= exact_up_to);
        Ok(Box::new(index))
    }

    #[test]
    fn wide_vectors_are_searched_too() {
        for dim in [MAX_INT8_DIM, MAX_INT8_DIM + 1] {
            let vectors = Array2::from_shape_fn((40, dim), |(i, j)| ((i * 7 + j) % 13) as f32);
            let index = auto(vectors.clone(), 1_000_000).unwrap();
            let mut hits = Vec::new();
            let query: Vec<f32> = vectors.row(3).to_vec();
            index.search(&query, 5, &Filter::default(), &mut Scratch::default(), &mut hits).unwrap();
            assert_eq!(hits, conformance::naive(&vectors.view(), &query, 5, &Filter::default()));
        }
    }

    #[test]
    fn conforms_whatever_is_chosen() {
        for exact_up_to in [0, 5_000, 1_000_000] {
            conformance::run(&|vectors| auto(vectors, exact_up_to));
        }
    }
}
