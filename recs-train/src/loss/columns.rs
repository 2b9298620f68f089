//! The candidates of a step as a loss reads them, and what rows are to score high.

use ndarray::{ArrayView2, ArrayViewMut2};

/// No further column.
pub const NO_COLUMN: u32 = u32::MAX;

/// Room for the logits of a panel: half of a small second-level cache.
const PANEL_BYTES: usize = 512 << 10;
/// A panel has at least these rows: fewer leave the products waiting for the embeddings.
const MIN_ROWS: usize = 48;
/// A panel has at most these rows.
const PANEL_ROWS: usize = 192;

/// Matrix products keep this many rows of their result in registers with AVX-512, and half of them with AVX2.
const TILE_ROWS: usize = 12;
const _: () = assert!(MIN_ROWS.is_multiple_of(TILE_ROWS), "panels of at least MIN_ROWS");

/// Rows of logits worked on at a time.
pub(super) fn panel_rows(columns: usize) -> usize {
    let rows = (PANEL_BYTES / 4 / columns.max(1)).clamp(MIN_ROWS, PANEL_ROWS);
    rows - rows % TILE_ROWS
}

/// Numbers from one row of a panel to the next: a few more than needed keep rows from falling on the same lines of the cache.
pub(super) fn panel_width(columns: usize) -> usize {
    columns.next_multiple_of(16) + 16
}

/// Matrix product `c = alpha a b + beta c`, with whatever its caller counts.
pub type Gemm<'a> =
    dyn Fn(f32, ArrayView2<'_, f32>, ArrayView2<'_, f32>, f32, ArrayViewMut2<'_, f32>) + Sync + 'a;

/// What each row is to score high.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Those of row i are `offsets[i]..offsets[i + 1]`. `[rows + 1]`
    pub offsets: &'a [u32],
    /// Column of each.
    pub columns: &'a [u32],
    /// Weight of each.
    pub weights: &'a [f32],
}

impl<'a> Targets<'a> {
    /// Those of the rows `from..to`.
    pub fn rows(&self, from: usize, to: usize) -> Self {
        Self { offsets: &self.offsets[from..=to], ..*self }
    }

    /// Columns and weights of a row.
    pub(super) fn row(&self, row: usize) -> (&'a [u32], &'a [f32]) {
        let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
        (&self.columns[range.clone()], &self.weights[range])
    }
}

/// The candidates of a step, each once.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Embeddings `[columns, dim]`.
    pub embeddings: ArrayView2<'a, f32>,
    /// The same, number after number, which the product of the logits reads faster. `[dim, columns]`
    pub transposed: ArrayView2<'a, f32>,
    /// How often the step has each column. `[columns]`
    pub copies: &'a [f32],
    /// What is added to the logits: log(copies) - log Q. `[columns]`
    pub bias: &'a [f32],
    /// The next column with the same product, in a ring, or [`NO_COLUMN`]; may be empty when no product has several.
    pub same_product: &'a [u32],
    /// Length of the longest embedding.
    pub longest: f32,
}

/// What a loss is computed of.
#[derive(Debug, Clone, Copy)]
pub struct LossInput<'q, 'a> {
    /// `[n, dim]`
    pub queries: ArrayView2<'q, f32>,
    /// Those of the n rows.
    pub targets: Targets<'a>,
    /// Columns drawn for each row, [`NO_COLUMN`] for a draw in vain; empty for a loss that draws none. `[n, draws]`
    pub negatives: &'a [u32],
    /// What everything is multiplied by.
    pub weight: f32,
    /// The candidates.
    pub columns: Columns<'a>,
}

/// Where gradients go.
#[derive(Debug)]
pub struct LossGradients<'a> {
    /// Of the queries, overwritten. `[n, dim]`
    pub queries: ArrayViewMut2<'a, f32>,
    /// Of the first columns, overwritten; the columns behind are constants, and nobody's target. `[trained, dim]`
    pub columns: ArrayViewMut2<'a, f32>,
    /// Of a softmax, the part of each row's gradient at its first target that is the row's alone: -1, or with accidental
    /// hits masked its probability - 1. `[n]`
    pub shares: &'a mut [f32],
}
