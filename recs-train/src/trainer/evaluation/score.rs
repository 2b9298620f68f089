//! A block of rows against the whole catalogue, some candidates at a time.

use super::evaluator::Evaluator;
use super::known::Entries;
use super::options::Seen;
use crate::data::NO_PRODUCT;
use crate::error::Result;
use ndarray::{Array2, s};
use recs_core::kernel::{TopK, gemm};
use recs_core::metrics::{ListStats, count_at_least};
use std::ops::Range;

const CANDIDATE_BLOCK: usize = 16_384;
/// Length of the lists that coverage and personalisation look at.
pub(crate) const LIST_LENGTH: usize = 100;

/// Something of the towers alone, and with the repeat term where there is one.
#[derive(Debug, Default)]
pub(crate) struct Both<T> {
    pub(crate) towers: T,
    pub(crate) with_repeat: Option<T>,
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
    /// Scores some rows, those of each group having the same query; `wants_list` says of which the list is wanted. Rows
    /// whose own product is removed as seen have no rank.
    pub(super) fn block(
        &self,
        rows: &[u32],
        groups: &[Range<usize>],
        seen: Seen,
        wants_list: impl Fn(u32) -> bool,
    ) -> Result<Both<Scored>> {
        let askers: Vec<u32> = groups.iter().map(|group| rows[group.start]).collect();
        let queries = self.queries(&askers)?;
        let products = self.catalogue().nrows();
        let mut scores = Array2::zeros((askers.len(), products.min(CANDIDATE_BLOCK)));
        let targets: Vec<u32> = rows.iter().map(|&row| self.product_of(row)).collect();
        let blocks = products.div_ceil(CANDIDATE_BLOCK);
        let own = self.own_scores(&queries, groups, &targets, &mut scores);
        let removed: Vec<Vec<u32>> = askers.iter().map(|&row| self.removed(row, seen)).collect();
        let counts = || Counts::new(rows.iter().map(|&row| wants_list(row)));
        let (mut towers, repeats) = (counts(), self.repeats(&askers, &queries));
        let mut with_repeat = repeats.as_ref().map(|_| counts());
        let shares: Vec<_> = askers.iter().map(|&row| self.shares(row)).collect();
        for block in 0..blocks {
            let from = if blocks == 1 { 0 } else { self.score(&queries, block, &mut scores) };
            let width = (products - from).min(CANDIDATE_BLOCK);
            for ((group, mut row), at) in groups.iter().zip(scores.rows_mut()).zip(0..) {
                let at: usize = at;
                let mut row = row.slice_mut(s![..width]);
                let row = row.as_slice_mut().unwrap_or_default();
                for i in group.clone() {
                    towers.count(i, row, own[i])?;
                    towers.before[i] -= removed_before(&removed[at], from, row, own[i]);
                }
                remove(&removed[at], from, row);
                group.clone().for_each(|i| towers.list(i, from, row));
                if let (Some(repeats), Some(counts)) = (&repeats, &mut with_repeat) {
                    match &shares[at] {
                        Some(shares) => shares.fill(from, row),
                        None => add(&repeats[at], from, row),
                    }
                    for i in group.clone() {
                        let added = |own| own + added_to(&repeats[at], targets[i]);
                        let own =
                            shares[at].as_ref().map_or(own[i].map(added), |shares| shares.score(targets[i]));
                        counts.count(i, row, own)?;
                        counts.list(i, from, row);
                    }
                }
            }
        }
        let finish = |counts: Counts| counts.finish(&targets, groups, &removed);
        Ok(Both { towers: finish(towers), with_repeat: with_repeat.map(finish) })
    }

    /// The scores of the rows' own products. They come from the same product of matrices as all scores, so that a target
    /// always ties with itself; scores of a catalogue of one block are those of `scores` afterwards.
    fn own_scores(
        &self,
        queries: &Array2<f32>,
        groups: &[Range<usize>],
        targets: &[u32],
        scores: &mut Array2<f32>,
    ) -> Vec<Option<f32>> {
        let mut own = vec![None; targets.len()];
        for block in 0..self.catalogue().nrows().div_ceil(CANDIDATE_BLOCK) {
            let from = self.score(queries, block, scores);
            for (query, group) in groups.iter().enumerate() {
                for i in group.clone() {
                    if let Some(at) = place(targets[i], from) {
                        own[i] = scores.get((query, at)).copied().or(own[i]);
                    }
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

/// How many of the products are scored at least as high as a row's own.
fn removed_before(products: &[u32], from: usize, scores: &[f32], own: Option<f32>) -> u32 {
    let Some(own) = own else { return 0 };
    let scores = products.iter().filter_map(|&product| scores.get(place(product, from)?));
    scores.filter(|&&score| score >= own).count() as u32
}

/// Gives products the lowest score there is.
fn remove(products: &[u32], from: usize, scores: &mut [f32]) {
    for &product in products {
        if let Some(score) = place(product, from).and_then(|at| scores.get_mut(at)) {
            *score = f32::MIN;
        }
    }
}

/// Adds a query's repeat terms to its scores.
fn add(entries: &Entries, from: usize, scores: &mut [f32]) {
    for &(product, value) in entries {
        if let Some(score) = place(product, from).and_then(|at| scores.get_mut(at)) {
            *score += value;
        }
    }
}

/// What a product gets of them.
fn added_to(entries: &Entries, product: u32) -> f32 {
    entries.iter().find(|entry| entry.0 == product).map_or(0.0, |entry| entry.1)
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

    fn finish(mut self, targets: &[u32], groups: &[Range<usize>], removed: &[Vec<u32>]) -> Scored {
        let mut scored = Scored::default();
        for (group, removed) in groups.iter().zip(removed) {
            let is_removed = |product: u32| removed.binary_search(&product).is_ok();
            for i in group.clone() {
                let is_ranked = targets[i] != NO_PRODUCT && !is_removed(targets[i]);
                scored.ranks.push(is_ranked.then(|| self.before[i] - 1));
                // What was removed is at the end of a list that would be shorter otherwise.
                if let Some(list) = &mut self.lists[i] {
                    let hits = list.take_sorted().into_iter().map(|hit| hit.index);
                    scored.lists.push(hits.filter(|&product| !is_removed(product)).collect());
                }
            }
        }
        scored
    }
}
