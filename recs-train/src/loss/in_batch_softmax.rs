//! In-batch softmax: every other row's product is a negative.
//!
//! Row i of a batch has the logits `s_ij = q_i . c_j / temperature - log Q(j)` over the batch's candidates j and the
//! loss `-log softmax(s_i)_i`. The correction by the sampling probability Q is that of Yi et al., *Sampling-Bias-
//! Corrected Neural Modeling for Large Corpus Item Recommendations*, RecSys 2019
//! (<https://research.google/pubs/pub48840/>).

use super::{LossConfig, Reduction};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use recs_core::kernel::{exp_sum_in_place, gemm};

/// Query rows whose logits are in memory at a time, each against the whole batch.
const PANEL_ROWS: usize = 64;

/// What stands on the candidates' side of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Embeddings `[batch, dim]`.
    pub embeddings: ArrayView2<'a, f32>,
    /// Product of each column: equal numbers are the same product. `[batch]`
    pub products: &'a [u32],
    /// log Q of each column, or empty without correction. `[batch]`
    pub log_q: &'a [f32],
}

/// The loss, with buffers for one thread.
#[derive(Debug, Clone)]
pub struct InBatchSoftmax {
    config: LossConfig,
    panel: Array2<f32>,
}

impl InBatchSoftmax {
    /// A loss with empty buffers.
    pub fn new(config: LossConfig) -> Self {
        Self { config, panel: Array2::zeros((0, 0)) }
    }

    /// Loss of the query rows that stand at `first..` in a batch, and its gradients. Never holds more than
    /// 64 x batch logits.
    ///
    /// # Shapes
    /// `queries` and `d_queries` `[n, dim]`; `targets.embeddings` and `d_targets` `[batch, dim]`. `d_queries` is
    /// overwritten, `d_targets` is added to.
    ///
    /// # Panics
    /// When the shapes do not fit, or `first + n` is beyond the batch.
    pub fn forward_backward(
        &mut self,
        queries: &ArrayView2<'_, f32>,
        first: usize,
        targets: Targets<'_>,
        mut d_queries: ArrayViewMut2<'_, f32>,
        mut d_targets: ArrayViewMut2<'_, f32>,
    ) -> f64 {
        let (rows, batch) = (queries.nrows(), targets.embeddings.nrows());
        if self.panel.dim() != (PANEL_ROWS, batch) {
            self.panel = Array2::zeros((PANEL_ROWS, batch));
        }
        let scale = match self.config.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / batch as f32,
        };
        let inverse_temperature = 1.0 / self.config.temperature;
        let mut loss = 0.0;
        for from in (0..rows).step_by(PANEL_ROWS) {
            let to = (from + PANEL_ROWS).min(rows);
            let q = queries.slice(s![from..to, ..]);
            let mut panel = self.panel.slice_mut(s![..to - from, ..]);
            gemm(inverse_temperature, q, targets.embeddings.t(), 0.0, panel.view_mut());
            for (i, mut logits) in panel.rows_mut().into_iter().enumerate() {
                if let Some(logits) = logits.as_slice_mut() {
                    loss += self.config.row(logits, first + from + i, targets, scale);
                }
            }
            gemm(
                inverse_temperature,
                panel.view(),
                targets.embeddings,
                0.0,
                d_queries.slice_mut(s![from..to, ..]),
            );
            gemm(inverse_temperature, panel.t(), q, 1.0, d_targets.view_mut());
        }
        loss * f64::from(scale)
    }
}

