//! The crate [hnsw_rs](https://docs.rs/hnsw_rs) as an index.

use super::hnsw::HnswConfig;
use super::vectors::Vectors;
use super::{Filter, Hit, Scratch, VectorIndex, check_query};
use crate::error::{Error, Result};
use ::hnsw_rs::anndists::dist::Distance;
use ::hnsw_rs::hnsw::Hnsw;
use ndarray::Array2;
use recs_core::kernel::dot;

/// Layers, as the crate limits them.
const LAYERS: usize = 16;
/// More neighbours than this, and the crate ends the process.
const MOST_NEIGHBOURS: usize = 255;
/// When fewer than one of so many candidates pass a filter, they are scored one by one.
const SELECTIVE: usize = 20;

/// A graph by the crate `hnsw_rs`, for hosts that use it already.
///
/// [`HnswIndex`](super::HnswIndex) is several times faster to build and to search, finds more where lengths of vectors differ,
/// and can be saved; `benches/README.md` has the numbers. Builds on several threads differ from each other, and may leave
/// candidates that no search reaches: when fewer than k are found, every candidate is scored.
///
/// Memory: a copy of the vectors, and about 100 bytes a neighbour.
pub struct HnswRsIndex {
    vectors: Vectors,
    graph: Hnsw<'static, f32, Shortfall>,
    /// Length of the longest vector.
    longest: f32,
    ef_search: usize,
}

impl std::fmt::Debug for HnswRsIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (vectors, ef_search) = (self.vectors.len(), self.ef_search);
        f.debug_struct("HnswRsIndex")
            .field("vectors", &vectors)
            .field("ef_search", &ef_search)
            .finish_non_exhaustive()
    }
}

/// What a product falls short of the largest one possible. The crate's own distance of products fails for vectors of length
/// 1, whose products may exceed 1 by a bit: it takes no negative distances.
#[derive(Debug, Clone, Copy)]
struct Shortfall {
    largest: f32,
}

impl Distance<f32> for Shortfall {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (self.largest - dot(a, b)).max(0.0)
    }
}

impl HnswRsIndex {
    /// Builds the graph on the global rayon pool, which is the crate's.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range (`m` at most 255), [`Error::NonFinite`] naming the candidate,
    /// [`Error::Model`] for vectors so long that their products are not finite.
    pub fn build(vectors: Array2<f32>, config: &HnswConfig) -> Result<Self> {
        config.check()?;
        if config.m > MOST_NEIGHBOURS {
            return Err(Error::config(
                "index.m",
                format!("is {}, hnsw_rs has at most {MOST_NEIGHBOURS}", config.m),
            ));
        }
        let vectors = Vectors::own(vectors)?;
        let rows: Vec<(&[f32], usize)> = vectors.flat().chunks_exact(vectors.dim()).zip(0..).collect();
        let longest = rows.iter().map(|(row, _)| dot(row, row)).fold(0.0, f32::max).sqrt();
        if !(2.0 * longest * longest).is_finite() {
            return Err(Error::model("its vectors are too long: products are not finite"));
        }
        let largest = Shortfall { largest: longest * longest };
        let graph = Hnsw::new(config.m, vectors.len(), LAYERS, config.ef_construction, largest);
        graph.parallel_insert_slice(&rows);
        Ok(Self { vectors, graph, longest, ef_search: config.ef_search })
    }

    /// The candidates that the graph finds.
    fn walk(&self, query: &[f32], k: usize, filter: &Filter) -> Vec<u32> {
        // As long as the longest vector: products are then within what `Shortfall` expects, in the same order.
        let length = query.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Vec::new();
        }
        let scale = f64::from(self.longest) / length;
        let scaled: Vec<f32> = query.iter().map(|&x| (f64::from(x) * scale) as f32).collect();
        let passes = |id: &usize| filter.passes(*id as u32);
        let passes = (!filter.is_open()).then_some(&passes as &dyn ::hnsw_rs::filter::FilterT);
        let found = self.graph.search_filter(&scaled, k, self.ef_search.max(k), passes);
        let mut found: Vec<u32> = found.iter().map(|near| near.get_origin_id() as u32).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl VectorIndex for HnswRsIndex {
    fn len(&self) -> usize {
        self.vectors.len()
    }

    fn dim(&self) -> usize {
        self.vectors.dim()
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        check_query(query, 0, self.dim())?;
        let k = k.min(self.len());
        scratch.best.reset(k);
        if k == 0 {
            out.clear();
            return Ok(());
        }
        let is_selective = || filter.sample(self.len()) * SELECTIVE < Filter::SAMPLE;
        if filter.is_few(self.len()) || is_selective() {
            filter.passing(self.len(), &mut scratch.picked);
        } else {
            scratch.picked = self.walk(query, k, filter);
            if scratch.picked.len() < k {
                filter.passing(self.len(), &mut scratch.picked);
            }
        }
        self.vectors.score(query, &scratch.picked, &mut scratch.scores, &mut scratch.best);
        scratch.best.take_sorted_into(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::conformance;

    fn build(vectors: Array2<f32>) -> Result<Box<dyn VectorIndex>> {
        let config = HnswConfig { m: 16, ef_construction: 100, ef_search: 100, seed: 0 };
        Ok(Box::new(HnswRsIndex::build(vectors, &config)?))
    }

    #[test]
    fn conforms() {
        conformance::run(&build);
        conformance::recall_is_at_least(&build, 0.9);
    }

    #[test]
    fn what_would_end_the_process_is_refused() {
        let config = HnswConfig { m: 256, ef_construction: 256, ..HnswConfig::default() };
        assert!(matches!(HnswRsIndex::build(Array2::ones((2, 2)), &config), Err(Error::Config { .. })));
        let long = HnswRsIndex::build(Array2::from_elem((2, 2), 1e30), &HnswConfig::default());
        assert!(matches!(long, Err(Error::Model { .. })));
    }
}
