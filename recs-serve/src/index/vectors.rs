//! The vectors of an index in f32: what scores are computed from.

use super::{Hit, check_finite};
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};
use recs_core::artifact::Candidates;
use recs_core::kernel::{TopK, dot_picked};
use std::sync::Arc;

/// Products between two looks at the selection.
const AT_ONCE: usize = 1024;

/// Finite vectors of one width, `[len, dim]`, row-major; own ones, or those of a catalogue.
#[derive(Debug, Clone)]
pub(super) enum Vectors {
    Own(Arc<Array2<f32>>),
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
        Ok(Self::Own(Arc::new(vectors)))
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

    /// Offers candidates with their products; `scores` is working memory.
    pub(super) fn score(&self, query: &[f32], picked: &[u32], scores: &mut Vec<f32>, best: &mut TopK) {
        for picked in picked.chunks(AT_ONCE) {
            scores.resize(picked.len(), 0.0);
            dot_picked(query, self.flat(), picked, scores);
            for (&index, &score) in picked.iter().zip(scores.iter()) {
                best.push(Hit { index, score });
            }
        }
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
