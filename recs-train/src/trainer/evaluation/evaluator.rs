//! Rows -> ranks of their products, and lists of their customers.

use super::distinct::DistinctQueries;
use super::fallback::{Fallback, Shares};
use super::known::{Entries, Known};
use super::options::Seen;
use super::report::Evaluation;
use super::score::Both;
use super::served::Served;
use crate::data::{Purchases, TrainData};
use crate::error::Result;
use crate::trainer::repeat::RepeatTerm;
use ndarray::Array2;
use rayon::ThreadPool;
use rayon::prelude::*;
use recs_core::artifact::ModelArtifact;
use recs_core::kernel::{dot, gemm};
use recs_core::metrics::{ListStats, RankSums};
use recs_core::model::{ModelConfig, TowerModel, Weights};
use recs_core::observe::CancelToken;
use recs_core::schema::Tower;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Queries that are scored at a time, and rows that are embedded at a time.
const QUERY_BLOCK: usize = 128;
/// Rows whose scores of the whole catalogue are in memory at a time, of each thread.
const SCORE_BLOCK: usize = 16;

/// Scores rows against a whole catalogue.
#[derive(Debug)]
pub struct Evaluator<'a> {
    pub(crate) data: &'a TrainData,
    /// Position of each row's product in the catalogue, or [`NO_PRODUCT`](crate::data::NO_PRODUCT).
    product: Cow<'a, [u32]>,
    query: TowerModel,
    catalogue: Array2<f32>,
    inverse_temperature: f32,
    pub(super) known: Known<'a>,
    has_history: bool,
    answers_strangers: bool,
    pub(super) fallback: Option<Fallback>,
    pub(super) pool: &'a ThreadPool,
}

