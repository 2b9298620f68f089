//! Ranks of test products and the lists that customers get, by blocked products: at most 128 x 16,384 scores a thread
//! are ever in memory.

use crate::data::{NO_PRODUCT, TrainData};
use crate::error::Result;
use ndarray::{Array2, s};
use rayon::ThreadPool;
use rayon::prelude::*;
use recs_core::artifact::ModelArtifact;
use recs_core::kernel::{TopK, gemm};
use recs_core::metrics::{ListStats, RankSums, count_at_least};
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::observe::CancelToken;
use recs_core::schema::Tower;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const QUERY_BLOCK: usize = 128;
const CANDIDATE_BLOCK: usize = 16_384;
/// Length of the lists that coverage and personalisation look at.
const LIST_LENGTH: usize = 100;

/// Results on a set of rows. A row is one purchase (others average per customer). None: not computed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Evaluation {
    /// Rows scored.
    pub rows: u64,
    /// Recall@5.
    pub recall_at_5: Option<f64>,
    /// Recall@10.
    pub recall_at_10: Option<f64>,
    /// Recall@50.
    pub recall_at_50: Option<f64>,
    /// Recall@100.
    pub recall_at_100: Option<f64>,
    /// NDCG@10.
    pub ndcg_at_10: Option<f64>,
    /// NDCG@100.
    pub ndcg_at_100: Option<f64>,
    /// Mean reciprocal rank over the catalogue.
    pub mrr: Option<f64>,
    /// Share of the catalogue in at least one customer's 100.
    pub coverage: Option<f64>,
    /// 1 - mean overlap of two customers' 100.
    pub personalisation: Option<f64>,
    /// Wall time.
    pub seconds: f64,
    /// The sums behind it.
    #[serde(skip)]
    pub ranks: RankSums,
}

impl Evaluation {
    /// Puts ranks and lists together.
    pub fn new(ranks: RankSums, lists: Option<&ListStats>, seconds: f64) -> Self {
        Self {
            rows: ranks.rows(),
            recall_at_5: ranks.recall_at(5),
            recall_at_10: ranks.recall_at(10),
            recall_at_50: ranks.recall_at(50),
            recall_at_100: ranks.recall_at(100),
            ndcg_at_10: ranks.ndcg_at(10),
            ndcg_at_100: ranks.ndcg_at(100),
            mrr: ranks.mrr(),
            coverage: lists.and_then(ListStats::coverage),
            personalisation: lists.and_then(ListStats::personalisation),
            seconds,
            ranks,
        }
    }
}

/// Scores rows against a whole catalogue.
#[derive(Debug)]
pub struct Evaluator<'a> {
    data: &'a TrainData,
    /// Position of each row's product in the catalogue, or [`NO_PRODUCT`].
    product: Cow<'a, [u32]>,
    query: TowerModel,
    catalogue: Array2<f32>,
    pool: &'a ThreadPool,
}

impl<'a> Evaluator<'a> {
    /// Embeds the catalogue of the data.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when weights and model do not fit.
    pub fn new(
        data: &'a TrainData,
        model: &ModelConfig,
        weights: &Weights,
        pool: &'a ThreadPool,
    ) -> Result<Self> {
        let query = TowerModel::new(model, Tower::Query, Arc::clone(&weights.query))?;
        let candidate = TowerModel::new(model, Tower::Candidate, Arc::clone(&weights.candidate))?;
        let catalogue = pool.install(|| candidate.embed(&data.catalogue_columns()))?;
        Ok(Self { data, product: Cow::Borrowed(&data.product), query, catalogue, pool })
    }

    /// Takes the catalogue of a published model, as serving does; `product` gives each row's place in it.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when weights and model do not fit.
    pub(super) fn of_artifact(
        data: &'a TrainData,
        artifact: &ModelArtifact,
        product: Vec<u32>,
        pool: &'a ThreadPool,
    ) -> Result<Self> {
        let query = TowerModel::new(&artifact.config, Tower::Query, Arc::clone(&artifact.weights.query))?;
        let catalogue = artifact.candidates.vectors.clone();
        Ok(Self { data, product: Cow::Owned(product), query, catalogue, pool })
    }

    /// Embeddings of the catalogue. `[products, dim]`
    pub fn catalogue(&self) -> &Array2<f32> {
        &self.catalogue
    }

