//! One tower through one step: tables in parallel, then runs of rows in parallel, and back.

use super::chunk::{Chunk, Numbers, carry, through_normalisation};
use super::clock::Clock;
use super::folded::Folded;
use super::gradients::{SparseGradient, TowerGradients};
use super::matrix::Matrix;
use super::part::TablePart;
use crate::optim::{Optimiser, Step};
use ndarray::Array2;
use rayon::prelude::*;
use recs_core::model::{Dense, ModelConfig, TowerConfig, TowerWeights};
use recs_core::schema::Tower;

/// Rooms of a tower, kept from step to step.
#[derive(Debug)]
pub(super) struct TowerStep {
    config: TowerConfig,
    width: usize,
    pub(super) parts: Vec<TablePart>,
    numbers: Numbers,
    folded: Folded,
    pub(super) chunks: Vec<Chunk>,
    /// Rows of a chunk in this step.
    run: usize,
    /// Gradients of the layers.
    pub(super) dense: Vec<Dense>,
    gram: Matrix,
    /// Gradients of single members of the batch, where rows stand for several.
    members: Vec<Chunk>,
}

impl TowerStep {
    pub(super) fn new(model: &ModelConfig, tower: Tower, weights: &TowerWeights, threads: usize) -> Self {
        let (mut parts, mut numbers, mut at) = (Vec::new(), Numbers::default(), 0);
        for encoding in model.schema.encodings(tower) {
            let to = at + encoding.width();
            if encoding.has_table() {
                let table = parts.len();
                parts.push(TablePart::new(table, at, weights.embeddings[table].nrows(), to - at));
            } else {
                numbers.at.extend(at..to);
            }
            at = to;
        }
        Self {
            config: model.tower(tower).clone(),
            width: model.input_width(tower),
            parts,
            numbers,
            folded: Folded::default(),
            chunks: vec![Chunk::default(); threads],
            run: 1,
            dense: Vec::new(),
            gram: Matrix::default(),
            members: vec![Chunk::default(); threads],
        }
    }

