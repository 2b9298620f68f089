//! One tower through one step: tables in parallel, then runs of rows in parallel, and back (`tower_backward.rs`).

use super::chunk::{Chunk, Inputs, Numbers, Tail};
use super::clock::Clock;
use super::folded::Folded;
use super::part::TablePart;
use super::pass::{Dropout, Pass};
use crate::config::TrainConfig;
use crate::matrix::Matrix;
use crate::optim::{Optimiser, Step};
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use recs_core::model::{BagColumn, Dense, Histories, ModelConfig, TowerConfig, TowerWeights};
use recs_core::schema::Tower;
use std::sync::Arc;

/// Rooms of a tower, kept from step to step.
#[derive(Debug)]
pub(super) struct TowerStep {
    pub(super) config: TowerConfig,
    pub(super) width: usize,
    pub(super) parts: Vec<TablePart>,
    /// The batch's ids, column after column.
    pub(super) ids: Vec<u32>,
    pub(super) numbers: Numbers,
    pub(super) folded: Folded,
    pub(super) chunks: Vec<Chunk>,
    /// Rows of a chunk in this step.
    pub(super) run: usize,
    /// Gradients of the layers.
    pub(super) dense: Vec<Dense>,
    pub(super) gram: Matrix,
    /// Gradients of single members of the batch, where rows stand for several.
    pub(super) members: Vec<Chunk>,
    /// The part that is a bias: the last one.
    pub(super) bias_at: Option<usize>,
    /// What embeddings of queries end with, where those of candidates end with a bias.
    counterpart: Option<f32>,
    pub(super) dropout: Dropout,
}

/// What a batch reads of the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    /// `[rows, ids a row]`
    pub(super) ids: &'a [u32],
    /// `[rows, numbers a row]`
    pub(super) numbers: &'a [f32],
    /// Rows of the batch.
    pub(super) batch: &'a [u32],
    pub(super) histories: Option<&'a Histories>,
}

impl TowerStep {
    pub(super) fn new(
        model: &ModelConfig,
        config: &TrainConfig,
        tower: Tower,
        weights: &TowerWeights,
        threads: usize,
    ) -> Self {
        let rates = match tower {
            Tower::Query => config.dropout.query,
            Tower::Candidate => config.dropout.candidate,
        };
        let (mut parts, mut numbers, mut at, mut columns) = (Vec::new(), Numbers::default(), 0, 0);
        for encoding in model.schema.encodings(tower) {
            let to = at + encoding.width();
            if encoding.has_table() {
                let (table, column) = (parts.len(), encoding.has_id().then_some(columns));
                columns += usize::from(encoding.has_id());
                let at = if encoding.is_bias() { 0 } else { at };
                let rows = weights.embeddings[table].nrows();
                parts.push(TablePart::new(column, at, rows, encoding.width()));
            } else {
                numbers.at.extend(at..to);
            }
            at = to;
        }
        Self {
            config: model.tower(tower).clone(),
            width: model.input_width(tower),
            parts,
            ids: Vec::new(),
            numbers,
            folded: Folded::default(),
            chunks: vec![Chunk::default(); threads],
            run: 1,
            dense: Vec::new(),
            gram: Matrix::default(),
            members: vec![Chunk::default(); threads],
            bias_at: model.schema.bias_table(tower),
            counterpart: model.counterpart(tower),
            dropout: Dropout::new(rates, config.seed, tower),
        }
    }

    /// Takes the lists of n-grams that ids stand for.
    pub(super) fn set_bags(&mut self, bags: &[BagColumn]) {
        for part in &mut self.parts {
            if let Some(bags) = bags.iter().find(|bags| part.column == Some(bags.column)) {
                part.set_bags(Arc::clone(&bags.bags));
            }
        }
    }

    /// Draws what is dropped anew in each step.
    pub(super) fn open(&mut self, step: u32) {
        self.dropout.open(step);
    }

