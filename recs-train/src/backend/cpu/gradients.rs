//! Gradients of a batch, for those who look at them; a step works on the rooms of its towers.

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
    /// Of log(1 / temperature), where it is learned.
    pub log_scale: Option<f32>,
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
    /// Rows of the table, each once, in the order in which the batch has them first.
    pub rows: Vec<u32>,
    /// `[rows.len(), dim]`
    pub values: Vec<f32>,
    /// Width of the table.
    pub dim: usize,
    /// Sum of squares of the batch's single gradients, before those of equal rows were summed; 0 when the clipping does not
    /// ask for it.
    pub unsummed_squares: f64,
}

impl SparseGradient {
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
}

impl Gradients {
    /// Multiplies every tensor by its factor.
    pub(super) fn scale(&mut self, factors: &super::update::Factors) {
        self.log_scale = self.log_scale.map(|gradient| gradient * factors.log_scale);
        for (tower, factors) in [(&mut self.query, &factors.query), (&mut self.candidate, &factors.candidate)]
        {
            for (table, factor) in tower.embeddings.iter_mut().zip(&factors.embeddings) {
                table.values.iter_mut().for_each(|v| *v *= factor);
            }
            for (layer, [kernel, bias]) in tower.dense.iter_mut().zip(&factors.dense) {
                layer.kernel *= *kernel;
                layer.bias *= *bias;
            }
        }
    }
}

/// Of kernel and bias.
pub(super) fn dense_squares(layer: &Dense) -> [f64; 2] {
    [squares(layer.kernel.as_slice().unwrap_or_default()), squares(layer.bias.as_slice().unwrap_or_default())]
}
