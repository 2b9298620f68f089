//! Every candidate is scored: the reference for all other indexes, and the fastest one for small catalogues.

use super::vectors::Vectors;
use super::{Filter, Hit, Query, Scratch, ScratchPool, VectorIndex, check_query};
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use recs_core::artifact::Candidates;
use recs_core::kernel::{TopK, dot_rows, gemm};
use recs_core::slab::Slab;
use std::ops::Range;
use std::sync::Arc;

/// Candidates scored at once for one query: their scores stay in the first-level cache.
const SINGLE_BLOCK: usize = 1024;
/// Candidates scored at once for a block of queries.
const CANDIDATE_BLOCK: usize = 512;
/// Queries of one task of a batch. Task memory: `QUERY_BLOCK * CANDIDATE_BLOCK` scores, 128 KiB.
const QUERY_BLOCK: usize = 64;
/// Scores compared with the threshold at once.
const LANES: usize = 16;

/// Scores every candidate in f32 and keeps the k best; recall is 1.
///
/// Cost: `len * dim` multiply-adds a query. A batch is a blocked matrix product; no more than a block of scores is in
/// memory for each thread.
#[derive(Debug, Clone)]
pub struct ExactIndex {
    vectors: Vectors,
}

impl ExactIndex {
    /// Takes vectors.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the candidate, [`Error::Model`] for more than 2^32 - 1 vectors.
    pub fn new(vectors: Array2<f32>) -> Result<Self> {
        Ok(Self { vectors: Vectors::own(vectors)? })
    }

    /// Shares the vectors of a catalogue instead of copying them.
    ///
    /// # Errors
    /// As [`ExactIndex::new`].
    pub fn shared(candidates: Arc<Candidates>) -> Result<Self> {
        Ok(Self { vectors: Vectors::shared(candidates)? })
    }

    /// Shares vectors end to end.
    ///
    /// # Errors
    /// As [`ExactIndex::new`].
    pub(crate) fn of_slab(vectors: Slab<f32>, dim: usize) -> Result<Self> {
        Ok(Self { vectors: Vectors::of_slab(vectors, dim)? })
    }

    /// Answers the queries `at` of a batch into `out`, by products of query block and candidate block.
    fn search_block(&self, queries: &[Query<'_>], scratch: &mut Scratch, out: &mut [Vec<Hit>]) -> Result<()> {
        let dim = self.dim();
        scratch.block.clear();
        queries.iter().for_each(|q| scratch.block.extend_from_slice(q.vector));
        let block = view((queries.len(), dim), &scratch.block)?;
        scratch.scores.resize(queries.len() * CANDIDATE_BLOCK, 0.0);
        let mut best: Vec<TopK> = queries.iter().map(|q| TopK::new(q.k)).collect();
        for range in blocks(self.len(), CANDIDATE_BLOCK) {
            let rows = self.vectors.view();
            let rows = rows.slice(ndarray::s![range.clone(), ..]);
            let scores = &mut scratch.scores[..queries.len() * range.len()];
            let product =
                ArrayViewMut2::from_shape((queries.len(), range.len()), scores).map_err(|_| defect())?;
            gemm(1.0, block, rows.t(), 0.0, product);
            for ((scores, query), best) in scratch.scores.chunks(range.len()).zip(queries).zip(&mut best) {
                offer(best, range.start as u32, scores, query.filter);
            }
        }
        out.iter_mut().zip(&mut best).for_each(|(out, best)| *out = best.take_sorted());
        Ok(())
    }
}

impl VectorIndex for ExactIndex {
    fn len(&self) -> usize {
        self.vectors.len()
    }

    fn dim(&self) -> usize {
        self.vectors.dim()
    }

    fn gains_together(&self) -> bool {
        size_of_val(self.vectors.flat()) > super::UNCACHED_BYTES
    }

    fn search(
        &self,
        query: &[f32],
        k: usize,
        filter: &Filter,
        scratch: &mut Scratch,
        out: &mut Vec<Hit>,
    ) -> Result<()> {
        let dim = self.dim();
        check_query(query, 0, dim)?;
        scratch.best.reset(k.min(self.len()));
        if k == 0 || self.is_empty() {
            out.clear();
            return Ok(());
        }
        if filter.is_few(self.len()) {
            filter.passing(self.len(), &mut scratch.picked);
            self.vectors.score(query, &scratch.picked, &mut scratch.scores, &mut scratch.best);
        } else {
            scratch.scores.resize(SINGLE_BLOCK, 0.0);
            for range in blocks(self.len(), SINGLE_BLOCK) {
                let scores = &mut scratch.scores[..range.len()];
                dot_rows(query, &self.vectors.flat()[range.start * dim..range.end * dim], scores);
                offer(&mut scratch.best, range.start as u32, scores, filter);
            }
        }
        scratch.best.take_sorted_into(out);
        Ok(())
    }

