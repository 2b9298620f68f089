//! Ranks of test products and the lists that customers get, by blocked products: at most 128 x 16,384 scores a thread
//! are ever in memory.

use super::repeat::RepeatTerm;
use super::served::Served;
use crate::data::{NO_PRODUCT, Purchases, TrainData, day};
use crate::error::Result;
use ndarray::{Array2, s};
use rayon::ThreadPool;
use rayon::prelude::*;
use recs_core::artifact::ModelArtifact;
use recs_core::kernel::{TopK, dot, gemm};
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
/// Rows whose scores of the whole catalogue are in memory at a time, of each thread.
const SCORE_BLOCK: usize = 16;
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
    /// The same with the term for what customers buy again, when there is one: what is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_repeat: Option<Box<Evaluation>>,
    /// The sums behind it.
    #[serde(skip)]
    pub ranks: RankSums,
}

impl Evaluation {
    /// What is served: with the repeat term where there is one.
    pub fn served(&self) -> &Self {
        self.with_repeat.as_deref().unwrap_or(self)
    }

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
            with_repeat: None,
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
    inverse_temperature: f32,
    known: Known<'a>,
    repeat: Option<RepeatTerm>,
    has_history: bool,
    pool: &'a ThreadPool,
}

/// What customers are known to have bought.
#[derive(Debug)]
enum Known<'a> {
    /// Rows of the data.
    Rows(Arc<Purchases>),
    /// What a published model holds.
    Served(Served<'a>),
}

/// Products with what is added to their scores, ascending.
pub(super) type Entries = Vec<(u32, f32)>;

/// Ranks of some rows, and the numbers of their lists.
#[derive(Debug, Default)]
struct Ranked {
    towers: Vec<Option<u32>>,
    with_repeat: Vec<Option<u32>>,
}

/// Where lists are counted: those of the towers, and those with the repeat term.
type Lists = [ListStats; 2];

impl<'a> Evaluator<'a> {
    /// Embeds the catalogue of the data. `purchases` are those known when the rows to come were not: histories are made of
    /// them, each without the query's own day; a model without histories does not look at them.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when weights and model do not fit.
    pub fn new(
        data: &'a TrainData,
        model: &ModelConfig,
        weights: &Weights,
        purchases: &Arc<Purchases>,
        pool: &'a ThreadPool,
    ) -> Result<Self> {
        let query = TowerModel::new(model, Tower::Query, Arc::clone(&weights.query))?;
        let candidate = TowerModel::new(model, Tower::Candidate, Arc::clone(&weights.candidate))?;
        let catalogue = pool.install(|| candidate.embed(&data.catalogue_columns()))?;
        Ok(Self {
            data,
            product: Cow::Borrowed(&data.product),
            query,
            catalogue,
            inverse_temperature: 1.0 / model.temperature,
            known: Known::Rows(Arc::clone(purchases)),
            repeat: None,
            has_history: model.schema.widths(Tower::Query).has_history,
            pool,
        })
    }

    /// Adds a term for what customers buy again.
    #[must_use]
    pub fn with_repeat(mut self, repeat: Option<RepeatTerm>) -> Self {
        self.repeat = repeat;
        self
    }

    /// Takes the catalogue of a published model, as serving does; `product` gives each row's place in it.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when weights and model do not fit.
    pub(super) fn of_artifact(
        data: &'a TrainData,
        artifact: &'a ModelArtifact,
        product: Vec<u32>,
        served: Served<'a>,
        pool: &'a ThreadPool,
    ) -> Result<Self> {
        let query = TowerModel::new(&artifact.config, Tower::Query, Arc::clone(&artifact.weights.query))?;
        let catalogue = artifact.candidates.vectors.clone();
        Ok(Self {
            data,
            product: Cow::Owned(product),
            query,
            catalogue,
            inverse_temperature: 1.0 / artifact.config.temperature,
            known: Known::Served(served),
            repeat: None,
            has_history: artifact.config.schema.widths(Tower::Query).has_history,
            pool,
        })
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
        let products = self.catalogue.nrows();
        let empty = || Mutex::new([ListStats::new(products), ListStats::new(products)]);
        let lists: Vec<Mutex<Lists>> = (0..self.pool.current_num_threads()).map(|_| empty()).collect();
        let block = |rows: &[u32]| {
            cancel.check()?;
            let own = &lists[rayon::current_thread_index().unwrap_or(0) % lists.len()];
            let wants_list = |row| last_row.get(&self.data.customer[row as usize]) == Some(&row);
            let ranked = self.block(rows, wants_list, own)?;
            let mut sums = [RankSums::default(), RankSums::default()];
            ranked.towers.into_iter().for_each(|rank| sums[0].push(rank));
            ranked.with_repeat.into_iter().for_each(|rank| sums[1].push(rank));
            Ok(sums)
        };
        // Sums of fractions are added in the order of the rows; counts, which are long, in any.
        let parts: Vec<[RankSums; 2]> =
            self.pool.install(|| rows.par_chunks(QUERY_BLOCK).map(block).collect::<Result<_>>())?;
        let of = |which: usize| {
            let (mut ranks, mut all) = (RankSums::default(), ListStats::new(products));
            parts.iter().for_each(|part| ranks.merge(&part[which]));
            for part in &lists {
                all.merge(&part.lock().unwrap_or_else(PoisonError::into_inner)[which]);
            }
            Evaluation::new(ranks, Some(&all), started.elapsed().as_secs_f64())
        };
        let with_repeat = self.has_repeats().then(|| Box::new(of(1)));
        Ok(Evaluation { with_repeat, ..of(0) })
    }

