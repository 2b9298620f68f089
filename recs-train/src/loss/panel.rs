//! Rows of a softmax: logits that become exponentials, and what belongs to each row.

use super::accidental_hits::leave_out_copies;
use super::columns::panel_width;
use super::hard_negatives::Raise;
use super::{Columns, Gemm, LossConfig, Targets};
use crate::matrix::Matrix;
use ndarray::{ArrayView2, s};
use recs_core::kernel::exp_sum_biased;

/// The shift of a row's exponents is at most this far above the logit of its own product, whose term then is at least
/// e^-40.
const ABOVE_OWN: f32 = 40.0;
/// Sums above this may have lost terms that were too large, or lose them when embeddings are multiplied by theirs.
const LARGEST_SUM: f32 = 1e30;

/// Exponentials of some rows' logits, with room for as many as stay in the second-level cache.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    config: LossConfig,
    pub(super) temperature: f32,
    raise: Raise,
    /// `[rows, panel_width(columns)]`
    numbers: Matrix,
    /// The targets' weights by the sums. `[rows]`
    pub(super) factors: Vec<f32>,
}

/// What a panel is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct PanelInput<'q, 'c> {
    pub(super) queries: ArrayView2<'q, f32>,
    pub(super) targets: Targets<'c>,
    pub(super) columns: Columns<'c>,
}

impl Panel {
    pub(super) fn new(config: LossConfig) -> Self {
        Self {
            config,
            temperature: config.temperature,
            raise: Raise::default(),
            numbers: Matrix::default(),
            factors: Vec::new(),
        }
    }

    /// The exponentials of the rows that were filled last. `[rows, columns]`
    pub(super) fn exponentials(&self, columns: usize) -> ArrayView2<'_, f32> {
        self.numbers.view().slice_move(s![.., ..columns])
    }

    /// Fills the panel with exponentials and the factors with the targets' weights by the exponentials' sums; gives the
    /// loss. At most `panel_rows` rows.
    pub(super) fn fill(&mut self, input: PanelInput<'_, '_>, shares: &mut [f32], gemm: &Gemm<'_>) -> f64 {
        let (rows, n) = (input.queries.nrows(), input.columns.bias.len());
        self.numbers.reshape(rows, panel_width(n));
        let logits = self.numbers.view_mut().slice_move(s![.., ..n]);
        gemm(1.0 / self.temperature, input.queries, input.columns.transposed, 0.0, logits);
        let highest_bias = input.columns.bias.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            + self.config.hard_negatives.map_or(0.0, |hard| hard.weight.ln());
        let mut loss = 0.0;
        self.factors.clear();
        let mut numbers = std::mem::take(&mut self.numbers);
        for (i, share) in shares.iter_mut().enumerate() {
            loss += self.row(input, i, &mut numbers.row_mut(i)[..n], highest_bias, share);
        }
        self.numbers = numbers;
        loss
    }

    /// Makes a row's logits exponentials; gives its loss.
    fn row(
        &mut self,
        PanelInput { queries, targets, columns }: PanelInput<'_, '_>,
        i: usize,
        logits: &mut [f32],
        highest_bias: f32,
        share: &mut f32,
    ) -> f64 {
        let Self { config, raise, .. } = self;
        let (q, inverse) = (queries.row(i), 1.0 / self.temperature);
        let (own, weights) = targets.row(i);
        let mask = own.first().filter(|_| config.mask_accidental_hits && own.len() == 1);
        let mut prepare = |logits: &mut [f32]| {
            if let Some(&own) = mask {
                leave_out_copies(logits, own as usize, columns);
            }
            if let Some(hard) = config.hard_negatives {
                raise.raise(logits, hard, (targets, i), columns);
            }
        };
        prepare(logits);
        // Of its copies, a target is one; the masked ones are gone already.
        let copies = |j: usize| if mask.is_some() { 1.0 } else { columns.copies[j] };
        let logit = |logits: &[f32], j: u32| logits[j as usize] + columns.bias[j as usize];
        let (mut total, mut positive) = (0.0f32, 0.0f64);
        for (&j, &weight) in own.iter().zip(weights) {
            total += weight;
            positive += f64::from(weight * (logit(logits, j) - copies(j as usize).ln()));
        }
        let bound = q.dot(&q).sqrt() * columns.longest * inverse + highest_bias;
        let first = own.first().map_or(f32::INFINITY, |&j| logit(logits, j));
        let mut shift = bound.min(first + ABOVE_OWN);
        let mut sum = exp_sum_biased(logits, columns.bias, shift);
        if sum > LARGEST_SUM {
            // Some logit is far above the first target's: look for the highest.
            let mut row = columns.embeddings.dot(&q) * inverse;
            let row = row.as_slice_mut().unwrap_or_default();
            prepare(row);
            shift = row.iter().zip(columns.bias).map(|(s, b)| s + b).fold(f32::NEG_INFINITY, f32::max);
            logits.copy_from_slice(row);
            sum = exp_sum_biased(logits, columns.bias, shift);
        }
        self.factors.push(total / sum);
        *share = mask.map_or(-1.0, |&own| logits[own as usize] / sum - 1.0);
        f64::from(total) * (f64::from(sum).ln() + f64::from(shift)) - positive
    }
}
