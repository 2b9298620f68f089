//! One tower through one step: tables in parallel, then runs of rows in parallel, and back.

use super::chunk::{Chunk, Inputs, Numbers, Tail, back, carry, through_normalisation};
use super::clock::Clock;
use super::folded::Folded;
use super::gradients::{SparseGradient, TowerGradients};
use super::matrix::{self, Matrix};
use super::part::{Lookup, Sharing, TablePart};
use super::pass::{Dropout, Pass};
use super::shared::TableGradient;
use crate::config::TrainConfig;
use crate::optim::{Optimiser, Step};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use pulp::Arch;
use rayon::prelude::*;
use recs_core::kernel::prefetch;
use recs_core::model::{BagColumn, Dense, Histories, ModelConfig, Table, TowerConfig, TowerWeights};
use recs_core::schema::Tower;
use std::sync::{Arc, LazyLock};

/// Rows between the one that is read and the one that memory is asked for.
const AHEAD: usize = 16;

/// Those of a batch that has none.
static NO_HISTORIES: LazyLock<Histories> = LazyLock::new(Histories::default);

/// Rooms of a tower, kept from step to step.
#[derive(Debug)]
pub(super) struct TowerStep {
    config: TowerConfig,
    width: usize,
    pub(super) parts: Vec<TablePart>,
    /// The batch's ids, column after column.
    ids: Vec<u32>,
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
    /// True when the last part is a bias.
    has_bias: bool,
    /// What embeddings of queries end with, where those of candidates end with a bias.
    counterpart: Option<f32>,
    dropout: Dropout,
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
            has_bias: model.schema.widths(tower).has_bias,
            counterpart: (tower == Tower::Query && model.has_bias()).then_some(model.temperature),
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

