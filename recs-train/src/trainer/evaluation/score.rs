//! A block of rows against the whole catalogue, some candidates at a time.

use super::evaluator::Evaluator;
use super::known::Entries;
use super::options::Seen;
use crate::data::NO_PRODUCT;
use crate::error::Result;
use ndarray::{Array2, s};
use recs_core::kernel::{TopK, gemm};
use recs_core::metrics::{ListStats, count_at_least};

const CANDIDATE_BLOCK: usize = 16_384;
/// Length of the lists that coverage and personalisation look at.
const LIST_LENGTH: usize = 100;

/// Something of the towers alone, and with the repeat term where there is one.
#[derive(Debug, Default)]
pub(super) struct Both<T> {
    pub(super) towers: T,
    pub(super) with_repeat: Option<T>,
}

/// Of some rows the ranks of their products, and the lists that were wanted, best first.
#[derive(Debug, Default)]
pub(super) struct Scored {
    pub(super) ranks: Vec<Option<u32>>,
    pub(super) lists: Vec<Vec<u32>>,
}

impl Scored {
    /// Counts the lists; the ranks are left.
    pub(super) fn count(self, lists: Option<&mut ListStats>) -> Vec<Option<u32>> {
        if let Some(stats) = lists {
            self.lists.into_iter().for_each(|list| stats.push(list));
        }
        self.ranks
    }
}

impl Evaluator<'_> {
    /// Scores some rows; `wants_list` says of which the list is wanted. Rows whose own product is removed as seen have no
    /// rank.
    pub(super) fn block(
        &self,
        rows: &[u32],
        seen: Seen,
        wants_list: impl Fn(u32) -> bool,
    ) -> Result<Both<Scored>> {
        let queries = self.queries(rows)?;
        let products = self.catalogue().nrows();
        let mut scores = Array2::zeros((rows.len(), products.min(CANDIDATE_BLOCK)));
        let targets: Vec<u32> = rows.iter().map(|&row| self.product_of(row)).collect();
        let blocks = products.div_ceil(CANDIDATE_BLOCK);
        let own = self.own_scores(&queries, &targets, &mut scores);
        let removed: Vec<Vec<u32>> = rows.iter().map(|&row| self.removed(row, seen)).collect();
        let counts = || Counts::new(rows.iter().map(|&row| wants_list(row)));
        let (mut towers, repeats) = (counts(), self.repeats(rows, &queries));
        let mut with_repeat = repeats.as_ref().map(|_| counts());
        for block in 0..blocks {
            let from = if blocks == 1 { 0 } else { self.score(&queries, block, &mut scores) };
            let width = (products - from).min(CANDIDATE_BLOCK);
            for (i, mut row) in scores.rows_mut().into_iter().enumerate() {
                let mut row = row.slice_mut(s![..width]);
                let row = row.as_slice_mut().unwrap_or_default();
                towers.count(i, row, own[i])?;
                towers.before[i] -= remove(&removed[i], from, row, own[i]);
                towers.list(i, from, row);
                if let (Some(repeats), Some(counts)) = (&repeats, &mut with_repeat) {
                    let added = add(&repeats[i], from, row, targets[i]);
                    counts.count(i, row, own[i].map(|own| own + added))?;
                    counts.list(i, from, row);
                }
            }
        }
        let finish = |counts: Counts| counts.finish(&targets, &removed);
        Ok(Both { towers: finish(towers), with_repeat: with_repeat.map(finish) })
    }

    /// The scores of the rows' own products. They come from the same product of matrices as all scores, so that a target
    /// always ties with itself; scores of a catalogue of one block are those of `scores` afterwards.
    fn own_scores(
        &self,
        queries: &Array2<f32>,
        targets: &[u32],
        scores: &mut Array2<f32>,
    ) -> Vec<Option<f32>> {
        let mut own = vec![None; targets.len()];
        for block in 0..self.catalogue().nrows().div_ceil(CANDIDATE_BLOCK) {
            let from = self.score(queries, block, scores);
            for (i, own) in own.iter_mut().enumerate() {
                if let Some(at) = place(targets[i], from) {
                    *own = scores.get((i, at)).copied().or(*own);
                }
            }
        }
        own
    }

    /// Products that are taken out of the ranking of a row, ascending.
    fn removed(&self, row: u32, seen: Seen) -> Vec<u32> {
        match seen {
            Seen::Keep => Vec::new(),
            Seen::Remove => self.known.bought(self.data, row).into_iter().map(|bought| bought.0).collect(),
        }
    }

    /// Scores of a block of candidates; gives the block's first candidate.
    fn score(&self, queries: &Array2<f32>, block: usize, scores: &mut Array2<f32>) -> usize {
        let from = block * CANDIDATE_BLOCK;
        let to = (from + CANDIDATE_BLOCK).min(self.catalogue().nrows());
        let candidates = self.catalogue().slice(s![from..to, ..]);
        let scores = scores.slice_mut(s![.., ..to - from]);
        gemm(self.inverse_temperature(), queries.view(), candidates.t(), 0.0, scores);
        from
    }
}