    /// Rank of each row's product in the whole catalogue, in the order of `rows`: 0 is the best, ties rank it last,
    /// None for a product that the catalogue does not hold. Two models are compared row by row with it. First those of the
    /// towers, then those with the repeat term; without one that is empty.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn ranks(&self, rows: &[u32], cancel: &CancelToken) -> Result<[Vec<Option<u32>>; 2]> {
        let products = self.catalogue.nrows();
        let no_lists = Mutex::new([ListStats::new(products), ListStats::new(products)]);
        let block = |rows: &[u32]| {
            cancel.check()?;
            self.block(rows, |_| false, &no_lists)
        };
        let parts: Vec<Ranked> =
            self.pool.install(|| rows.par_chunks(QUERY_BLOCK).map(block).collect::<Result<_>>())?;
        let mut all = [Vec::new(), Vec::new()];
        for part in parts {
            all[0].extend(part.towers);
            all[1].extend(part.with_repeat);
        }
        Ok(all)
    }

    /// What `each(i, scores)` makes of the scores that all products have for row i of `rows`, in the order of the rows.
    ///
    /// # Errors
    /// [`recs_core::Error::Cancelled`].
    pub(super) fn map_scores<T: Send>(
        &self,
        rows: &[u32],
        cancel: &CancelToken,
        each: impl Fn(usize, &[f32]) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.by_blocks(rows, SCORE_BLOCK, |first, rows| {
            cancel.check()?;
            let queries = self.queries(rows)?;
            let mut scores = Array2::zeros((rows.len(), self.catalogue.nrows()));
            let candidates = self.catalogue.t();
            gemm(self.inverse_temperature, queries.view(), candidates, 0.0, scores.view_mut());
            let rows = scores.rows().into_iter().enumerate();
            Ok(rows.map(|(i, row)| each(first + i, row.as_slice().unwrap_or_default())).collect())
        })
    }

    /// What `each(first, rows)` makes of blocks of `size` rows, on the pool, put together in the order of the rows.
    fn by_blocks<T: Send>(
        &self,
        rows: &[u32],
        size: usize,
        each: impl Fn(usize, &[u32]) -> Result<Vec<T>> + Sync,
    ) -> Result<Vec<T>> {
        let blocks = rows.par_chunks(size).enumerate();
        let parts: Vec<Vec<T>> =
            self.pool.install(|| blocks.map(|(i, rows)| each(i * size, rows)).collect::<Result<_>>())?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// What `each(i, score)` makes of the i-th row's customer as served: with all purchases as history.
    pub(super) fn served_scores<T: Send>(
        &self,
        rows: &[u32],
        each: impl Fn(usize, &dyn Fn(u32) -> f32) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.by_blocks(rows, QUERY_BLOCK, |first, rows| {
            let mut columns = self.data.query_columns(rows);
            if let (true, Known::Rows(purchases)) = (self.has_history, &self.known) {
                for &row in rows {
                    let customer = self.data.customer[row as usize];
                    purchases.push_history(self.data, customer, None, &mut columns.histories);
                }
            }
            let queries = self.query.embed(&columns)?;
            let of = |(i, query): (usize, ndarray::ArrayView1<'_, f32>)| {
                let query = query.to_slice().unwrap_or_default();
                each(first + i, &|product| self.score_of(query, product))
            };
            Ok(queries.rows().into_iter().enumerate().map(of).collect())
        })
    }

    fn score_of(&self, query: &[f32], product: u32) -> f32 {
        let candidate = self.catalogue.row(product as usize);
        dot(query, candidate.to_slice().unwrap_or_default()) * self.inverse_temperature
    }

    /// Embeddings of the queries of some rows.
    fn queries(&self, rows: &[u32]) -> Result<Array2<f32>> {
        let mut columns = self.data.query_columns(rows);
        if self.has_history {
            columns.histories = match &self.known {
                Known::Rows(purchases) => purchases.histories(self.data, rows),
                Known::Served(served) => served.histories(self.data, rows),
            };
        }
        Ok(self.query.embed(&columns)?)
    }

    fn has_repeats(&self) -> bool {
        match &self.known {
            Known::Rows(_) => self.repeat.is_some(),
            Known::Served(served) => served.has_repeats(),
        }
    }

    /// What the repeat term adds to the products of each row; empty without one.
    fn repeats(&self, rows: &[u32], queries: &Array2<f32>) -> Vec<Entries> {
        if !self.has_repeats() {
            return Vec::new();
        }
        if let Known::Served(served) = &self.known {
            return rows.iter().map(|&row| served.repeats(self.data, row)).collect();
        }
        let Some(term) = &self.repeat else { return Vec::new() };
        let of = |(&row, query): (&u32, ndarray::ArrayView1<'_, f32>)| {
            let (customer, own) = (self.data.customer[row as usize], day(self.data.timestamp[row as usize]));
            let query = query.to_slice().unwrap_or_default();
            term.entries(self.data, customer, Some(own), |product| self.score_of(query, product))
        };
        rows.iter().zip(queries.rows()).map(of).collect()
    }

    /// Ranks of some rows; their customers' lists go to `stats`.
    fn block(&self, rows: &[u32], wants_list: impl Fn(u32) -> bool, stats: &Mutex<Lists>) -> Result<Ranked> {
        let queries = self.queries(rows)?;
        let repeats = self.repeats(rows, &queries);
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
        let list = |&row: &u32| wants_list(row).then(|| TopK::new(LIST_LENGTH));
        let mut counts =
            [0, 1].map(|_| Counts { before: vec![0; rows.len()], lists: rows.iter().map(list).collect() });
        for block in 0..blocks {
            let from = if blocks == 1 { 0 } else { self.score(&queries, block, &mut scores) };
            let width = (products - from).min(CANDIDATE_BLOCK);
            for (i, mut row) in scores.rows_mut().into_iter().enumerate() {
                let mut row = row.slice_mut(s![..width]);
                let row = row.as_slice_mut().unwrap_or_default();
                let known = target(i) != NO_PRODUCT;
                counts[0].add(i, from, row, known.then_some(own[i]))?;
                if let Some(entries) = repeats.get(i) {
                    let mut with = own[i];
                    for &(product, value) in entries {
                        with += if product == target(i) { value } else { 0.0 };
                        if let Some(score) =
                            (product as usize).checked_sub(from).and_then(|at| row.get_mut(at))
                        {
                            *score += value;
                        }
                    }
                    counts[1].add(i, from, row, known.then_some(with))?;
                }
            }
        }
        let rank = |(i, before): (usize, &u32)| (target(i) != NO_PRODUCT).then(|| before - 1);
        let ranks = |counts: &Counts| counts.before.iter().enumerate().map(rank).collect::<Vec<_>>();
        let ranked = Ranked {
            towers: ranks(&counts[0]),
            with_repeat: if self.has_repeats() { ranks(&counts[1]) } else { Vec::new() },
        };
        let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        for (counts, stats) in counts.iter_mut().zip(stats.iter_mut()) {
            for list in counts.lists.iter_mut().flatten() {
                stats.push(list.take_sorted().iter().map(|hit| hit.index));
            }
        }
        Ok(ranked)
    }

    /// Scores of a block of candidates; gives the block's first candidate.
    fn score(&self, queries: &Array2<f32>, block: usize, scores: &mut Array2<f32>) -> usize {
        let from = block * CANDIDATE_BLOCK;
        let to = (from + CANDIDATE_BLOCK).min(self.catalogue.nrows());
        let candidates = self.catalogue.slice(s![from..to, ..]);
        let scores = scores.slice_mut(s![.., ..to - from]);
        gemm(self.inverse_temperature, queries.view(), candidates.t(), 0.0, scores);
        from
    }
}

/// Of each row how many products are scored at least as high as its own, and its list where one is wanted.
struct Counts {
    before: Vec<u32>,
    lists: Vec<Option<TopK>>,
}

impl Counts {
    fn add(&mut self, row: usize, from: usize, scores: &[f32], own: Option<f32>) -> Result<()> {
        if let Some(own) = own {
            self.before[row] += count_at_least(scores, own)?;
        }
        if let Some(list) = &mut self.lists[row] {
            list.push_scores(from as u32, scores);
        }
        Ok(())
    }
}
