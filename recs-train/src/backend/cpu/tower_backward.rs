//! The way back through a tower: runs of rows in parallel, then tables.

use super::clock::Clock;
use super::gradients::{SparseGradient, TowerGradients};
use super::part::TablePart;
use super::shared::TableGradient;
use super::tower_step::TowerStep;
use ndarray::Array2;
use rayon::prelude::*;
use recs_core::model::{Dense, TowerWeights};

impl TowerStep {
    /// Gradients of layers and tables, from `d` of each chunk.
    pub(super) fn backward(&mut self, weights: &TowerWeights, clock: &Clock) {
        let numbers = self.numbers.at.len();
        let mut chunks = std::mem::take(&mut self.chunks);
        let pass = self.pass();
        chunks.par_iter_mut().for_each(|chunk| chunk.backward(pass, numbers, None, clock));
        self.chunks = chunks;
        self.tables_backward(weights, false, clock);
    }

    /// `with_gram`: also the tables' [`TablePart::unsummed_squares`].
    pub(super) fn tables_backward(&mut self, weights: &TowerWeights, with_gram: bool, clock: &Clock) {
        let mut parts = std::mem::take(&mut self.parts);
        let (chunks, run, bias_at) = (&self.chunks, self.run, self.bias_at);
        let kernel = self.table_kernel();
        let gram = with_gram.then(|| self.gram.view());
        parts.par_iter_mut().enumerate().for_each(|(at, part)| {
            if bias_at == Some(at) {
                part.backward(|i| chunks[i / run].d_tail.row(i % run), None, None, clock);
            } else {
                part.backward(|i| chunks[i / run].way.d.row(i % run), kernel.as_ref(), gram.as_ref(), clock);
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
        for part in Self::split(&self.parts, self.bias_at).0 {
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