    fn search_batch(&self, queries: &[Query<'_>], pool: &ScratchPool) -> Result<Vec<Vec<Hit>>> {
        super::check_queries(queries, self.dim())?;
        let mut out = vec![Vec::new(); queries.len()];
        if self.is_empty() {
            return Ok(out);
        }
        let size = super::task_size(queries.len(), QUERY_BLOCK);
        let parts: Vec<_> = queries.chunks(size).zip(out.chunks_mut(size)).collect();
        parts
            .into_par_iter()
            .try_for_each(|(queries, out)| pool.with(|s| self.search_part(queries, s, out)))?;
        Ok(out)
    }
}

impl ExactIndex {
    /// Queries whose filter lets few through are answered one by one, the others together.
    fn search_part(&self, queries: &[Query<'_>], scratch: &mut Scratch, out: &mut [Vec<Hit>]) -> Result<()> {
        if queries.iter().all(|q| q.k > 0 && !q.filter.is_few(self.len())) {
            return self.search_block(&clamped(queries, self.len()), scratch, out);
        }
        let (mut together, mut places) = (Vec::new(), Vec::new());
        for (place, query) in queries.iter().enumerate() {
            if query.k == 0 || query.filter.is_few(self.len()) {
                self.search(query.vector, query.k, query.filter, scratch, &mut out[place])?;
            } else {
                together.push(*query);
                places.push(place);
            }
        }
        let mut found = vec![Vec::new(); together.len()];
        self.search_block(&clamped(&together, self.len()), scratch, &mut found)?;
        places.into_iter().zip(found).for_each(|(place, hits)| out[place] = hits);
        Ok(())
    }
}

fn clamped<'q>(queries: &[Query<'q>], len: usize) -> Vec<Query<'q>> {
    queries.iter().map(|q| Query { k: q.k.min(len), ..*q }).collect()
}

fn blocks(len: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(size).map(move |start| start..len.min(start + size))
}

/// Offers the scores of consecutive candidates; the filter is asked only about those that could enter.
fn offer(best: &mut TopK, first: u32, scores: &[f32], filter: &Filter) {
    if filter.is_open() {
        best.push_scores(first, scores);
        return;
    }
    for (chunk, at) in scores.chunks(LANES).zip((first..).step_by(LANES)) {
        let threshold = best.threshold();
        if !chunk.iter().fold(false, |any, &s| any | (s >= threshold)) && threshold > f32::NEG_INFINITY {
            continue;
        }
        for (index, &score) in (at..).zip(chunk) {
            if (score >= best.threshold() || score.is_nan()) && filter.passes(index) {
                best.push(Hit { index, score });
            }
        }
    }
}

fn view(shape: (usize, usize), numbers: &[f32]) -> Result<ArrayView2<'_, f32>> {
    ArrayView2::from_shape(shape, numbers).map_err(|_| defect())
}

fn defect() -> Error {
    Error::Worker { doing: "laying out a block of scores" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::conformance;

    fn build(vectors: Array2<f32>) -> Result<Box<dyn VectorIndex>> {
        Ok(Box::new(ExactIndex::new(vectors)?))
    }

    #[test]
    fn conforms() {
        conformance::run(&build);
        conformance::agrees_with_naive_search(&build);
    }

    #[test]
    fn refuses_candidates_that_are_not_finite() {
        let vectors = Array2::from_shape_fn((3, 2), |(i, _)| if i == 1 { f32::NAN } else { 0.0 });
        assert!(matches!(ExactIndex::new(vectors), Err(Error::NonFinite { row: 1, .. })));
    }

    #[test]
    fn column_major_vectors_are_taken_too() {
        let vectors =
            Array2::from_shape_vec((2, 3), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap().reversed_axes();
        let index = ExactIndex::new(vectors).unwrap();
        let mut out = Vec::new();
        index.search(&[0.0, 1.0], 1, &Filter::default(), &mut Scratch::default(), &mut out).unwrap();
        assert_eq!(out, [Hit { index: 2, score: 6.0 }]);
    }
}