    pub(super) fn pass(&self) -> Pass<'_> {
        Pass { config: &self.config, folded: &self.folded, dropout: self.dropout }
    }

    /// The kernel that tables are multiplied by.
    pub(super) fn table_kernel(&self) -> Option<ArrayView2<'_, f32>> {
        let first = self.folded.layers.first().filter(|_| !self.pass().is_plain());
        first.map(|layer| layer.kernel.view())
    }

    /// Takes a learned temperature as what embeddings of queries end with, if they end with it.
    pub(super) fn set_counterpart(&mut self, temperature: f32) {
        self.counterpart = self.counterpart.map(|_| temperature);
    }

    /// The parts of the concatenated features, and the bias.
    pub(super) fn split(parts: &[TablePart], bias_at: Option<usize>) -> (&[TablePart], Option<&TablePart>) {
        match parts.split_last() {
            Some((bias, inputs)) if bias_at.is_some() => (inputs, Some(bias)),
            _ => (parts, None),
        }
    }

    pub(super) fn tail(&self) -> Tail<'_> {
        match (Self::split(&self.parts, self.bias_at).1, self.counterpart) {
            (Some(bias), _) => Tail::Bias(bias),
            (None, Some(value)) => Tail::Counterpart(value),
            (None, None) => Tail::None,
        }
    }

    /// Embeds the rows of a batch, and brings what they read of the tables up to date first; `steps` are those of tables
    /// and of biases.
    pub(super) fn forward(
        &mut self,
        weights: &mut TowerWeights,
        states: &mut [Box<dyn Optimiser>],
        steps: [&Step; 2],
        rows: Rows<'_>,
        clock: &Clock,
    ) {
        self.gather_ids(rows);
        self.folded.refresh(&self.config, self.dropout.rates.hidden > 0.0, weights, clock);
        let numbers = self.table_kernel().map(|kernel| kernel.select(ndarray::Axis(0), &self.numbers.at));
        if let Some(numbers) = numbers {
            self.numbers.kernel = numbers;
        }
        let mut parts = std::mem::take(&mut self.parts);
        self.read_tables(&mut parts, weights, states, steps, rows, clock);
        self.parts = parts;
        let batch = rows.batch;
        self.run = batch.len().div_ceil(self.chunks.len()).max(1);
        let mut chunks = std::mem::take(&mut self.chunks);
        let (parts, _) = Self::split(&self.parts, self.bias_at);
        let inputs = Inputs { parts, numbers: &self.numbers, tail: self.tail(), width: self.width };
        let (pass, run) = (self.pass(), self.run);
        chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let from = (i * run).min(batch.len());
            let of_chunk = &batch[from..(from + run).min(batch.len())];
            chunk.forward(pass, inputs, rows.numbers, (of_chunk, from), clock);
        });
        self.chunks = chunks;
    }

    /// Embedding of row `row` of the batch.
    pub(super) fn embedding(&self, row: usize) -> &[f32] {
        self.chunks[row / self.run].embeddings(self.tail()).row(row % self.run)
    }

    /// Each chunk's embeddings, and room for their gradient, to `each` on threads of its own with a member of `with`.
    pub(super) fn each_chunk<T: Send, R: Send>(
        &mut self,
        with: &mut [T],
        each: impl Fn(usize, &mut T, ArrayView2<'_, f32>, ArrayViewMut2<'_, f32>) -> R + Sync,
    ) -> Vec<R> {
        let mut chunks = std::mem::take(&mut self.chunks);
        let tail = self.tail();
        let pairs = with.par_iter_mut().zip(&mut chunks).enumerate();
        let done = pairs
            .map(|(i, (with, chunk))| {
                let (embeddings, d) = chunk.embeddings_and_gradient(tail);
                each(i, with, embeddings, d)
            })
            .collect();
        self.chunks = chunks;
        done
    }

    /// Width of embeddings without what they end with.
    pub(super) fn output_width(&self) -> usize {
        self.chunks[0].output().view().ncols()
    }

    /// Rows of a chunk.
    pub(super) fn run(&self) -> usize {
        self.run
    }
}
