//! Gradients of a batch.

use crate::optim::squares;
use ndarray::{Array2, ArrayView2};
use recs_core::model::Dense;

/// Gradients of every variable of a model.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    /// The customer's side.
    pub query: TowerGradients,
    /// The product's side.
    pub candidate: TowerGradients,
}

/// Gradients of one tower.
#[derive(Debug, Clone, Default)]
pub struct TowerGradients {
    /// One per table, in schema order.
    pub embeddings: Vec<SparseGradient>,
    /// One per layer.
    pub dense: Vec<Dense>,
}

/// Gradient of an embedding table: only the rows that the batch looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseGradient {
    /// Rows of the table, ascending, each once.
    pub rows: Vec<u32>,
    /// `[rows.len(), dim]`
    pub values: Vec<f32>,
    /// Width of the table.
    pub dim: usize,
    /// Sum of squares of the batch's single gradients, before those of equal rows were summed.
    pub unsummed_squares: f64,
}

impl SparseGradient {
    /// Sums the gradients of equal ids: sort, then segment sums in batch order.
    ///
    /// # Shapes
    /// `ids` `[batch]`; the gradient of ids[i] is `part(i)`, `[dim]`.
    pub(super) fn sum<'a>(
        ids: impl ExactSizeIterator<Item = u32>,
        dim: usize,
        part: impl Fn(usize) -> &'a [f32],
    ) -> Self {
        let mut order: Vec<(u32, u32)> = ids.zip(0..).collect();
        order.sort_unstable();
        let mut sum = Self { rows: Vec::new(), values: Vec::new(), dim, unsummed_squares: 0.0 };
        for (id, i) in order {
            let gradient = part(i as usize);
            sum.unsummed_squares += squares(gradient);
            if sum.rows.last() == Some(&id) {
                let at = sum.values.len() - dim;
                sum.values[at..].iter_mut().zip(gradient).for_each(|(s, g)| *s += g);
            } else {
                sum.rows.push(id);
                sum.values.extend_from_slice(gradient);
            }
        }
        sum
    }

    /// The gradient with a row for every row of the table.
    pub fn to_dense(&self, table_rows: usize) -> Array2<f32> {
        let mut dense = Array2::zeros((table_rows, self.dim));
        for (row, values) in self.rows.iter().zip(self.values.chunks_exact(self.dim.max(1))) {
            if let Ok(from) = ArrayView2::from_shape((1, self.dim), values) {
                dense.row_mut(*row as usize).assign(&from.row(0));
            }
        }
        dense
    }

    pub(super) fn scale(&mut self, factor: f32) {
        self.values.iter_mut().for_each(|v| *v *= factor);
    }
}

impl TowerGradients {
    /// Sum of squares of everything, embeddings after equal rows were summed.
    pub(super) fn squares(&self) -> f64 {
        let embeddings: f64 = self.embeddings.iter().map(|e| squares(&e.values)).sum();
        embeddings + self.dense.iter().map(|d| dense_squares(d).iter().sum::<f64>()).sum::<f64>()
    }
}

/// Of kernel and bias.
pub(super) fn dense_squares(layer: &Dense) -> [f64; 2] {
    [squares(layer.kernel.as_slice().unwrap_or_default()), squares(layer.bias.as_slice().unwrap_or_default())]
}
