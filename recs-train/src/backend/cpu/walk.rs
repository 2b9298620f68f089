//! The way back through the layers of a tower.

use super::clock::Clock;
use super::pass::{Pass, Through};
use crate::matrix::Matrix;
use ndarray::{ArrayView2, ArrayViewMut2};
use pulp::Arch;
use recs_core::model::l2_normalise_gradient;
use std::ops::Range;

/// Rows that go through all layers before the next ones do: what the layers make of them stays in the second-level cache.
const BLOCK: usize = 128;

/// Some rows in blocks; of none one empty block.
pub(super) fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows.max(1)).step_by(BLOCK).map(move |from| from..(from + BLOCK).min(rows))
}

/// What the forward pass left of each row of a gradient.
pub(super) struct Trace<N, L> {
    /// The embedding of a row by its length, and what it was multiplied by for that.
    pub(super) normalised: N,
    /// A row of a level, or its slopes.
    pub(super) of_level: L,
}

/// Gradients on their way back; rooms are kept from step to step.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    /// Of the embeddings; after [`walk_back`] of what the first level was made of, if that was to be kept. `[rows, dim]`
    pub(super) d: Matrix,
    end: Matrix,
    /// Of a block of rows, behind and before a layer between.
    between: [Matrix; 2],
}

/// Carries gradients from the embeddings back to what the first level was made of. `at_layer` sees those of each layer's
/// output, `at_end` the last ones, block by block of the rows. Without `keep` those are gone afterwards.
pub(super) fn walk_back<'a>(
    pass: Pass<'_>,
    Way { d, end, between }: &mut Way,
    keep: bool,
    Trace { normalised, of_level }: Trace<
        impl Fn(usize) -> (&'a [f32], f32),
        impl Fn(Through, usize, usize) -> &'a [f32],
    >,
    mut at_layer: impl FnMut(usize, Range<usize>, ArrayView2<'_, f32>),
    mut at_end: impl FnMut(Range<usize>, ArrayView2<'_, f32>),
    clock: &Clock,
) {
    let layers = &pass.folded.layers;
    let moves = (0..layers.len()).any(|i| pass.below(i).is_some());
    let slopes = |level: usize, row: usize| of_level(pass.through(level), level, row);
    for range in blocks(d.rows()) {
        if pass.config.l2_normalise {
            through_normalisation(d, range.clone(), &normalised);
        }
        if !moves {
            if layers.is_empty() {
                back(pass.through(0), d.rows_view_mut(range.clone()), |i| slopes(0, range.start + i));
            } else {
                at_layer(0, range.clone(), d.rows_view(range.clone()));
            }
            at_end(range.clone(), d.rows_view(range));
            continue;
        }
        let (mut is_last, at) = (true, if keep { range.clone() } else { 0..range.len() });
        for (i, layer) in layers.iter().enumerate().rev() {
            let Some(level) = pass.below(i) else {
                at_layer(i, range.clone(), end.rows_view(at.clone()));
                continue;
            };
            let ([above, below], width) = (&mut *between, layer.kernel.nrows());
            let x = if is_last { d.rows_view(range.clone()) } else { above.view() };
            at_layer(i, range.clone(), x);
            let mut y = if level == 0 {
                end.reshape(if keep { d.rows() } else { range.len() }, width);
                end.rows_view_mut(at.clone())
            } else {
                below.reshape(range.len(), width);
                below.view_mut()
            };
            clock.gemm(1.0, x, pass.folded.turned(i), 0.0, y.view_mut());
            back(pass.through(level), y, |i| slopes(level, range.start + i));
            between.swap(0, 1);
            is_last = false;
        }
        at_end(range, end.rows_view(at));
    }
    if moves {
        std::mem::swap(d, end);
    }
}

/// Gradient of rows from that of the same by their length; `of` gives each row by its length, and 1 / length.
fn through_normalisation<'a>(d: &mut Matrix, rows: Range<usize>, of: impl Fn(usize) -> (&'a [f32], f32)) {
    for i in rows {
        let (y, inverse) = of(i);
        l2_normalise_gradient(d.row_mut(i), y, inverse);
    }
}

/// Gradient of what a level was made of from that of the level; `of` gives each row of the level, or its slopes.
fn back<'a>(through: Through, mut d: ArrayViewMut2<'_, f32>, of: impl Fn(usize) -> &'a [f32]) {
    let width = d.ncols().max(1);
    let rows = d.as_slice_mut().unwrap_or_default().chunks_exact_mut(width).enumerate();
    let arch = Arch::new();
    match through {
        Through::Nothing => {}
        Through::Sign => arch.dispatch(
            #[inline(always)]
            || {
                for (i, d) in rows {
                    d.iter_mut().zip(of(i)).for_each(|(d, &x)| *d = if x > 0.0 { *d } else { 0.0 });
                }
            },
        ),
        Through::Slopes => arch.dispatch(
            #[inline(always)]
            || {
                for (i, d) in rows {
                    d.iter_mut().zip(of(i)).for_each(|(d, slope)| *d *= slope);
                }
            },
        ),
    }
}