    fn pass(&self) -> Pass<'_> {
        Pass { config: &self.config, folded: &self.folded, dropout: self.dropout }
    }

    /// The kernel that tables are multiplied by.
    fn table_kernel(&self) -> Option<ArrayView2<'_, f32>> {
        let first = self.folded.layers.first().filter(|_| !self.pass().is_plain());
        first.map(|layer| layer.kernel.view())
    }

    /// Takes a learned temperature as what embeddings of queries end with, if they end with it.
    pub(super) fn set_counterpart(&mut self, temperature: f32) {
        self.counterpart = self.counterpart.map(|_| temperature);
    }

    /// The parts of the concatenated features, and the bias.
    fn split(parts: &[TablePart], has_bias: bool) -> (&[TablePart], Option<&TablePart>) {
        match parts.split_last() {
            Some((bias, inputs)) if has_bias => (inputs, Some(bias)),
            _ => (parts, None),
        }
    }

    fn tail(&self) -> Tail<'_> {
        match (Self::split(&self.parts, self.has_bias).1, self.counterpart) {
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
        let (parts, _) = Self::split(&self.parts, self.has_bias);
        let inputs = Inputs { parts, numbers: &self.numbers, tail: self.tail(), width: self.width };
        let (pass, run) = (self.pass(), self.run);
        chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
            let from = (i * run).min(batch.len());
            let of_chunk = &batch[from..(from + run).min(batch.len())];
            chunk.forward(pass, inputs, rows.numbers, (of_chunk, from), clock);
        });
        self.chunks = chunks;
    }

    /// Reads what the batch wants of each table.
    fn read_tables(
        &self,
        parts: &mut [TablePart],
        weights: &mut TowerWeights,
        states: &mut [Box<dyn Optimiser>],
        steps: [&Step; 2],
        rows: Rows<'_>,
        clock: &Clock,
    ) {
        let kernel = self.table_kernel();
        let bias_at = self.has_bias.then(|| parts.len() - 1);
        let each = parts.par_iter_mut().zip(&mut weights.embeddings).zip(states).enumerate();
        each.for_each(|(i, ((part, table), state))| {
            let is_bias = bias_at == Some(i);
            let (step, kernel) = if is_bias { (steps[1], None) } else { (steps[0], kernel.as_ref()) };
            // A shared table was read before.
            if matches!(part.sharing, Sharing::Own) {
                part.read(self.lookup(part.column, rows), table, (state.as_mut(), step));
            }
            part.multiply(kernel, clock);
        });
    }

    /// What a part looks up.
    fn lookup<'a>(&'a self, column: Option<usize>, rows: Rows<'a>) -> Lookup<'a> {
        let n = rows.batch.len();
        match column {
            Some(at) => Lookup::Ids(&self.ids[at * n..(at + 1) * n]),
            None => Lookup::Histories(rows.histories.unwrap_or(&NO_HISTORIES), self.dropout.history()),
        }
    }

    /// Reads what the batch wants of a shared table for part `at`; ids are gathered.
    pub(super) fn read_shared(
        &mut self,
        at: usize,
        rows: Rows<'_>,
        table: &mut Table,
        optimiser: (&mut dyn Optimiser, &Step),
    ) {
        let mut parts = std::mem::take(&mut self.parts);
        let part = &mut parts[at];
        part.read(self.lookup(part.column, rows), table, optimiser);
        self.parts = parts;
    }

    pub(super) fn gather_ids(&mut self, Rows { ids, batch, .. }: Rows<'_>) {
        let width = self.parts.iter().filter(|part| part.column.is_some()).count();
        let (n, of) = (batch.len(), |row: u32| &ids[row as usize * width..(row as usize + 1) * width]);
        self.ids.resize(n * width, 0);
        for (i, &row) in batch.iter().enumerate() {
            if let Some(&next) = batch.get(i + AHEAD) {
                prefetch(of(next));
            }
            of(row).iter().enumerate().for_each(|(at, &id)| self.ids[at * n + i] = id);
        }
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
        let numbers = self.numbers.at.len();
        let mut chunks = std::mem::take(&mut self.chunks);
        let pass = self.pass();
        chunks.par_iter_mut().for_each(|chunk| chunk.backward(pass, numbers, with_gram, clock));
        self.chunks = chunks;
        if with_gram {
            sum(&mut self.gram, self.chunks.iter().map(|c| &c.gram));
        }
        self.tables_backward(weights, with_gram, clock);
    }

    /// Where the rows of the batch stand for several members each: `write(i, d)` writes the gradient of the embedding of
    /// each of `n` members.
    pub(super) fn set_members(&mut self, n: usize, write: impl Fn(usize, &mut [f32]) + Sync) {
        let dim = self.chunks[0].output().view().ncols();
        let run = n.div_ceil(self.members.len()).max(1);
        self.members.par_iter_mut().enumerate().for_each(|(i, out)| {
            let from = (i * run).min(n);
            out.d.reshape(run.min(n - from), dim);
            Arch::new().dispatch(
                #[inline(always)]
                || (0..out.d.rows()).for_each(|i| write(from + i, out.d.row_mut(i))),
            );
        });
    }

    /// As [`TowerStep::backward`] with unsummed squares, where a row stands for several members of the batch, whose
    /// gradients are set: member i's row is `rows[i]`.
    pub(super) fn backward_with_members(&mut self, weights: &TowerWeights, rows: &[u32], clock: &Clock) {
        let Self { config, folded, dropout, chunks, run, members, numbers, .. } = self;
        let pass = Pass { config, folded, dropout: *dropout };
        let (run, numbers) = (*run, numbers.at.len());
        let members_run = rows.len().div_ceil(members.len()).max(1);
        {
            let of = |row: u32| (&chunks[row as usize / run], row as usize % run);
            let each = members.par_iter_mut().zip(rows.par_chunks(members_run));
            each.for_each(|(out, rows)| out.carry_members(pass, rows, of, clock));
        }
        chunks.par_iter_mut().for_each(|chunk| chunk.backward(pass, numbers, false, clock));
        let used = rows.len().div_ceil(members_run);
        sum(&mut self.gram, self.members[..used].iter().map(|c| &c.gram));
        self.tables_backward(weights, true, clock);
    }

    fn tables_backward(&mut self, weights: &TowerWeights, with_gram: bool, clock: &Clock) {
        let mut parts = std::mem::take(&mut self.parts);
        let (chunks, run, bias_at) = (&self.chunks, self.run, self.has_bias.then(|| parts.len() - 1));
        let kernel = self.table_kernel();
        let gram = with_gram.then(|| self.gram.view());
        parts.par_iter_mut().enumerate().for_each(|(at, part)| {
            if bias_at == Some(at) {
                part.backward(|i| chunks[i / run].d_tail.row(i % run), None, None, clock);
            } else {
                part.backward(|i| chunks[i / run].d.row(i % run), kernel.as_ref(), gram.as_ref(), clock);
            }
        });
        self.parts = parts;
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
        // A first layer that read the concatenated features has its whole gradient.
        let Some(first) = self.table_kernel() else { return sums };
        let mut kernel = Array2::zeros((self.width, first.ncols()));
        for (&at, row) in self.numbers.at.iter().zip(sums[0].kernel.rows()) {
            kernel.row_mut(at).assign(&row);
        }
        for part in Self::split(&self.parts, self.has_bias).0 {
            kernel.slice_mut(ndarray::s![part.range(), ..]).assign(&part.d_kernel.view());
        }
        sums[0].kernel = kernel;
        sums
    }

    /// Copies of the gradients of the last backward pass.
    pub(super) fn gradients(&self) -> TowerGradients {
        let table = |part: &TablePart| {
            let TableGradient { ids, values, unsummed_squares } = part.gradient();
            let dim = part.range().len();
            SparseGradient { rows: ids.to_vec(), values: values.to_vec(), dim, unsummed_squares }
        };
        TowerGradients { embeddings: self.parts.iter().map(table).collect(), dense: self.dense.clone() }
    }
}

impl Chunk {
    /// Carries `d` back to the first layer's output, and leaves its gram matrix; `of` gives the chunk and the row there
    /// that has the activations of a row.
    fn carry_members<'a>(
        &mut self,
        pass: Pass<'_>,
        rows: &[u32],
        of: impl Fn(u32) -> (&'a Chunk, usize),
        clock: &Clock,
    ) {
        let Self { d, below, gram, .. } = self;
        let row_of = |through, level| {
            let of = &of;
            move |i: usize| {
                let (chunk, row) = of(rows[i]);
                chunk.level_row(through, level, row)
            }
        };
        if pass.config.l2_normalise {
            through_normalisation(d, |i| {
                let (chunk, row) = of(rows[i]);
                (chunk.output().row(row), chunk.inverse_norm(row))
            });
        }
        let layers = &pass.folded.layers;
        for (i, layer) in layers.iter().enumerate().rev() {
            let Some(level) = pass.below(i) else { continue };
            carry(layer, d, below, clock);
            std::mem::swap(d, below);
            back(pass.through(level), d, row_of(pass.through(level), level));
        }
        if layers.is_empty() {
            back(pass.through(0), d, row_of(pass.through(0), 0));
        }
        matrix::gram(d, gram, clock);
    }
}

fn sum<'a>(into: &mut Matrix, parts: impl Iterator<Item = &'a Matrix>) {
    for (i, part) in parts.enumerate() {
        if i == 0 {
            into.clone_from(part);
        } else {
            recs_core::kernel::add(into.as_mut_slice(), part.as_slice());
        }
    }
}
