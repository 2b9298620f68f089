//! Row-major numbers whose room is kept from step to step.

use super::clock::Clock;
use ndarray::{ArrayView2, ArrayViewMut2, s};

/// A matrix that changes its shape without giving memory back.
#[derive(Debug, Clone, Default)]
pub(super) struct Matrix {
    numbers: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// Takes another shape; what the numbers are is left open.
    pub(super) fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        if self.numbers.len() < rows * cols {
            self.numbers.resize(rows * cols, 0.0);
        }
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

    pub(super) fn view(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.rows, self.cols), self.as_slice()).expect("rows x cols numbers")
    }

    pub(super) fn view_mut(&mut self) -> ArrayViewMut2<'_, f32> {
        let shape = (self.rows, self.cols);
        ArrayViewMut2::from_shape(shape, self.as_mut_slice()).expect("rows x cols numbers")
    }
}

/// Rows of a block of [`gram`].
const GRAM_BLOCK: usize = 32;

/// `x^T x` of `x` `[rows, n]`: the blocks on and above the diagonal are computed, the others are copies.
pub(super) fn gram(x: &Matrix, into: &mut Matrix, clock: &Clock) {
    let n = x.cols;
    into.reshape(n, n);
    for from in (0..n).step_by(GRAM_BLOCK) {
        let to = (from + GRAM_BLOCK).min(n);
        let (left, right) = (x.view().slice_move(s![.., from..to]), x.view().slice_move(s![.., from..]));
        clock.gemm(1.0, left.reversed_axes(), right, 0.0, into.view_mut().slice_move(s![from..to, from..]));
        for i in to..n {
            for j in from..to {
                into.numbers[i * n + j] = into.numbers[j * n + i];
            }
        }
    }
}