impl LossConfig {
    /// Turns a row of logits into its gradient and gives the row's loss.
    fn row(&self, logits: &mut [f32], own: usize, targets: Targets<'_>, scale: f32) -> f64 {
        if self.log_q {
            logits.iter_mut().zip(targets.log_q).for_each(|(s, q)| *s -= q);
        }
        if self.mask_accidental_hits {
            let product = targets.products[own];
            for (j, s) in logits.iter_mut().enumerate() {
                if targets.products[j] == product && j != own {
                    *s = f32::NEG_INFINITY;
                }
            }
        }
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let positive = logits[own] - highest;
        let sum = exp_sum_in_place(logits, highest);
        let inverse = scale / sum;
        logits.iter_mut().for_each(|p| *p *= inverse);
        logits[own] -= scale;
        f64::from(sum).ln() - f64::from(positive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(rows: usize, cols: usize, seed: u64, salt: u64) -> Array2<f32> {
        Array2::from_shape_fn((rows, cols), |(i, j)| {
            let bytes = [seed, salt, i as u64, j as u64].map(u64::to_le_bytes).concat();
            (recs_core::hash::fingerprint64(&bytes) % 2001) as f32 / 1000.0 - 1.0
        })
    }

    /// The definition in f64, without tricks.
    fn naive(config: LossConfig, q: &Array2<f32>, c: &Array2<f32>, products: &[u32], log_q: &[f32]) -> f64 {
        let n = q.nrows();
        let mut total = 0.0;
        for i in 0..n {
            let logit = |j: usize| {
                let dot: f64 = (0..q.ncols()).map(|d| f64::from(q[[i, d]]) * f64::from(c[[j, d]])).sum();
                let corrected = if config.log_q { f64::from(log_q[j]) } else { 0.0 };
                dot / f64::from(config.temperature) - corrected
            };
            let kept =
                (0..n).filter(|&j| j == i || !config.mask_accidental_hits || products[j] != products[i]);
            total += kept.map(|j| logit(j).exp()).sum::<f64>().ln() - logit(i);
        }
        if config.reduction == Reduction::Mean { total / n as f64 } else { total }
    }

    fn run(
        config: LossConfig,
        q: &Array2<f32>,
        c: &Array2<f32>,
        products: &[u32],
        log_q: &[f32],
        cut: usize,
    ) -> (f64, Array2<f32>, Array2<f32>) {
        let (mut dq, mut dc) = (Array2::zeros(q.raw_dim()), Array2::zeros(c.raw_dim()));
        let mut softmax = InBatchSoftmax::new(config);
        let targets = Targets { embeddings: c.view(), products, log_q };
        let mut loss = 0.0;
        for (from, to) in [(0, cut), (cut, q.nrows())] {
            let part = dq.slice_mut(s![from..to, ..]);
            loss += softmax.forward_backward(&q.slice(s![from..to, ..]), from, targets, part, dc.view_mut());
        }
        (loss, dq, dc)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn loss_equals_the_definition_and_gradients_finite_differences(
            n in 2usize..90, cut in 0usize..90, seed in any::<u64>(), log_q in any::<bool>(), mask in any::<bool>(), mean in any::<bool>(),
        ) {
            let reduction = if mean { Reduction::Mean } else { Reduction::Sum };
            let config = LossConfig { reduction, temperature: 0.7, log_q, mask_accidental_hits: mask };
            let (q, c) = (matrix(n, 5, seed, 1), matrix(n, 5, seed, 2));
            let products: Vec<u32> = (0..n as u32).map(|i| i % 7).collect();
            let weights: Vec<f32> = (0..n).map(|i| -1.0 - (i % 7) as f32 * 0.3).collect();
            let (loss, dq, dc) = run(config, &q, &c, &products, &weights, cut.min(n));
            let exact = naive(config, &q, &c, &products, &weights);
            prop_assert!((loss - exact).abs() < 1e-4 * exact.abs().max(1.0), "{loss} {exact}");
            let step = 1e-3f32;
            for (i, d) in [(0, 0), (n - 1, 4), (n / 2, 2)] {
                let nudged = |side: usize, by: f32| {
                    let (mut q, mut c) = (q.clone(), c.clone());
                    if side == 0 { q[[i, d]] += by } else { c[[i, d]] += by }
                    naive(config, &q, &c, &products, &weights)
                };
                for (side, analytic) in [(0, dq[[i, d]]), (1, dc[[i, d]])] {
                    let numeric = (nudged(side, step) - nudged(side, -step)) / f64::from(2.0 * step);
                    prop_assert!((numeric - f64::from(analytic)).abs() < 2e-3 * numeric.abs().max(0.1), "{side}: {numeric} {analytic}");
                }
            }
        }
    }
}
