//! Row-major numbers whose room is kept from step to step.

use ndarray::{ArrayView2, ArrayViewMut2};

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

    /// Takes another shape, all zero.
    pub(super) fn reshape_zero(&mut self, rows: usize, cols: usize) {
        self.reshape(rows, cols);
        self.as_mut_slice().fill(0.0);
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
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

/// Adds `x` to `y`, number by number.
#[inline(always)]
pub(super) fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Adds `factor * x` to `y`, number by number.
#[inline(always)]
pub(super) fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}
