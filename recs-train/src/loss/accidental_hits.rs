//! Accidental hits: columns that hold a row's own product a second time.
//!
//! As negatives they would push away what the row is to score high. They are left out of the row's sum, as
//! `tf.nn.compute_accidental_hits` and `tfrs.tasks.Retrieval(remove_accidental_hits=True)` do
//! (<https://www.tensorflow.org/recommenders/api_docs/python/tfrs/layers/loss/RemoveAccidentalHits>); sampled softmax has
//! them since Jean et al. 2015 (<https://arxiv.org/abs/1412.2007>).

use super::{Columns, NO_COLUMN};

/// Leaves out of a row's logits what else the step has of its own product.
pub(super) fn leave_out_copies(logits: &mut [f32], own: usize, columns: Columns<'_>) {
    logits[own] -= columns.copies[own].ln();
    others(own, columns).for_each(|other| logits[other] = f32::NEG_INFINITY);
}

/// The other columns with the product of `own`.
pub(super) fn others(own: usize, columns: Columns<'_>) -> impl Iterator<Item = usize> + '_ {
    let next = move |at: usize| columns.same_product.get(at).copied().unwrap_or(NO_COLUMN);
    let is_other = move |at: &u32| *at != NO_COLUMN && *at as usize != own;
    let first = Some(next(own)).filter(is_other);
    std::iter::successors(first, move |&at| Some(next(at as usize)).filter(is_other)).map(|at| at as usize)
}
