//! One embedding table in a step: its rows are read, multiplied and updated once, however often the batch has them.
//!
//! A history is several rows for each member of the batch, with weights; else a member has one.
//!
//! The first layer of a tower is a sum over the parts of the concatenated features, `x W = sum over tables of e(id) W_t`.
//! So each table's distinct rows are multiplied by their part of the kernel, and rows of the batch add up products. The
//! way back is the same: gradients of equal ids are added before they are multiplied.

use super::clock::Clock;
use super::distinct::Distinct;
use super::grams::Grams;
use super::shared::{Summed, TableGradient};
use crate::dropout::Mask;
use crate::matrix::Matrix;
use crate::optim::{Optimiser, Step};
use ndarray::{ArrayView2, s};
use pulp::Arch;
use recs_core::kernel::{add, add_scaled};
use recs_core::model::{Bags, Histories, Table};
use std::sync::Arc;

/// What a batch reads: of one column of ids, or of its histories.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lookup<'a> {
    /// An id for each member of the batch.
    Ids(&'a [u32]),
    /// Those of the batch, row by row, and which of their products are dropped.
    Histories(&'a Histories, Option<Mask>),
}

/// Whose a table is.
#[derive(Debug, Clone, Default)]
pub(super) enum Sharing {
    /// The part's own.
    #[default]
    Own,
    /// The part's own, and others read it: their gradients with its own.
    Lends(Box<Summed>),
    /// Another part's.
    Borrows,
}

/// A table, and what a batch reads of it.
#[derive(Debug, Clone)]
pub(super) struct TablePart {
    /// Column of ids, None for histories.
    pub(super) column: Option<usize>,
    /// Where its numbers stand in the concatenated features.
    at: usize,
    dim: usize,
    pub(super) sharing: Sharing,
    /// What ids stand for, where they are no rows of the table.
    grams: Option<Box<Grams>>,
    pub(super) distinct: Distinct,
    /// The distinct rows, or what distinct ids stand for. `[distinct, dim]`
    rows: Matrix,
    /// Their products with the kernel; nothing without one. `[distinct, out]`
    products: Matrix,
    is_plain: bool,
    /// Gradients of the first layer's output, summed over equal ids. `[distinct, out]`
    sums: Matrix,
    /// Gradients of the rows. `[distinct, dim]`
    gradient: Matrix,
    /// Gradient of this part of the kernel. `[dim, out]`
    pub(super) d_kernel: Matrix,
    /// Sum of squares of the batch's single gradients, before those of equal ids are added; 0 when nobody asked.
    unsummed_squares: f64,
    scratch: Matrix,
    /// Of histories, offsets and weights of the members.
    offsets: Vec<u32>,
    weights: Vec<f32>,
}

impl TablePart {
    /// A table of `rows` rows of `dim` numbers, which stand at `at` in the concatenated features; looked up by a column of
    /// ids, or by histories.
    pub(super) fn new(column: Option<usize>, at: usize, rows: usize, dim: usize) -> Self {
        Self {
            column,
            at,
            dim,
            sharing: Sharing::Own,
            grams: None,
            distinct: Distinct::new(rows),
            rows: Matrix::default(),
            products: Matrix::default(),
            is_plain: false,
            sums: Matrix::default(),
            gradient: Matrix::default(),
            d_kernel: Matrix::default(),
            unsummed_squares: 0.0,
            scratch: Matrix::default(),
            offsets: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Takes the lists that ids stand for.
    pub(super) fn set_bags(&mut self, bags: Arc<Bags>) {
        let rows = self.distinct.limit();
        self.distinct = Distinct::new(bags.len());
        self.grams = Some(Box::new(Grams::new(bags, rows)));
    }

    /// Rows of the table.
    pub(super) fn table_rows(&self) -> usize {
        self.grams.as_ref().map_or(self.distinct.limit(), |grams| grams.distinct.limit())
    }

    /// Adds to `y` what member `i` of the batch has: the products of its rows with the kernel.
    #[inline(always)]
    pub(super) fn add_to(&self, i: usize, y: &mut [f32]) {
        match self.single(i) {
            Some(product) => add(y, product),
            None => self.add_history(i, y),
        }
    }

    /// What member `i` of the batch has, where that is one row.
    #[inline(always)]
    pub(super) fn single(&self, i: usize) -> Option<&[f32]> {
        self.column.is_some().then(|| self.products().row(self.distinct.slots[i] as usize))
    }

    /// Adds to `y` what member `i` of the batch has in a history, if that is what the part reads.
    #[inline(always)]
    pub(super) fn add_history(&self, i: usize, y: &mut [f32]) {
        if self.column.is_some() {
            return;
        }
        for at in self.offsets[i] as usize..self.offsets[i + 1] as usize {
            add_scaled(y, self.weights[at], self.products().row(self.distinct.slots[at] as usize));
        }
    }

    /// Without a kernel the rows are their own products.
    fn products(&self) -> &Matrix {
        if self.is_plain { &self.rows } else { &self.products }
    }

    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.at..self.at + self.dim
    }

    /// Gradient of the table, to be applied to it: nothing for one that is another part's.
    pub(super) fn gradient(&self) -> TableGradient<'_> {
        match &self.sharing {
            Sharing::Own => self.read_gradient(),
            Sharing::Lends(summed) => TableGradient {
                ids: &summed.distinct.ids,
                values: summed.values.as_slice(),
                unsummed_squares: summed.unsummed_squares,
            },
            Sharing::Borrows => TableGradient { ids: &[], values: &[], unsummed_squares: 0.0 },
        }
    }

    /// Gradient of what this part read of the table.
    pub(super) fn read_gradient(&self) -> TableGradient<'_> {
        let (distinct, gradient) = match &self.grams {
            Some(grams) => (&grams.distinct, &grams.gradient),
            None => (&self.distinct, &self.gradient),
        };
        let (ids, values) = (&distinct.ids[..], gradient.as_slice());
        TableGradient { ids, values, unsummed_squares: self.unsummed_squares }
    }

    /// Finds the distinct rows, and brings them up to date.
    pub(super) fn read(
        &mut self,
        lookup: Lookup<'_>,
        weights: &mut Table,
        optimiser: (&mut dyn Optimiser, &Step),
    ) {
        match lookup {
            Lookup::Ids(ids) => self.distinct.fill(ids.iter().copied()),
            Lookup::Histories(histories, None) => {
                self.distinct.fill(histories.ids.iter().copied());
                self.offsets.clone_from(&histories.offsets);
                self.weights.clone_from(&histories.weights);
            }
            Lookup::Histories(histories, Some(mask)) => self.fill_dropped(histories, mask),
        }
        let weights = weights.as_slice_mut().unwrap_or_default();
        let (state, step) = optimiser;
        let n = self.distinct.ids.len();
        self.rows.reshape(n, self.dim);
        if let Some(grams) = &mut self.grams {
            grams.fill(&self.distinct.ids);
            state.catch_up(weights, &grams.distinct.ids, step);
            grams.pool(&self.distinct.ids, weights, &mut self.rows);
            return;
        }
        state.catch_up(weights, &self.distinct.ids, step);
        for (i, &id) in self.distinct.ids.iter().enumerate() {
            self.rows
                .row_mut(i)
                .copy_from_slice(&weights[id as usize * self.dim..(id as usize + 1) * self.dim]);
        }
    }

    /// Multiplies the rows by their part of the kernel, if there is one.
    pub(super) fn multiply(&mut self, kernel: Option<&ArrayView2<'_, f32>>, clock: &Clock) {
        let n = self.distinct.ids.len();
        self.is_plain = kernel.is_none();
        if let Some(kernel) = kernel {
            self.products.reshape(n, kernel.ncols());
            let kernel = kernel.slice(s![self.range(), ..]);
            clock.gemm(1.0, self.rows.view(), kernel, 0.0, self.products.view_mut());
        }
    }

    /// Takes what a mask leaves of histories.
    fn fill_dropped(&mut self, histories: &Histories, mask: Mask) {
        self.distinct.fill(std::iter::empty());
        self.offsets.clear();
        self.weights.clear();
        self.offsets.push(0);
        for row in 0..histories.rows() {
            let (factor, (ids, weights)) = (mask.row(row), histories.row(row));
            for (at, (&id, &weight)) in ids.iter().zip(weights).enumerate() {
                let factor = factor(at);
                if factor > 0.0 {
                    self.distinct.extend(std::iter::once(id));
                    self.weights.push(weight * factor);
                }
            }
            self.offsets.push(self.weights.len() as u32);
        }
    }

    /// Gradients of rows and kernel from those of the first layer's output, `delta(i)` for member `i` of the batch.
    ///
    /// With `gram`, the sum over the batch of delta delta^T, also [`TablePart::unsummed_squares`]: the sum over the batch of
    /// `|delta W^T|^2` is the trace of `W gram W^T`.
    pub(super) fn backward<'a>(
        &mut self,
        delta: impl Fn(usize) -> &'a [f32],
        kernel: Option<&ArrayView2<'_, f32>>,
        gram: Option<&ArrayView2<'_, f32>>,
        clock: &Clock,
    ) {
        self.rows_backward(delta, kernel, gram, clock);
        if let Some(grams) = &mut self.grams {
            grams.spread(&self.distinct.ids, &self.gradient);
        }
    }

    fn rows_backward<'a>(
        &mut self,
        delta: impl Fn(usize) -> &'a [f32],
        kernel: Option<&ArrayView2<'_, f32>>,
        gram: Option<&ArrayView2<'_, f32>>,
        clock: &Clock,
    ) {
        let n = self.distinct.ids.len();
        self.unsummed_squares = 0.0;
        let Some(kernel) = kernel else {
            self.gradient.reshape(n, self.dim);
            let range = self.range();
            let (gradient, slots) = (&mut self.gradient, &self.distinct.slots);
            sum_by_slot(
                gradient,
                slots,
                self.column.is_none().then_some((&self.offsets, &self.weights)),
                |i| &delta(i)[range.clone()],
            );
            self.unsummed_squares = gram.map_or(0.0, |g| self.range().map(|k| f64::from(g[[k, k]])).sum());
            return;
        };
        let out = kernel.ncols();
        self.sums.reshape(n, out);
        let histories = self.column.is_none().then_some((&self.offsets, &self.weights));
        sum_by_slot(&mut self.sums, &self.distinct.slots, histories, delta);
        let kernel = kernel.slice(s![self.range(), ..]);
        self.d_kernel.reshape(self.dim, out);
        clock.gemm(1.0, self.rows.view().reversed_axes(), self.sums.view(), 0.0, self.d_kernel.view_mut());
        self.gradient.reshape(n, self.dim);
        clock.gemm(1.0, self.sums.view(), kernel.t(), 0.0, self.gradient.view_mut());
        if let Some(gram) = gram {
            self.scratch.reshape(self.dim, out);
            clock.gemm(1.0, kernel, gram.view(), 0.0, self.scratch.view_mut());
            let pairs = kernel.iter().zip(self.scratch.as_slice());
            self.unsummed_squares = pairs.map(|(w, z)| f64::from(*w) * f64::from(*z)).sum::<f64>().max(0.0);
        }
    }
}