/// Ranks of all rows, and counts of the lists.
pub(super) type Ranked = Both<(Vec<Option<u32>>, ListStats)>;

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
        let candidate = TowerModel::new(model, Tower::Candidate, Arc::clone(&weights.candidate))?;
        let catalogue = pool.install(|| candidate.embed(&data.catalogue_columns()))?;
        let known = Known::Rows { purchases: Arc::clone(purchases), repeat: None };
        let product = Cow::Borrowed(&data.product[..]);
        Self::over(data, model, weights, (catalogue, product), known, pool)
    }

    /// Takes the catalogue of a published model, as serving does; `product` gives each row's place in it.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when weights and model do not fit.
    pub(in crate::trainer) fn of_artifact(
        data: &'a TrainData,
        artifact: &ModelArtifact,
        product: Vec<u32>,
        served: Served<'a>,
        pool: &'a ThreadPool,
    ) -> Result<Self> {
        let catalogue = (artifact.candidates.vectors.clone(), Cow::Owned(product));
        Self::over(data, &artifact.config, &artifact.weights, catalogue, Known::Served(served), pool)
    }

    fn over(
        data: &'a TrainData,
        model: &ModelConfig,
        weights: &Weights,
        (catalogue, product): (Array2<f32>, Cow<'a, [u32]>),
        known: Known<'a>,
        pool: &'a ThreadPool,
    ) -> Result<Self> {
        let query = TowerModel::new(model, Tower::Query, Arc::clone(&weights.query))?;
        let (inverse_temperature, has_history) =
            (1.0 / model.temperature, model.schema.widths(Tower::Query).has_history);
        let answers_strangers = !Fallback::is_needed(model);
        let evaluator = Self {
            data,
            product,
            query,
            catalogue,
            inverse_temperature,
            known,
            has_history,
            answers_strangers,
            fallback: None,
            pool,
        };
        Ok(evaluator.with_fallback())
    }

    /// What is served is the towers with the repeat term, and something else for those of whom nothing is known.
    fn with_fallback(mut self) -> Self {
        let is_needed = self.known.has_repeats() && !self.answers_strangers;
        // It follows from the purchases alone: another term has the same.
        self.fallback = is_needed.then(|| self.fallback.unwrap_or_else(|| self.known.fallback(self.data)));
        self
    }

    /// Adds a term for what customers buy again.
    #[must_use]
    pub fn with_repeat(mut self, term: Option<RepeatTerm>) -> Self {
        if let Known::Rows { repeat, .. } = &mut self.known {
            *repeat = term;
        }
        self.with_fallback()
    }

    /// Embeddings of the catalogue. `[products, dim]`
    pub fn catalogue(&self) -> &Array2<f32> {
        &self.catalogue
    }

    /// Evaluates `rows`; the list of a customer is that of their last row among them. Nothing is left out of the
    /// lists. [`Evaluator::report`] says more of the same.
    ///
    /// # Errors
    /// [`recs_core::Error::NonFinite`] for a model that has diverged, [`recs_core::Error::Cancelled`].
    pub fn evaluate(&self, rows: &[u32], cancel: &CancelToken) -> Result<Evaluation> {
        let started = Instant::now();
        let ranked = self.rank(rows, Seen::Keep, cancel)?;
        let of = |(ranks, lists): &(Vec<_>, ListStats)| {
            Evaluation::new(sums(ranks), Some(lists), started.elapsed().as_secs_f64())
        };
        let with_repeat = ranked.with_repeat.as_ref().map(|ranked| Box::new(of(ranked)));
        Ok(Evaluation { with_repeat, ..of(&ranked.towers) })
    }

    /// Rank of each row's product in the whole catalogue, in the order of `rows`: 0 is the best, ties rank it last,
    /// None for a product that the catalogue does not hold. Two models are compared row by row with it. First those of the
    /// towers, then those with the repeat term; without one that is empty.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn ranks(&self, rows: &[u32], cancel: &CancelToken) -> Result<[Vec<Option<u32>>; 2]> {
        let queries = DistinctQueries::of(self.data, rows);
        let parts = self.by_queries(&queries, |rows, groups| {
            cancel.check()?;
            self.block(rows, groups, Seen::Keep, |_| false)
        })?;
        let mut all = [Vec::new(), Vec::new()];
        for part in parts {
            all[0].extend(part.towers.ranks);
            all[1].extend(part.with_repeat.unwrap_or_default().ranks);
        }
        Ok(all.map(|ranks| queries.in_order_of_rows(&ranks)))
    }

    /// Ranks of all rows, in their order, and the lists of their customers.
    pub(super) fn rank(&self, rows: &[u32], seen: Seen, cancel: &CancelToken) -> Result<Ranked> {
        let mut last_row = HashMap::new();
        for &row in rows {
            last_row.insert(self.data.customer[row as usize], row);
        }
        let products = self.catalogue.nrows();
        let empty = || {
            let repeats = self.known.has_repeats().then(|| ListStats::new(products));
            Both { towers: ListStats::new(products), with_repeat: repeats }
        };
        // Counts, which are long, are added in any order: once a thread, and not once a block.
        let lists: Vec<Mutex<Both<ListStats>>> =
            (0..self.pool.current_num_threads()).map(|_| Mutex::new(empty())).collect();
        let queries = DistinctQueries::of(self.data, rows);
        let parts = self.by_queries(&queries, |rows, groups| {
            cancel.check()?;
            let wants_list = |row| last_row.get(&self.data.customer[row as usize]) == Some(&row);
            let Both { towers, with_repeat } = self.block(rows, groups, seen, wants_list)?;
            let own = &lists[rayon::current_thread_index().unwrap_or(0) % lists.len()];
            let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
            let with_repeat = with_repeat.map(|scored| scored.count(own.with_repeat.as_mut()));
            Ok(Both { towers: towers.count(Some(&mut own.towers)), with_repeat })
        })?;
        let mut all = empty();
        for part in lists {
            let part = part.into_inner().unwrap_or_else(PoisonError::into_inner);
            all.towers.merge(&part.towers);
            if let (Some(all), Some(part)) = (&mut all.with_repeat, &part.with_repeat) {
                all.merge(part);
            }
        }
        let towers: Vec<_> = parts.iter().flat_map(|part| part.towers.iter().copied()).collect();
        let repeats: Vec<_> =
            parts.into_iter().flat_map(|part| part.with_repeat.unwrap_or_default()).collect();
        let (towers, repeats) = (queries.in_order_of_rows(&towers), queries.in_order_of_rows(&repeats));
        Ok(Both { towers: (towers, all.towers), with_repeat: all.with_repeat.map(|lists| (repeats, lists)) })
    }

    /// What `each(i, scores)` makes of the scores that all products have for row i of `rows`, in the order of the rows.
    ///
    /// # Errors
    /// [`recs_core::Error::Cancelled`].
    pub(in crate::trainer) fn map_scores<T: Send>(
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

    /// What `each(rows, groups)` makes of blocks of queries, on the pool, in their order.
    fn by_queries<T: Send>(
        &self,
        queries: &DistinctQueries,
        each: impl Fn(&[u32], &[Range<usize>]) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let blocks = queries.groups.par_chunks(QUERY_BLOCK);
        let of = |groups: &[Range<usize>]| {
            let from = groups.first().map_or(0, |group| group.start);
            let to = groups.last().map_or(0, |group| group.end);
            let groups: Vec<_> = groups.iter().map(|group| group.start - from..group.end - from).collect();
            each(&queries.rows[from..to], &groups)
        };
        self.pool.install(|| blocks.map(of).collect())
    }

    /// What `each(first, rows)` makes of blocks of `size` rows, on the pool, put together in the order of the rows.
    pub(super) fn by_blocks<T: Send>(
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
    pub(in crate::trainer) fn served_scores<T: Send>(
        &self,
        rows: &[u32],
        each: impl Fn(usize, &dyn Fn(u32) -> f32) -> T + Sync,
    ) -> Result<Vec<T>> {
        self.by_blocks(rows, QUERY_BLOCK, |first, rows| {
            let mut columns = self.data.query_columns(rows);
            if let (true, Known::Rows { purchases, .. }) = (self.has_history, &self.known) {
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

    /// Position in the catalogue of a row's product, or [`NO_PRODUCT`](crate::data::NO_PRODUCT).
    pub(super) fn product_of(&self, row: u32) -> u32 {
        self.product[row as usize]
    }

    /// What scores are dot products times.
    pub(super) fn inverse_temperature(&self) -> f32 {
        self.inverse_temperature
    }

    /// Embeddings of the queries of some rows.
    pub(super) fn queries(&self, rows: &[u32]) -> Result<Array2<f32>> {
        let mut columns = self.data.query_columns(rows);
        if self.has_history {
            columns.histories = self.known.histories(self.data, rows);
        }
        Ok(self.query.embed(&columns)?)
    }

    /// The scores of a row whose customer nobody knows: one without purchases on other days.
    pub(super) fn shares(&self, row: u32) -> Option<Shares<'_>> {
        let fallback = self.fallback.as_ref()?;
        if !self.known.bought(self.data, row).is_empty() {
            return None;
        }
        let (home, own) = self.known.home(self.data, row);
        Some(fallback.shares(self.data.city[row as usize], home, own))
    }

    /// What the repeat term adds to the products of each row; None without one.
    pub(super) fn repeats(&self, rows: &[u32], queries: &Array2<f32>) -> Option<Vec<Entries>> {
        let of = |(&row, query): (&u32, ndarray::ArrayView1<'_, f32>)| {
            let query = query.to_slice().unwrap_or_default();
            self.known.repeats(self.data, row, |product| self.score_of(query, product))
        };
        self.known.has_repeats().then(|| rows.iter().zip(queries.rows()).map(of).collect())
    }
}

/// In the order of the rows: sums of fractions are then the same whatever the threads.
pub(in crate::trainer) fn sums(ranks: &[Option<u32>]) -> RankSums {
    let mut sums = RankSums::default();
    ranks.iter().for_each(|&rank| sums.push(rank));
    sums
}
