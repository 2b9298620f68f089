//! A run of rows of a tower: everything behind the tables, on one thread.

use super::clock::Clock;
use super::gram::add_gram;
use super::part::TablePart;
use super::pass::{Pass, Through};
use super::walk::{Trace, Way, blocks, walk_back};
use crate::matrix::Matrix;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2};
use pulp::Arch;
use recs_core::kernel::{add, sum_rows};
use recs_core::model::{Dense, l2_normalise};
use std::ops::Range;

/// Activations and gradients of a run of rows. Rooms are kept from step to step.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    /// The number columns. `[rows, numbers]`
    numbers: Matrix,
    /// The levels: output of each layer, after activation and dropout, see [`Pass`]. `[rows, out]`
    outputs: Vec<Matrix>,
    /// Slopes of those that ask for it.
    slopes: Vec<Matrix>,
    /// Embeddings with a bias, or its counterpart, at the end. `[rows, dim]`
    with_tail: Matrix,
    /// Gradient of what embeddings end with. `[rows, 1]`
    pub(super) d_tail: Matrix,
    inverse_norms: Vec<f32>,
    /// Gradients of the embeddings; after [`Chunk::backward`] those of the first layer's output, before its activation.
    pub(super) way: Way,
    /// Gradients of the layers; of the first one's kernel only the rows of the number columns.
    pub(super) d_dense: Vec<Dense>,
    /// Gradients of a block of rows by the numbers of their members.
    mean: Matrix,
    /// Sum of `d d^T` over the members. `[out, out]`
    pub(super) gram: Matrix,
}

/// What embeddings end with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tail<'a> {
    None,
    /// The query's: the same for all.
    Counterpart(f32),
    /// The candidate's: a number of its own.
    Bias(&'a TablePart),
}

/// What a tower reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) parts: &'a [TablePart],
    pub(super) numbers: &'a Numbers,
    pub(super) tail: Tail<'a>,
    /// Of the concatenated features.
    pub(super) width: usize,
}

/// Where the number columns stand: in the data, and their rows of the first kernel.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// Places in the concatenated features.
    pub(super) at: Vec<usize>,
    /// Their rows of the first kernel. `[numbers, out]`
    pub(super) kernel: Array2<f32>,
}

impl Chunk {
    /// The embeddings without a bias. `[rows, dim]`
    pub(super) fn output(&self) -> &Matrix {
        &self.outputs[self.outputs.len() - 1]
    }

    /// The embeddings. `[rows, dim]`
    pub(super) fn embeddings(&self, tail: Tail<'_>) -> &Matrix {
        if matches!(tail, Tail::None) { self.output() } else { &self.with_tail }
    }

    /// The embeddings, and room for their gradient. `[rows, dim]`
    pub(super) fn embeddings_and_gradient(
        &mut self,
        tail: Tail<'_>,
    ) -> (ArrayView2<'_, f32>, ArrayViewMut2<'_, f32>) {
        let last = self.outputs.len() - 1;
        let output = if matches!(tail, Tail::None) { &self.outputs[last] } else { &self.with_tail };
        let (rows, dim) = output.view().dim();
        self.way.d.reshape(rows, dim);
        (output.view(), self.way.d.view_mut())
    }

    /// Runs the layers over `rows` of the columns, which are the members `first..` of the batch.
    pub(super) fn forward(
        &mut self,
        pass: Pass<'_>,
        inputs: Inputs<'_>,
        columns: &[f32],
        (rows, first): (&[u32], usize),
        clock: &Clock,
    ) {
        self.shape(pass, inputs, rows.len());
        for range in blocks(rows.len()) {
            self.first_level(pass, inputs, range.clone(), first);
            self.add_numbers(pass, inputs.numbers, columns, (rows, range.clone()), clock);
            for level in 0..self.outputs.len() {
                if let Some(layer) = pass.layer_of(level).filter(|_| level > 0) {
                    let (below, above) = self.outputs.split_at_mut(level);
                    let (x, mut y) =
                        (below[level - 1].rows_view(range.clone()), above[0].rows_view_mut(range.clone()));
                    y.rows_mut().into_iter().for_each(|mut row| row.assign(&layer.bias));
                    clock.gemm(1.0, x, layer.kernel.view(), 1.0, y);
                }
                if level + 1 < self.outputs.len() || pass.layer_of(level).is_none() {
                    self.finish(pass, level, range.clone(), first);
                }
            }
        }
        let last = self.outputs.len() - 1;
        if pass.config.l2_normalise {
            self.inverse_norms = l2_normalise(self.outputs[last].view_mut());
        }
        self.append(inputs.tail, first);
    }