/// Sums of the members' gradients, for each row those of the members that have it. Rows have their numbers in the order of
/// their first coming, so whoever comes first writes, and others add.
fn sum_by_slot<'a>(
    sums: &mut Matrix,
    slots: &[u32],
    histories: Option<(&Vec<u32>, &Vec<f32>)>,
    delta: impl Fn(usize) -> &'a [f32],
) {
    let mut written = 0;
    let mut is_first = |slot: u32| {
        let first = slot == written;
        written += u32::from(first);
        first
    };
    Arch::new().dispatch(
        #[inline(always)]
        || match histories {
            None => {
                for (i, &slot) in slots.iter().enumerate() {
                    let sum = sums.row_mut(slot as usize);
                    if is_first(slot) { sum.copy_from_slice(delta(i)) } else { add(sum, delta(i)) }
                }
            }
            Some((offsets, weights)) => {
                for (i, range) in offsets.windows(2).enumerate() {
                    let delta = delta(i);
                    for at in range[0] as usize..range[1] as usize {
                        let (sum, weight) = (sums.row_mut(slots[at] as usize), weights[at]);
                        if is_first(slots[at]) {
                            sum.iter_mut().zip(delta).for_each(|(s, d)| *s = weight * d);
                        } else {
                            add_scaled(sum, weight, delta);
                        }
                    }
                }
            }
        },
    );
}
