//! A run of rows of a tower: everything behind the tables, on one thread.

use super::clock::Clock;
use super::matrix::{self, Matrix};
use super::part::TablePart;
use super::pass::{Pass, Through};
use super::walk::{Trace, walk_back};
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2};
use pulp::Arch;
use recs_core::kernel::add;
use recs_core::model::{Dense, l2_normalise};

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
    /// Gradient of the output; after [`Chunk::backward`] that of the first layer's, before its activation.
    pub(super) d: Matrix,
    pub(super) below: Matrix,
    /// Gradients of the layers; of the first one's kernel only the rows of the number columns.
    pub(super) d_dense: Vec<Dense>,
    /// Sum of `d d^T` over the rows. `[out, out]`
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
        self.d.reshape(rows, dim);
        (output.view(), self.d.view_mut())
    }

    /// Runs the layers over `rows` of the columns, which are the members `first..` of the batch.
    pub(super) fn forward(
        &mut self,
        pass: Pass<'_>,
        Inputs { parts, numbers, tail, width }: Inputs<'_>,
        columns: &[f32],
        (rows, first): (&[u32], usize),
        clock: &Clock,
    ) {
        let layers = &pass.folded.layers;
        self.outputs.resize_with(pass.levels(), Matrix::default);
        self.slopes.resize_with(pass.levels(), Matrix::default);
        let first_layer = layers.first().filter(|_| !pass.is_plain());
        let bias = first_layer.map(|layer| layer.bias.as_slice().unwrap_or_default());
        let x = &mut self.outputs[0];
        x.reshape(rows.len(), bias.map_or(width, <[f32]>::len));
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for i in 0..rows.len() {
                    let x = x.row_mut(i);
                    match bias {
                        Some(bias) => {
                            x.copy_from_slice(bias);
                            parts.iter().for_each(|part| part.add_to(first + i, x));
                        }
                        None => {
                            x.fill(0.0);
                            parts.iter().for_each(|part| part.add_to(first + i, &mut x[part.range()]));
                        }
                    }
                }
            },
        );
        self.add_numbers(numbers, columns, rows, bias.is_none(), clock);
        for level in 0..self.outputs.len() {
            let layer = level.checked_sub(usize::from(pass.is_plain()));
            let (below, above) = self.outputs.split_at_mut(level);
            if let (Some(below), Some(layer)) = (below.last(), layer) {
                let layer = &layers[layer];
                above[0].reshape(rows.len(), layer.bias.len());
                let mut y = above[0].view_mut();
                y.rows_mut().into_iter().for_each(|mut row| row.assign(&layer.bias));
                clock.gemm(1.0, below.view(), layer.kernel.view(), 1.0, y);
            }
            if layer.is_none_or(|layer| layer + 1 < layers.len()) {
                self.finish(pass, level, first);
            }
        }
        let last = self.outputs.len() - 1;
        if pass.config.l2_normalise {
            self.inverse_norms = l2_normalise(self.outputs[last].view_mut());
        }
        self.append(tail, first);
    }

    /// Activation and dropout of a level.
    fn finish(&mut self, pass: Pass<'_>, level: usize, first: usize) {
        let (x, slopes) = (&mut self.outputs[level], &mut self.slopes[level]);
        let (rows, width) = x.view().dim();
        if pass.through(level) == Through::Slopes {
            slopes.reshape(rows, width);
        }
        pass.finish(level, x.as_mut_slice(), slopes.as_mut_slice(), width, first);
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

    fn add_numbers(
        &mut self,
        numbers: &Numbers,
        columns: &[f32],
        rows: &[u32],
        is_plain: bool,
        clock: &Clock,
    ) {
        let n = numbers.at.len();
        if n == 0 {
            return;
        }
        self.numbers.reshape(rows.len(), n);
        for (i, &row) in rows.iter().enumerate() {
            let from = row as usize * n;
            self.numbers.row_mut(i).copy_from_slice(&columns[from..from + n]);
        }
        if is_plain {
            for i in 0..rows.len() {
                let x = self.outputs[0].row_mut(i);
                numbers.at.iter().zip(self.numbers.row(i)).for_each(|(&at, number)| x[at] = *number);
            }
            return;
        }
        clock.gemm(1.0, self.numbers.view(), numbers.kernel.view(), 1.0, self.outputs[0].view_mut());
    }

    /// Carries [`Chunk::d`] back to the first layer's output and leaves the layers' gradients.
    pub(super) fn backward(&mut self, pass: Pass<'_>, numbers_width: usize, with_gram: bool, clock: &Clock) {
        self.cut_tail();
        let Self { numbers, outputs, slopes, inverse_norms, d, below, d_dense, gram, .. } = self;
        let layers = &pass.folded.layers;
        let fits = d_dense.len() == layers.len();
        if !fits {
            d_dense.clear();
            for (i, layer) in layers.iter().enumerate() {
                let rows = if pass.below(i).is_none() { numbers_width } else { layer.kernel.nrows() };
                let kernel = Array2::zeros((rows, layer.kernel.ncols()));
                d_dense.push(Dense { kernel, bias: Array1::zeros(layer.bias.len()) });
            }
        }
        let at_layer = |i: usize, d: &Matrix| {
            let input = pass.below(i).map_or(&*numbers, |level| &outputs[level]);
            let Dense { kernel, bias } = &mut d_dense[i];
            if !kernel.is_empty() {
                clock.gemm(1.0, input.view().reversed_axes(), d.view(), 0.0, kernel.view_mut());
            }
            sum_rows(d, bias.as_slice_mut().unwrap_or_default());
        };
        let trace = Trace {
            normalised: |i: usize| (outputs[outputs.len() - 1].row(i), inverse_norms[i]),
            of_level: |through: Through, level: usize, i: usize| {
                if through == Through::Slopes { slopes[level].row(i) } else { outputs[level].row(i) }
            },
        };
        walk_back(pass, [&mut *d, below], trace, at_layer, clock);
        if with_gram {
            matrix::gram(d, gram, clock);
        }
    }

    /// Takes what embeddings end with off their gradient.
    fn cut_tail(&mut self) {
        let (rows, dim) = self.output().view().dim();
        if self.d.view().ncols() == dim {
            return;
        }
        self.d_tail.reshape(rows, 1);
        self.below.reshape(rows, dim);
        for i in 0..rows {
            let d = self.d.row(i);
            self.d_tail.row_mut(i)[0] = d[dim];
            self.below.row_mut(i).copy_from_slice(&d[..dim]);
        }
        std::mem::swap(&mut self.d, &mut self.below);
    }

    /// What the way back asks of a row of a level.
    pub(super) fn level_row(&self, through: Through, level: usize, row: usize) -> &[f32] {
        if through == Through::Slopes { self.slopes[level].row(row) } else { self.outputs[level].row(row) }
    }

    /// What the embedding of `row` was multiplied by to have length 1.
    pub(super) fn inverse_norm(&self, row: usize) -> f32 {
        self.inverse_norms[row]
    }
}

fn sum_rows(x: &Matrix, into: &mut [f32]) {
    into.fill(0.0);
    Arch::new().dispatch(
        #[inline(always)]
        || (0..x.rows()).for_each(|i| add(into, x.row(i))),
    );
}
