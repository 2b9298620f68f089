//! Sums of outer products of rows, of which clipping by variable takes norms.

use super::clock::Clock;
use crate::matrix::Matrix;
use ndarray::{ArrayView2, s};

/// Rows of a block of [`add_gram`].
const GRAM_BLOCK: usize = 32;

/// Adds `x^T y`, which must be symmetric, of `x` and `y` `[rows, n]` to what the blocks on and above the diagonal of `into`
/// `[n, n]` hold, or, as the `first`, replaces it; [`complete_gram`] gives the others.
pub(super) fn add_gram([x, y]: [&ArrayView2<'_, f32>; 2], into: &mut Matrix, first: bool, clock: &Clock) {
    let (n, beta) = (x.ncols(), if first { 0.0 } else { 1.0 });
    into.reshape(n, n);
    for from in (0..n).step_by(GRAM_BLOCK) {
        let to = (from + GRAM_BLOCK).min(n);
        let (left, right) = (x.slice(s![.., from..to]), y.slice(s![.., from..]));
        clock.gemm(1.0, left.reversed_axes(), right, beta, into.view_mut().slice_move(s![from..to, from..]));
    }
}

/// Copies what is above the diagonal's blocks of a symmetric matrix to below them.
pub(super) fn complete_gram(gram: &mut Matrix) {
    let n = gram.cols();
    let numbers = gram.as_mut_slice();
    for i in 0..n {
        for j in 0..i / GRAM_BLOCK * GRAM_BLOCK {
            numbers[i * n + j] = numbers[j * n + i];
        }
    }
}
