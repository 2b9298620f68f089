//! Every candidate is estimated in one byte a number, and those that the estimates leave over are scored in f32.

use super::vectors::Vectors;
use super::{Filter, Hit, Query, Scratch, ScratchPool, VectorIndex, check_query};
use crate::error::Result;
use crate::index::shortlist::Shortlist;
use ndarray::Array2;
use rayon::prelude::*;
use recs_core::artifact::Candidates;
use recs_core::kernel::{Int8Blocks, Int8Query};
use recs_core::slab::Slab;
use std::ops::Range;
use std::sync::Arc;

/// Candidates between two looks at the threshold, a multiple of 64: few at first, when nearly all of them enter.
const FIRST_STRETCH: usize = 256;
const STRETCH: usize = 2048;
/// Candidates whose estimates say what the k-th best will be, at most.
const SAMPLE: usize = 4096;
/// Catalogues below this size are read faster than guessed about.
const WORTH_A_GUESS: usize = 2048;
/// Bytes of codes that all queries of a task read before the next: half of a second-level cache.
const CACHED_BYTES: usize = 512 << 10;
/// Queries of one task of a batch.
const QUERY_BLOCK: usize = 64;

/// Finds what [`ExactIndex`](super::ExactIndex) finds, ties included, by reading a quarter of the bytes.
///
/// Candidates are rounded to one byte a number ([`Int8Codec`](recs_core::kernel::Int8Codec)). One pass over them estimates
/// all products, with a bound on the error that is proven for each query; what the bound cannot exclude from the k best, a
/// few more than k as a rule, is scored in f32. Recall is 1.
///
/// Cost: `len * dim` multiply-adds of bytes a query, 64 an instruction with AVX-512 VNNI. Memory: a byte a number beside the
/// vectors.
#[derive(Debug, Clone)]
pub struct Int8Index {
    vectors: Vectors,
    blocks: Int8Blocks,
}

impl Int8Index {
    /// Takes vectors.
    ///
    /// # Shapes
    /// `vectors` `[len, dim]`, `dim` at most 1024.
    ///
    /// # Errors
    /// [`Error::NonFinite`](crate::Error::NonFinite) naming the candidate, [`Error::Model`](crate::Error::Model) for more than
    /// 2^32 - 1 vectors, [`Error::Core`](crate::Error::Core) for wider ones.
    pub fn new(vectors: Array2<f32>) -> Result<Self> {
        Self::over(Vectors::own(vectors)?)
    }

    /// Shares the vectors of a catalogue instead of copying them.
    ///
    /// # Errors
    /// As [`Int8Index::new`].
    pub fn shared(candidates: Arc<Candidates>) -> Result<Self> {
        Self::over(Vectors::shared(candidates)?)
    }

    /// Shares vectors end to end; `codes` are theirs, if they were made before.
    ///
    /// # Errors
    /// As [`Int8Index::new`].
    pub(crate) fn of_slab(vectors: Slab<f32>, dim: usize, codes: Option<Int8Blocks>) -> Result<Self> {
        let vectors = Vectors::of_slab(vectors, dim)?;
        match codes {
            Some(blocks) => Ok(Self { vectors, blocks }),
            None => Self::over(vectors),
        }
    }

    fn over(vectors: Vectors) -> Result<Self> {
        let blocks = Int8Blocks::new(vectors.flat(), vectors.dim())?;
        Ok(Self { vectors, blocks })
    }

    /// Reads a range of candidates for one query.
    fn scan(&self, query: &Int8Query, range: Range<usize>, filter: &Filter, list: &mut Shortlist) {
        let is_open = filter.is_open();
        let (mut start, mut stretch) = (range.start, FIRST_STRETCH);
        while start < range.end {
            let end = range.end.min(start + stretch);
            self.blocks.scan(query, start..end, list.floor(), |candidate, estimate| {
                if is_open || filter.passes(candidate) {
                    list.push(candidate, estimate);
                }
            });
            (start, stretch) = (end, STRETCH.min(2 * stretch));
        }
    }

    /// An estimate that at least k candidates reach, most likely; the lowest number where nothing can be said.
    fn guess(&self, query: &Int8Query, k: usize, filter: &Filter, estimates: &mut Vec<i32>) -> i32 {
        let Some(denied) = filter.denied().filter(|_| self.len() >= WORTH_A_GUESS) else { return i32::MIN };
        self.blocks.sample(query, (self.len() / 8).min(SAMPLE), estimates);
        let expected = (k + denied) as f64 * estimates.len() as f64 / self.len() as f64;
        // Three standard deviations more than are expected.
        let place = (expected + 3.0 * expected.sqrt()).ceil() as usize;
        match place < estimates.len() {
            true => *estimates.select_nth_unstable_by(place, |a, b| b.cmp(a)).1,
            false => i32::MIN,
        }
    }

    /// Leaves what may be among the k best that pass in `scratch.picked`.
    fn pick(&self, query: &[f32], k: usize, filter: &Filter, scratch: &mut Scratch) {
        if filter.is_few(self.len()) {
            filter.passing(self.len(), &mut scratch.picked);
            return;
        }
        let Scratch { rounded, estimates, shortlist, picked, .. } = scratch;
        self.blocks.codec().query_into(query, rounded);
        for guess in [self.guess(rounded, k, filter, estimates), i32::MIN] {
            shortlist.reset_at(k, rounded.slack(), guess);
            self.scan(rounded, 0..self.len(), filter, shortlist);
            if shortlist.take(picked) {
                return;
            }
        }
    }