    /// Gives all levels their shapes.
    fn shape(&mut self, pass: Pass<'_>, inputs: Inputs<'_>, rows: usize) {
        self.outputs.resize_with(pass.levels(), Matrix::default);
        self.slopes.resize_with(pass.levels(), Matrix::default);
        for (level, (output, slopes)) in self.outputs.iter_mut().zip(&mut self.slopes).enumerate() {
            let width = pass.layer_of(level).map_or(inputs.width, |layer| layer.bias.len());
            output.reshape(rows, width);
            if pass.through(level) == Through::Slopes {
                slopes.reshape(rows, width);
            }
        }
        self.numbers.reshape(rows, inputs.numbers.at.len());
    }

    /// What tables give to the first level.
    fn first_level(&mut self, pass: Pass<'_>, inputs: Inputs<'_>, range: Range<usize>, first: usize) {
        let bias = pass.layer_of(0).map(|layer| layer.bias.as_slice().unwrap_or_default());
        let (x, parts) = (&mut self.outputs[0], inputs.parts);
        let mut rows = Vec::with_capacity(parts.len() + 1);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for i in range {
                    let (x, member) = (x.row_mut(i), first + i);
                    if let Some(bias) = bias {
                        rows.clear();
                        rows.push(bias);
                        rows.extend(parts.iter().filter_map(|part| part.single(member)));
                        sum_rows(x, &rows);
                        parts.iter().for_each(|part| part.add_history(member, x));
                    } else {
                        x.fill(0.0);
                        parts.iter().for_each(|part| part.add_to(member, &mut x[part.range()]));
                    }
                }
            },
        );
    }

    /// Activation and dropout of a level.
    fn finish(&mut self, pass: Pass<'_>, level: usize, range: Range<usize>, first: usize) {
        let (x, slopes) = (&mut self.outputs[level], &mut self.slopes[level]);
        let (width, member) = (x.cols(), first + range.start);
        let slopes =
            if pass.through(level) == Through::Slopes { slopes.run_mut(range.clone()) } else { &mut [] };
        pass.finish(level, x.run_mut(range), slopes, width, member);
    }

    fn append(&mut self, tail: Tail<'_>, first: usize) {
        let output = &self.outputs[self.outputs.len() - 1];
        if matches!(tail, Tail::None) {
            return;
        }
        let (rows, dim) = output.view().dim();
        self.with_tail.reshape(rows, dim + 1);
        for i in 0..rows {
            let to = self.with_tail.row_mut(i);
            to[..dim].copy_from_slice(output.row(i));
            to[dim] = 0.0;
            match tail {
                Tail::None => {}
                Tail::Counterpart(value) => to[dim] = value,
                Tail::Bias(part) => part.add_to(first + i, &mut to[dim..]),
            }
        }
    }

    /// What number columns give to the first level.
    fn add_numbers(
        &mut self,
        pass: Pass<'_>,
        Numbers { at, kernel }: &Numbers,
        columns: &[f32],
        (rows, range): (&[u32], Range<usize>),
        clock: &Clock,
    ) {
        let (n, x) = (at.len(), &mut self.outputs[0]);
        if n == 0 {
            return;
        }
        for i in range.clone() {
            let from = rows[i] as usize * n;
            self.numbers.row_mut(i).copy_from_slice(&columns[from..from + n]);
        }
        if !pass.is_plain() {
            let numbers = self.numbers.rows_view(range.clone());
            return clock.gemm(1.0, numbers, kernel.view(), 1.0, x.rows_view_mut(range));
        }
        for i in range {
            let x = x.row_mut(i);
            at.iter().zip(self.numbers.row(i)).for_each(|(&at, number)| x[at] = *number);
        }
    }

    /// Carries the embeddings' gradients back to the first layer's output and leaves the layers' gradients. With the numbers of
    /// members that rows stand for also the gram matrix of these, contrasts apart.
    pub(super) fn backward(
        &mut self,
        pass: Pass<'_>,
        numbers_width: usize,
        members: Option<&[f32]>,
        clock: &Clock,
    ) {
        self.cut_tail();
        self.shape_gradients(pass, numbers_width);
        let Self { numbers, outputs, slopes, inverse_norms, way, d_dense, mean, gram, .. } = self;
        let trace = Trace {
            normalised: |i: usize| (outputs[outputs.len() - 1].row(i), inverse_norms[i]),
            of_level: |through: Through, level: usize, i: usize| {
                trace_row(through, &outputs[level], &slopes[level], i)
            },
        };
        let at_layer = |i: usize, range: Range<usize>, d: ArrayView2<'_, f32>| {
            let input = pass.below(i).map_or(&*numbers, |level| &outputs[level]);
            let (Dense { kernel, bias }, is_first) = (&mut d_dense[i], range.start == 0);
            if !kernel.is_empty() {
                let (input, beta) = (input.rows_view(range), if is_first { 0.0 } else { 1.0 });
                clock.gemm(1.0, input.reversed_axes(), d, beta, kernel.view_mut());
            }
            add_rows(&d, is_first, bias.as_slice_mut().unwrap_or_default());
        };
        let at_end = |range: Range<usize>, d: ArrayView2<'_, f32>| {
            let is_first = range.start == 0;
            if let Some(members) = members {
                mean.divide_rows(&d, &members[range]);
                add_gram([&mean.view(), &d], gram, is_first, clock);
            }
        };
        walk_back(pass, way, true, trace, at_layer, at_end, clock);
    }

    /// Gives the layers' gradients their shapes.
    fn shape_gradients(&mut self, pass: Pass<'_>, numbers_width: usize) {
        let layers = &pass.folded.layers;
        if self.d_dense.len() == layers.len() {
            return;
        }
        let gradient = |(i, layer): (usize, &Dense)| {
            let rows = if pass.below(i).is_none() { numbers_width } else { layer.kernel.nrows() };
            let kernel = Array2::zeros((rows, layer.kernel.ncols()));
            Dense { kernel, bias: Array1::zeros(layer.bias.len()) }
        };
        self.d_dense = layers.iter().enumerate().map(gradient).collect();
    }

    /// Takes what embeddings end with off their gradient.
    fn cut_tail(&mut self) {
        let (rows, dim) = self.output().view().dim();
        let d = &mut self.way.d;
        if d.cols() == dim {
            return;
        }
        self.d_tail.reshape(rows, 1);
        for i in 0..rows {
            self.d_tail.row_mut(i)[0] = d.row(i)[dim];
        }
        d.narrow(dim);
    }

    /// What the way back asks of a row of a level.
    pub(super) fn level_row(&self, through: Through, level: usize, row: usize) -> &[f32] {
        trace_row(through, &self.outputs[level], &self.slopes[level], row)
    }

    /// What the embedding of `row` was multiplied by to have length 1.
    pub(super) fn inverse_norm(&self, row: usize) -> f32 {
        self.inverse_norms[row]
    }
}

/// What the way back asks of a row of a level: its slopes, or itself.
fn trace_row<'a>(through: Through, output: &'a Matrix, slopes: &'a Matrix, row: usize) -> &'a [f32] {
    if through == Through::Slopes { slopes.row(row) } else { output.row(row) }
}

/// Adds the rows of `x` to `into`, or, as the `first`, replaces it.
fn add_rows(x: &ArrayView2<'_, f32>, first: bool, into: &mut [f32]) {
    if first {
        into.fill(0.0);
    }
    let rows = x.as_slice().unwrap_or_default().chunks_exact(into.len().max(1));
    Arch::new().dispatch(
        #[inline(always)]
        || rows.for_each(|row| add(into, row)),
    );
}
