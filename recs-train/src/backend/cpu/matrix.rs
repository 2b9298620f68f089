//! Row-major numbers whose room is kept from step to step.

use super::clock::Clock;
use crate::aligned::Aligned;
use ndarray::{ArrayView2, ArrayViewMut2, s};
use pulp::Arch;
use std::ops::Range;

/// A matrix that changes its shape without giving memory back.
#[derive(Debug, Clone, Default)]
pub(super) struct Matrix {
    numbers: Aligned,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// Takes another shape; what the numbers are is left open.
    pub(super) fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        self.numbers.at_least(rows * cols);
    }

    /// Takes rows divided by a number each.
    pub(super) fn divide_rows(&mut self, rows: &ArrayView2<'_, f32>, by: &[f32]) {
        let (n, cols) = rows.dim();
        self.reshape(n, cols);
        let from = rows.as_slice().unwrap_or_default().chunks_exact(cols.max(1));
        let to = self.as_mut_slice().chunks_exact_mut(cols.max(1));
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((to, from), by) in to.zip(from).zip(by) {
                    let factor = 1.0 / by;
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = factor * from);
                }
            },
        );
    }

    /// Keeps the first columns only.
    pub(super) fn narrow(&mut self, cols: usize) {
        for row in 1..self.rows {
            self.numbers.copy_within(row * self.cols..row * self.cols + cols, row * cols);
        }
        self.cols = cols;
    }

    /// Keeps the first rows only.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.numbers[..self.rows * self.cols]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.numbers[..self.rows * self.cols]
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.cols..(row + 1) * self.cols]
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.numbers[row * self.cols..(row + 1) * self.cols]
    }

    /// Some rows, as one slice.
    pub(super) fn run(&self, rows: Range<usize>) -> &[f32] {
        &self.numbers[rows.start * self.cols..rows.end * self.cols]
    }

    pub(super) fn run_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        &mut self.numbers[rows.start * self.cols..rows.end * self.cols]
    }

    /// Some rows.
    pub(super) fn rows_view(&self, rows: Range<usize>) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((rows.len(), self.cols), self.run(rows)).expect("rows x cols numbers")
    }

    pub(super) fn rows_view_mut(&mut self, rows: Range<usize>) -> ArrayViewMut2<'_, f32> {
        let shape = (rows.len(), self.cols);
        ArrayViewMut2::from_shape(shape, self.run_mut(rows)).expect("rows x cols numbers")
    }

    pub(super) fn view(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.rows, self.cols), self.as_slice()).expect("rows x cols numbers")
    }

    pub(super) fn view_mut(&mut self) -> ArrayViewMut2<'_, f32> {
        let shape = (self.rows, self.cols);
        ArrayViewMut2::from_shape(shape, self.as_mut_slice()).expect("rows x cols numbers")
    }
}

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
    let n = gram.cols;
    for i in 0..n {
        for j in 0..i / GRAM_BLOCK * GRAM_BLOCK {
            gram.numbers[i * n + j] = gram.numbers[j * n + i];
        }
    }
}