/// Place of a product among the candidates from `from` on.
fn place(product: u32, from: usize) -> Option<usize> {
    (product as usize).checked_sub(from)
}

/// Gives products the lowest score there is; gives how many of them were scored at least as high as the row's own.
fn remove(products: &[u32], from: usize, scores: &mut [f32], own: Option<f32>) -> u32 {
    let mut before = 0;
    for &product in products {
        if let Some(score) = place(product, from).and_then(|at| scores.get_mut(at)) {
            before += u32::from(own.is_some_and(|own| *score >= own));
            *score = f32::MIN;
        }
    }
    before
}

/// Adds a row's repeat terms to its scores; gives what its own product gets, in whichever block that is.
fn add(entries: &Entries, from: usize, scores: &mut [f32], target: u32) -> f32 {
    let mut own = 0.0;
    for &(product, value) in entries {
        own += if product == target { value } else { 0.0 };
        if let Some(score) = place(product, from).and_then(|at| scores.get_mut(at)) {
            *score += value;
        }
    }
    own
}

/// Of each row how many products are scored at least as high as its own, and its list where one is wanted.
struct Counts {
    before: Vec<u32>,
    lists: Vec<Option<TopK>>,
}

impl Counts {
    fn new(wants_list: impl Iterator<Item = bool>) -> Self {
        let lists: Vec<_> = wants_list.map(|wanted| wanted.then(|| TopK::new(LIST_LENGTH))).collect();
        Self { before: vec![0; lists.len()], lists }
    }

    fn count(&mut self, row: usize, scores: &[f32], own: Option<f32>) -> Result<()> {
        if let Some(own) = own {
            self.before[row] += count_at_least(scores, own)?;
        }
        Ok(())
    }

    fn list(&mut self, row: usize, from: usize, scores: &[f32]) {
        if let Some(list) = &mut self.lists[row] {
            list.push_scores(from as u32, scores);
        }
    }

    fn finish(mut self, targets: &[u32], removed: &[Vec<u32>]) -> Scored {
        let is_removed = |product: u32, removed: &[u32]| removed.binary_search(&product).is_ok();
        let rank = |(i, &target): (usize, &u32)| {
            let is_ranked = target != NO_PRODUCT && !is_removed(target, &removed[i]);
            is_ranked.then(|| self.before[i] - 1)
        };
        // What was removed is at the end of a list that would be shorter otherwise.
        let list = |(list, removed): (&mut Option<TopK>, &Vec<u32>)| {
            let hits = list.as_mut()?.take_sorted().into_iter().map(|hit| hit.index);
            Some(hits.filter(|&product| !is_removed(product, removed)).collect())
        };
        let ranks = targets.iter().enumerate().map(rank).collect();
        Scored { ranks, lists: self.lists.iter_mut().zip(removed).filter_map(list).collect() }
    }
}
