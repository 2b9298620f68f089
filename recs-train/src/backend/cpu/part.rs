//! One embedding table in a step: its rows are read, multiplied and updated once, however often the batch has them.
//!
//! The first layer of a tower is a sum over the parts of the concatenated features, `x W = sum over tables of e(id) W_t`.
//! So each table's distinct rows are multiplied by their part of the kernel, and rows of the batch add up products. The
//! way back is the same: gradients of equal ids are added before they are multiplied.

use super::clock::Clock;
use super::distinct::Distinct;
use super::matrix::{Matrix, add};
use crate::optim::{Optimiser, Step};
use ndarray::{Array2, ArrayView2, s};
use pulp::Arch;

/// A table, and what a batch reads of it.
#[derive(Debug, Clone)]
pub(super) struct TablePart {
    /// Which table of the tower.
    table: usize,
    /// Where its numbers stand in the concatenated features.
    at: usize,
    dim: usize,
    pub(super) distinct: Distinct,
    /// The distinct rows. `[distinct, dim]`
    rows: Matrix,
    /// Their products with the kernel. `[distinct, out]`
    products: Matrix,
    /// Gradients of the first layer's output, summed over equal ids. `[distinct, out]`
    sums: Matrix,
    /// Gradients of the rows. `[distinct, dim]`
    pub(super) gradient: Matrix,
    /// Gradient of this part of the kernel. `[dim, out]`
    pub(super) d_kernel: Matrix,
    /// Sum of squares of the batch's single gradients, before those of equal ids are added; 0 when nobody asked.
    pub(super) unsummed_squares: f64,
    scratch: Matrix,
}

impl TablePart {
    /// Table number `table` of its tower, `rows` rows of `dim` numbers, which stand at `at` in the concatenated features.
    pub(super) fn new(table: usize, at: usize, rows: usize, dim: usize) -> Self {
        Self {
            table,
            at,
            dim,
            distinct: Distinct::new(rows),
            rows: Matrix::default(),
            products: Matrix::default(),
            sums: Matrix::default(),
            gradient: Matrix::default(),
            d_kernel: Matrix::default(),
            unsummed_squares: 0.0,
            scratch: Matrix::default(),
        }
    }

    /// Product with the kernel of the row that member `i` of the batch has.
    pub(super) fn product(&self, i: usize) -> &[f32] {
        self.products.row(self.distinct.slots[i] as usize)
    }

    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.at..self.at + self.dim
    }

    /// Finds the distinct rows, brings them up to date and multiplies them. `ids` are those of all tables, row by row.
    pub(super) fn forward(
        &mut self,
        ids: &[u32],
        tables: usize,
        batch: &[u32],
        weights: &mut Array2<f32>,
        optimiser: (&mut dyn Optimiser, &Step),
        kernel: &ArrayView2<'_, f32>,
        clock: &Clock,
    ) {
        let table = self.table;
        self.distinct.fill(batch.iter().map(|&row| ids[row as usize * tables + table]));
        let weights = weights.as_slice_mut().unwrap_or_default();
        let (state, step) = optimiser;
        state.catch_up(weights, &self.distinct.ids, step);
        let n = self.distinct.ids.len();
        self.rows.reshape(n, self.dim);
        for (i, &id) in self.distinct.ids.iter().enumerate() {
            self.rows
                .row_mut(i)
                .copy_from_slice(&weights[id as usize * self.dim..(id as usize + 1) * self.dim]);
        }
        self.products.reshape(n, kernel.ncols());
        let kernel = kernel.slice(s![self.range(), ..]);
        clock.gemm(1.0, self.rows.view(), kernel, 0.0, self.products.view_mut());
    }

    /// Gradients of rows and kernel from those of the first layer's output, `delta(i)` for member `i` of the batch.
    ///
    /// With `gram`, the sum over the batch of delta delta^T, also [`TablePart::unsummed_squares`]: the sum over the batch of
    /// `|delta W^T|^2` is the trace of `W gram W^T`.
    pub(super) fn backward<'a>(
        &mut self,
        delta: impl Fn(usize) -> &'a [f32],
        kernel: &ArrayView2<'_, f32>,
        gram: Option<&ArrayView2<'_, f32>>,
        clock: &Clock,
    ) {
        let (n, out) = (self.distinct.ids.len(), kernel.ncols());
        self.sums.reshape_zero(n, out);
        let (sums, slots) = (&mut self.sums, &self.distinct.slots);
        Arch::new().dispatch(
            #[inline(always)]
            || slots.iter().enumerate().for_each(|(i, &slot)| add(sums.row_mut(slot as usize), delta(i))),
        );
        let kernel = kernel.slice(s![self.range(), ..]);
        self.d_kernel.reshape(self.dim, out);
        clock.gemm(1.0, self.rows.view().reversed_axes(), self.sums.view(), 0.0, self.d_kernel.view_mut());
        self.gradient.reshape(n, self.dim);
        clock.gemm(1.0, self.sums.view(), kernel.t(), 0.0, self.gradient.view_mut());
        self.unsummed_squares = 0.0;
        if let Some(gram) = gram {
            self.scratch.reshape(self.dim, out);
            clock.gemm(1.0, kernel, gram.view(), 0.0, self.scratch.view_mut());
            let pairs = kernel.iter().zip(self.scratch.as_slice());
            self.unsummed_squares = pairs.map(|(w, z)| f64::from(*w) * f64::from(*z)).sum::<f64>().max(0.0);
        }
    }
}
