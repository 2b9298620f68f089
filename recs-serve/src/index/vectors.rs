//! The vectors of an index in f32: what scores are computed from.

use super::{Hit, check_finite};
use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};
use recs_core::artifact::Candidates;
use recs_core::kernel::{TopK, dot_picked};
use recs_core::slab::Slab;
use std::sync::Arc;

/// Products between two looks at the selection.
const AT_ONCE: usize = 1024;

/// Finite vectors of one width, `[len, dim]`, row-major: own ones, or shared with a catalogue. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Vectors {
    numbers: Slab<f32>,
    dim: usize,
}

impl Vectors {
    /// Takes vectors.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the candidate, [`Error::Model`] for more than 2^32 - 1 vectors or vectors of width 0.
    pub(super) fn own(vectors: Array2<f32>) -> Result<Self> {
        let dim = vectors.ncols();
        Self::of_slab(vectors.into_shared().into(), dim)
    }

    /// Shares those of a catalogue.
    ///
    /// # Errors
    /// As [`Vectors::own`].
    pub(super) fn shared(candidates: Arc<Candidates>) -> Result<Self> {
        if !candidates.vectors.is_standard_layout() {
            return Self::own(candidates.vectors.clone());
        }
        let dim = candidates.vectors.ncols();
        let bytes = bytes::Bytes::from_owner(OfCandidates(candidates));
        let numbers = Slab::of_bytes(bytes).ok_or_else(|| Error::model("its vectors lie across numbers"))?;
        Self::of_slab(numbers, dim)
    }

    /// Shares vectors end to end.
    ///
    /// # Errors
    /// As [`Vectors::own`].
    pub(super) fn of_slab(numbers: Slab<f32>, dim: usize) -> Result<Self> {
        if dim == 0 {
            return Err(Error::model("its vectors have no numbers"));
        }
        let len = numbers.len() / dim;
        if u32::try_from(len).is_err() {
            return Err(Error::model(format!("{len} vectors; an index holds fewer than 2^32")));
        }
        let mut rows = numbers.chunks_exact(dim).enumerate();
        rows.try_for_each(|(i, row)| check_finite("candidate", i, row))?;
        Ok(Self { numbers, dim })
    }

    pub(super) fn view(&self) -> ArrayView2<'_, f32> {
        let shape = (self.len(), self.dim);
        // There are so many numbers.
        ArrayView2::from_shape(shape, self.flat()).unwrap_or_else(|_| ArrayView2::from(&[[0.0; 0]; 0]))
    }

    /// All vectors end to end.
    pub(super) fn flat(&self) -> &[f32] {
        &self.numbers
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len() / self.dim
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
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

/// Lends the vectors of a catalogue.
struct OfCandidates(Arc<Candidates>);

impl AsRef<[u8]> for OfCandidates {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self.0.vectors.as_slice().unwrap_or_default())
    }
}
