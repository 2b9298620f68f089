//! The vectors of an index in f32: what scores are computed from.

use super::{Filter, Hit, check_finite};
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};
use recs_core::artifact::Candidates;
use recs_core::kernel::{TopK, dot_rows, prefetch};
use std::sync::Arc;

/// Vectors that are looked up this far ahead of their product.
const AHEAD: usize = 8;

/// Finite vectors of one width, `[len, dim]`, row-major; own ones, or those of a catalogue.
#[derive(Debug, Clone)]
pub(super) enum Vectors {
    Own(Array2<f32>),
    Shared(Arc<Candidates>),
}

impl Vectors {
    /// Takes vectors.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the candidate, [`Error::Model`] for more than 2^32 - 1 vectors or vectors of width 0.
    pub(super) fn own(vectors: Array2<f32>) -> Result<Self> {
        let vectors =
            if vectors.is_standard_layout() { vectors } else { vectors.as_standard_layout().into_owned() };
        check(&vectors)?;
        Ok(Self::Own(vectors))
    }

    /// Shares those of a catalogue.
    ///
    /// # Errors
    /// As [`Vectors::own`].
    pub(super) fn shared(candidates: Arc<Candidates>) -> Result<Self> {
        if !candidates.vectors.is_standard_layout() {
            return Self::own(candidates.vectors.clone());
        }
        check(&candidates.vectors)?;
        Ok(Self::Shared(candidates))
    }

    fn array(&self) -> &Array2<f32> {
        match self {
            Self::Own(vectors) => vectors,
            Self::Shared(candidates) => &candidates.vectors,
        }
    }

    pub(super) fn view(&self) -> ArrayView2<'_, f32> {
        self.array().view()
    }

    /// All vectors end to end.
    pub(super) fn flat(&self) -> &[f32] {
        self.array().as_slice().unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.array().nrows()
    }

    pub(super) fn dim(&self) -> usize {
        self.array().ncols()
    }

    /// Offers the candidates of a list with their products; those that do not exist are passed over.
    pub(super) fn score(&self, query: &[f32], list: &[u32], best: &mut TopK) {
        let (flat, dim, len) = (self.flat(), self.dim(), self.len());
        let row = |index: u32| &flat[index as usize * dim..][..dim];
        for (i, &index) in list.iter().enumerate() {
            if let Some(&next) = list.get(i + AHEAD).filter(|&&next| (next as usize) < len) {
                prefetch(row(next));
            }
            if (index as usize) < len {
                let mut score = [0.0];
                dot_rows(query, row(index), &mut score);
                best.push(Hit { index, score: score[0] });
            }
        }
    }

    /// Scores what of a list passes the filter, one by one.
    pub(super) fn search_list(&self, query: &[f32], list: &[u32], filter: &Filter, best: &mut TopK) {
        let passing: Vec<u32> = list.iter().copied().filter(|&index| filter.passes(index)).collect();
        self.score(query, &passing, best);
    }
}

fn check(vectors: &Array2<f32>) -> Result<()> {
    if u32::try_from(vectors.nrows()).is_err() {
        return Err(Error::model(format!("{} vectors; an index holds fewer than 2^32", vectors.nrows())));
    }
    if vectors.ncols() == 0 {
        return Err(Error::model("its vectors have no numbers"));
    }
    let mut rows = vectors.rows().into_iter().enumerate();
    rows.try_for_each(|(i, row)| check_finite("candidate", i, row.as_slice().unwrap_or_default()))
}