    /// Embeds the rows `batch` of the columns, and brings what they read of the tables up to date first.
    pub(super) fn forward(
        &mut self,
        weights: &mut TowerWeights,
        states: &mut [Box<dyn Optimiser>],
        step: &Step,
        (ids, numbers): (&[u32], &[f32]),
        batch: &[u32],
        clock: &Clock,
    ) {
        self.folded.refresh(&self.config, weights, self.width, clock);
        let kernel = self.folded.layers[0].kernel.view();
        self.numbers.kernel = kernel.select(ndarray::Axis(0), &self.numbers.at);
        let tables = self.parts.len();
        let each = self.parts.par_iter_mut().zip(&mut weights.embeddings).zip(states);
        each.for_each(|((part, table), state)| {
            part.forward(ids, tables, batch, table, (state.as_mut(), step), &kernel, clock);
        });
        self.run = batch.len().div_ceil(self.chunks.len()).max(1);
        let (run, inputs) = (self.run, (self.parts.as_slice(), &self.numbers));
        let (config, folded) = (&self.config, &self.folded);
        self.chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let from = (i * run).min(batch.len());
            let rows = &batch[from..(from + run).min(batch.len())];
            chunk.forward(config, folded, inputs, numbers, (rows, from), clock);
        });
    }

    /// Embedding of row `row` of the batch.
    pub(super) fn embedding(&self, row: usize) -> &[f32] {
        self.chunks[row / self.run].output().row(row % self.run)
    }

    /// Gradient of the embedding of row `row`, before the backward pass.
    pub(super) fn gradient(&self, row: usize) -> &[f32] {
        self.chunks[row / self.run].d.row(row % self.run)
    }

    /// Rows of a chunk.
    pub(super) fn run(&self) -> usize {
        self.run
    }

    /// Gradients of layers and tables, from [`Chunk::d`] of each chunk. `with_gram`: also the tables'
    /// [`TablePart::unsummed_squares`], each row being one member of the batch.
    pub(super) fn backward(&mut self, weights: &TowerWeights, with_gram: bool, clock: &Clock) {
        let (config, folded, numbers) = (&self.config, &self.folded, self.numbers.at.len());
        self.chunks
            .par_iter_mut()
            .for_each(|chunk| chunk.backward(config, folded, numbers, with_gram, clock));
        if with_gram {
            sum(&mut self.gram, self.chunks.iter().map(|c| &c.gram));
        }
        self.tables_backward(weights, with_gram, clock);
    }

    /// As [`TowerStep::backward`] with unsummed squares, where a row stands for several members of the batch: `member(i, d)`
    /// writes the gradient of member i's embedding, whose row is `rows[i]`.
    pub(super) fn backward_with_members(
        &mut self,
        weights: &TowerWeights,
        rows: &[u32],
        member: impl Fn(usize, &mut [f32]) + Sync,
        clock: &Clock,
    ) {
        let Self { config, folded, chunks, run, members, numbers, .. } = self;
        let (config, folded, run, numbers) = (&*config, &*folded, *run, numbers.at.len());
        let dim = folded.layers[folded.layers.len() - 1].bias.len();
        let members_run = rows.len().div_ceil(members.len()).max(1);
        {
            let of = |row: u32| (&chunks[row as usize / run], row as usize % run);
            members.par_iter_mut().enumerate().for_each(|(i, out)| {
                let from = (i * members_run).min(rows.len());
                let rows = &rows[from..(from + members_run).min(rows.len())];
                out.d.reshape(rows.len(), dim);
                for i in 0..rows.len() {
                    member(from + i, out.d.row_mut(i));
                }
                out.carry_members(config, folded, rows, of, clock);
            });
        }
        chunks.par_iter_mut().for_each(|chunk| chunk.backward(config, folded, numbers, false, clock));
        sum(&mut self.gram, self.members.iter().map(|c| &c.gram));
        self.tables_backward(weights, true, clock);
    }

    fn tables_backward(&mut self, weights: &TowerWeights, with_gram: bool, clock: &Clock) {
        let (chunks, run) = (&self.chunks, self.run);
        let (kernel, gram) = (self.folded.layers[0].kernel.view(), with_gram.then(|| self.gram.view()));
        let delta = |i: usize| chunks[i / run].d.row(i % run);
        self.parts.par_iter_mut().for_each(|part| part.backward(delta, &kernel, gram.as_ref(), clock));
        self.dense = self.folded.unfold(weights, self.folded_gradients(), clock);
    }

    /// Sums the chunks' gradients in their order, and puts the first kernel's together.
    fn folded_gradients(&self) -> Vec<Dense> {
        let mut sums = self.chunks[0].d_dense.clone();
        for chunk in &self.chunks[1..] {
            for (sum, part) in sums.iter_mut().zip(&chunk.d_dense) {
                sum.kernel += &part.kernel;
                sum.bias += &part.bias;
            }
        }
        let mut kernel = Array2::zeros((self.width, self.folded.layers[0].kernel.ncols()));
        for (&at, row) in self.numbers.at.iter().zip(sums[0].kernel.rows()) {
            kernel.row_mut(at).assign(&row);
        }
        for part in &self.parts {
            kernel.slice_mut(ndarray::s![part.range(), ..]).assign(&part.d_kernel.view());
        }
        sums[0].kernel = kernel;
        sums
    }

    /// Copies of the gradients of the last backward pass.
    pub(super) fn gradients(&self) -> TowerGradients {
        let table = |part: &TablePart| SparseGradient {
            rows: part.distinct.ids.clone(),
            values: part.gradient.as_slice().to_vec(),
            dim: part.range().len(),
            unsummed_squares: part.unsummed_squares,
        };
        TowerGradients { embeddings: self.parts.iter().map(table).collect(), dense: self.dense.clone() }
    }
}

impl Chunk {
    /// Carries `d` back to the first layer's output, and leaves its gram matrix; `of` gives the chunk and the row there
    /// that has the activations of a row.
    fn carry_members<'a>(
        &mut self,
        config: &TowerConfig,
        folded: &Folded,
        rows: &[u32],
        of: impl Fn(u32) -> (&'a Chunk, usize),
        clock: &Clock,
    ) {
        let Self { d, below, gram, .. } = self;
        if config.l2_normalise {
            through_normalisation(d, |i| {
                let (chunk, row) = of(rows[i]);
                (chunk.output().row(row), chunk.inverse_norm(row))
            });
        }
        for (i, layer) in folded.layers.iter().enumerate().skip(1).rev() {
            carry(config.activation, layer, d, below, clock, |row| {
                let (chunk, row) = of(rows[row]);
                chunk.activations(i - 1, row)
            });
            std::mem::swap(d, below);
        }
        let out = folded.layers[0].bias.len();
        gram.reshape(out, out);
        clock.gemm(1.0, d.view().reversed_axes(), d.view(), 0.0, gram.view_mut());
    }
}

fn sum<'a>(into: &mut Matrix, parts: impl Iterator<Item = &'a Matrix>) {
    for (i, part) in parts.enumerate() {
        if i == 0 {
            into.clone_from(part);
        } else {
            super::matrix::add(into.as_mut_slice(), part.as_slice());
        }
    }
}
