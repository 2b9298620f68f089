//! Row-major numbers whose room is kept from step to step.

use crate::aligned::Aligned;
use ndarray::{ArrayView2, ArrayViewMut2};
use pulp::Arch;
use std::ops::Range;

/// A matrix that changes its shape without giving memory back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matrix {
    numbers: Aligned,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// Takes another shape; what the numbers are is left open.
    pub(crate) fn reshape(&mut self, rows: usize, cols: usize) {
        (self.rows, self.cols) = (rows, cols);
        self.numbers.at_least(rows * cols);
    }

    /// Takes rows divided by a number each.
    pub(crate) fn divide_rows(&mut self, rows: &ArrayView2<'_, f32>, by: &[f32]) {
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
    pub(crate) fn narrow(&mut self, cols: usize) {
        for row in 1..self.rows {
            self.numbers.copy_within(row * self.cols..row * self.cols + cols, row * cols);
        }
        self.cols = cols;
    }

    /// Keeps the first rows only.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        &self.numbers[..self.rows * self.cols]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.numbers[..self.rows * self.cols]
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.cols..(row + 1) * self.cols]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.numbers[row * self.cols..(row + 1) * self.cols]
    }

    /// Some rows, as one slice.
    pub(crate) fn run(&self, rows: Range<usize>) -> &[f32] {
        &self.numbers[rows.start * self.cols..rows.end * self.cols]
    }

    pub(crate) fn run_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        &mut self.numbers[rows.start * self.cols..rows.end * self.cols]
    }

    /// Some rows.
    pub(crate) fn rows_view(&self, rows: Range<usize>) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((rows.len(), self.cols), self.run(rows)).expect("rows x cols numbers")
    }

    pub(crate) fn rows_view_mut(&mut self, rows: Range<usize>) -> ArrayViewMut2<'_, f32> {
        let shape = (rows.len(), self.cols);
        ArrayViewMut2::from_shape(shape, self.run_mut(rows)).expect("rows x cols numbers")
    }

    pub(crate) fn view(&self) -> ArrayView2<'_, f32> {
        ArrayView2::from_shape((self.rows, self.cols), self.as_slice()).expect("rows x cols numbers")
    }

    pub(crate) fn view_mut(&mut self) -> ArrayViewMut2<'_, f32> {
        let shape = (self.rows, self.cols);
        ArrayViewMut2::from_shape(shape, self.as_mut_slice()).expect("rows x cols numbers")
    }
}