    /// Answers queries together: each stretch of candidates is read by all of them while it is in the cache.
    fn search_block(&self, queries: &[Query<'_>], scratch: &mut Scratch, out: &mut [Vec<Hit>]) {
        let stretch = (CACHED_BYTES / self.dim()).next_multiple_of(STRETCH);
        let is_scanned = |query: &Query<'_>| query.k > 0 && !query.filter.is_few(self.len());
        let mut asked: Vec<(Int8Query, Shortlist)> = Vec::with_capacity(queries.len());
        for query in queries {
            let (rounded, mut list) = (self.blocks.codec().query(query.vector), Shortlist::default());
            if is_scanned(query) {
                let k = query.k.min(self.len());
                let guess = self.guess(&rounded, k, query.filter, &mut scratch.estimates);
                list.reset_at(k, rounded.slack(), guess);
            }
            asked.push((rounded, list));
        }
        for start in (0..self.len()).step_by(stretch) {
            let range = start..self.len().min(start + stretch);
            for (query, (rounded, list)) in
                queries.iter().zip(&mut asked).filter(|(query, _)| is_scanned(query))
            {
                self.scan(rounded, range.clone(), query.filter, list);
            }
        }
        for ((query, (_, list)), out) in queries.iter().zip(&mut asked).zip(out) {
            let k = query.k.min(self.len());
            if k == 0 {
                out.clear();
                continue;
            }
            scratch.best.reset(k);
            if !is_scanned(query) || !list.take(&mut scratch.picked) {
                self.pick(query.vector, k, query.filter, scratch);
            }
            self.vectors.score(query.vector, &scratch.picked, &mut scratch.scores, &mut scratch.best);
            scratch.best.take_sorted_into(out);
        }
    }
}

impl VectorIndex for Int8Index {
    fn len(&self) -> usize {
        self.vectors.len()
    }

    fn dim(&self) -> usize {
        self.vectors.dim()
    }

    fn extra_bytes(&self) -> u64 {
        self.blocks.lines().len() as u64
    }

    fn gains_together(&self) -> bool {
        self.blocks.lines().len() > super::UNCACHED_BYTES
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
        self.pick(query, k, filter, scratch);
        self.vectors.score(query, &scratch.picked, &mut scratch.scores, &mut scratch.best);
        scratch.best.take_sorted_into(out);
        Ok(())
    }

    fn search_batch(&self, queries: &[Query<'_>], pool: &ScratchPool) -> Result<Vec<Vec<Hit>>> {
        super::check_queries(queries, self.dim())?;
        let mut out = vec![Vec::new(); queries.len()];
        let size = super::task_size(queries.len(), QUERY_BLOCK);
        let parts: Vec<_> = queries.chunks(size).zip(out.chunks_mut(size)).collect();
        parts.into_par_iter().for_each(|(queries, out)| pool.with(|s| self.search_block(queries, s, out)));
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products that f32 cannot hold, or that vanish in it, are ties: the lower number goes first.
    #[test]
    fn what_no_estimate_can_order_is_ordered_by_the_scores() {
        let rows = |rows: &[f32], dim| {
            let flat = rows.iter().flat_map(|&x| vec![x; dim]).collect();
            Int8Index::new(Array2::from_shape_vec((rows.len(), dim), flat).unwrap()).unwrap()
        };
        for (index, query) in
            [(rows(&[1e20, 2e20], 1), vec![1e20]), (rows(&[-1e-20, 1e-20], 1024), vec![1e-30; 1024])]
        {
            let mut hits = Vec::new();
            index.search(&query, 1, &Filter::default(), &mut Scratch::default(), &mut hits).unwrap();
            assert_eq!(hits[0].index, 0);
            let batch = [Query { vector: &query, k: 0, filter: &Filter::default() }];
            assert!(index.search_batch(&batch, &ScratchPool::new()).unwrap()[0].is_empty());
        }
    }
    use crate::error::Error;
    use crate::index::ExactIndex;
    use crate::index::conformance;
    use proptest::prelude::*;

    fn build(vectors: Array2<f32>) -> Result<Box<dyn VectorIndex>> {
        Ok(Box::new(Int8Index::new(vectors)?))
    }

    #[test]
    fn conforms() {
        conformance::run(&build);
        conformance::agrees_with_naive_search(&build);
    }

    #[test]
    fn refuses_candidates_that_are_not_finite() {
        let vectors = Array2::from_shape_fn((3, 2), |(i, _)| if i == 1 { f32::NAN } else { 0.0 });
        assert!(matches!(Int8Index::new(vectors), Err(Error::NonFinite { row: 1, .. })));
    }

    proptest! {
        /// The same hits with the same scores as by scoring everything in f32: near ties, scales that differ by dimension
        /// and by candidate, and vectors of zeros.
        #[test]
        fn finds_what_scoring_everything_finds(
            (dim, numbers, query) in (1usize..40).prop_flat_map(|dim| {
                let number = prop_oneof![4 => -1f32..1.0, 1 => Just(0.5f32), 1 => -1e-4f32..1e-4, 1 => -1e3f32..1e3];
                (Just(dim), proptest::collection::vec(number.clone(), dim * 200), proptest::collection::vec(number, dim))
            }),
            k in 1usize..120,
        ) {
            let vectors = Array2::from_shape_vec((200, dim), numbers).unwrap();
            let (exact, ours) = (ExactIndex::new(vectors.clone()).unwrap(), Int8Index::new(vectors).unwrap());
            for filter in [Filter::default(), Filter::default().deny(0..50)] {
                let (mut expected, mut got) = (Vec::new(), Vec::new());
                exact.search(&query, k, &filter, &mut Scratch::default(), &mut expected).unwrap();
                ours.search(&query, k, &filter, &mut Scratch::default(), &mut got).unwrap();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