    /// Evaluates `rows`; the list of a customer is that of their last row among them. Nothing is left out of the
    /// lists.
    ///
    /// # Errors
    /// [`recs_core::Error::NonFinite`] for a model that has diverged, [`recs_core::Error::Cancelled`].
    pub fn evaluate(&self, rows: &[u32], cancel: &CancelToken) -> Result<Evaluation> {
        let started = Instant::now();
        let mut last_row = HashMap::new();
        for &row in rows {
            last_row.insert(self.data.customer[row as usize], row);
        }
        let empty = || Mutex::new(ListStats::new(self.catalogue.nrows()));
        let lists: Vec<_> = (0..self.pool.current_num_threads()).map(|_| empty()).collect();
        let block = |rows: &[u32]| {
            cancel.check()?;
            let own = &lists[rayon::current_thread_index().unwrap_or(0) % lists.len()];
            let wants_list = |row| last_row.get(&self.data.customer[row as usize]) == Some(&row);
            let mut sums = RankSums::default();
            self.block(rows, wants_list, own)?.into_iter().for_each(|rank| sums.push(rank));
            Ok(sums)
        };
        // Sums of fractions are added in the order of the rows; counts, which are long, in any.
        let parts: Vec<RankSums> =
            self.pool.install(|| rows.par_chunks(QUERY_BLOCK).map(block).collect::<Result<_>>())?;
        let mut ranks = RankSums::default();
        parts.iter().for_each(|part| ranks.merge(part));
        let mut all = ListStats::new(self.catalogue.nrows());
        for part in &lists {
            all.merge(&part.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(Evaluation::new(ranks, Some(&all), started.elapsed().as_secs_f64()))
    }

    /// Rank of each row's product in the whole catalogue, in the order of `rows`: 0 is the best, ties rank it last,
    /// None for a product that the catalogue does not hold. Two models are compared row by row with it.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn ranks(&self, rows: &[u32], cancel: &CancelToken) -> Result<Vec<Option<u32>>> {
        let no_lists = Mutex::new(ListStats::new(self.catalogue.nrows()));
        let block = |rows: &[u32]| {
            cancel.check()?;
            self.block(rows, |_| false, &no_lists)
        };
        let parts: Vec<_> =
            self.pool.install(|| rows.par_chunks(QUERY_BLOCK).map(block).collect::<Result<_>>())?;
        Ok(parts.concat())
    }

    /// Ranks of some rows; their customers' lists go to `stats`.
    fn block(
        &self,
        rows: &[u32],
        wants_list: impl Fn(u32) -> bool,
        stats: &Mutex<ListStats>,
    ) -> Result<Vec<Option<u32>>> {
        let queries = self.query.embed(&self.data.query_columns(rows))?;
        let products = self.catalogue.nrows();
        let mut scores = Array2::zeros((rows.len(), products.min(CANDIDATE_BLOCK)));
        let target = |i: usize| self.product[rows[i] as usize];
        // First the targets' own scores, then how many are at least as high: both from the same product, so that a
        // target always ties with itself.
        let mut own = vec![f32::NAN; rows.len()];
        let blocks = products.div_ceil(CANDIDATE_BLOCK);
        for block in 0..blocks {
            let from = self.score(&queries, block, &mut scores);
            for (i, own) in own.iter_mut().enumerate() {
                if let Some(score) = (target(i) as usize).checked_sub(from).and_then(|at| scores.get((i, at)))
                {
                    *own = *score;
                }
            }
        }
        let mut before = vec![0u32; rows.len()];
        let mut lists: Vec<Option<TopK>> =
            rows.iter().map(|&r| wants_list(r).then(|| TopK::new(LIST_LENGTH))).collect();
        for block in 0..blocks {
            let from = if blocks == 1 { 0 } else { self.score(&queries, block, &mut scores) };
            let width = (products - from).min(CANDIDATE_BLOCK);
            for (i, row) in scores.rows().into_iter().enumerate() {
                let row = row.slice(s![..width]);
                let row = row.as_slice().unwrap_or_default();
                if target(i) != NO_PRODUCT {
                    before[i] += count_at_least(row, own[i])?;
                }
                if let Some(list) = &mut lists[i] {
                    list.push_scores(from as u32, row);
                }
            }
        }
        let rank = |(i, before): (usize, &u32)| (target(i) != NO_PRODUCT).then(|| before - 1);
        let ranks = before.iter().enumerate().map(rank).collect();
        let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        for list in lists.iter_mut().flatten() {
            stats.push(list.take_sorted().iter().map(|hit| hit.index));
        }
        Ok(ranks)
    }

    /// Scores of a block of candidates; gives the block's first candidate.
    fn score(&self, queries: &Array2<f32>, block: usize, scores: &mut Array2<f32>) -> usize {
        let from = block * CANDIDATE_BLOCK;
        let to = (from + CANDIDATE_BLOCK).min(self.catalogue.nrows());
        let candidates = self.catalogue.slice(s![from..to, ..]);
        gemm(1.0, queries.view(), candidates.t(), 0.0, scores.slice_mut(s![.., ..to - from]));
        from
    }
}
