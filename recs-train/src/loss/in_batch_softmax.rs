//! In-batch softmax: every other row's product is a negative.
//!
//! Row i of a batch has the logits `s_ij = q_i . c_j / temperature - log Q(j)` over the batch's candidates j and the
//! loss `-log softmax(s_i)_i`. The correction by the sampling probability Q is that of Yi et al., *Sampling-Bias-
//! Corrected Neural Modeling for Large Corpus Item Recommendations*, RecSys 2019
//! (<https://research.google/pubs/pub48840/>).
//!
//! A product that the batch has n times is one column: n equal terms `e^s` are one `e^(s + log n)`. Rows are worked on in
//! panels that stay in the second-level cache; a logit is written once, turned into its exponential once, and read by the
//! two products of the backward pass, which take the sum of the row as a factor of their small side:
//! `dq_i = (1/Z_i) sum_j e_ij c_j` and `dc_j = sum_i e_ij (q_i / Z_i)`.

use super::{LossConfig, Reduction};
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use recs_core::kernel::{dot, exp_sum_biased};

/// Room for the logits of a panel: half of a small second-level cache.
const PANEL_BYTES: usize = 512 << 10;
/// A panel has at most these rows, and at least 8.
const PANEL_ROWS: usize = 192;
/// The shift of a row's exponents is at most this far above the logit of its own product, whose term then is at least
/// e^-40.
const ABOVE_OWN: f32 = 40.0;
/// Sums above this may have lost terms that were too large.
const LARGEST_SUM: f32 = 1e38;

/// No further column.
pub const NO_COLUMN: u32 = u32::MAX;

/// Matrix product `c = alpha a b + beta c`, with whatever its caller counts.
pub type Gemm<'a> =
    dyn Fn(f32, ArrayView2<'_, f32>, ArrayView2<'_, f32>, f32, ArrayViewMut2<'_, f32>) + Sync + 'a;

/// The candidates of a batch, each once.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Embeddings `[columns, dim]`.
    pub embeddings: ArrayView2<'a, f32>,
    /// How often the batch has each column. `[columns]`
    pub copies: &'a [f32],
    /// What is added to the logits: log(copies) - log Q. `[columns]`
    pub bias: &'a [f32],
    /// The next column with the same product, in a ring, or [`NO_COLUMN`]; may be empty when no product has several.
    pub same_product: &'a [u32],
    /// Length of the longest embedding.
    pub longest: f32,
}

/// The loss, with buffers for one thread.
#[derive(Debug, Clone)]
pub struct InBatchSoftmax {
    config: LossConfig,
    panel: Array2<f32>,
    scaled: Array2<f32>,
    factors: Vec<f32>,
}

impl InBatchSoftmax {
    /// A loss with empty buffers.
    pub fn new(config: LossConfig) -> Self {
        Self { config, panel: Array2::zeros((0, 0)), scaled: Array2::zeros((0, 0)), factors: Vec::new() }
    }

    /// Loss of query rows, and its gradients. Never holds more than 192 rows of logits at a time, or 512 KiB of them when
    /// there are many columns (8 rows at least).
    ///
    /// # Shapes
    /// `queries` and `d_queries` `[n, dim]`, `own` `[n]` the column of each row's product; `columns.embeddings` and
    /// `d_columns` `[columns, dim]`. `d_queries` is overwritten, `d_columns` is added to. `batch` is the number of rows that
    /// a mean is over. `shares` `[n]` gets the part of each row's gradient at its own product that is the row's alone:
    /// -1, or with accidental hits masked its probability - 1.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn forward_backward(
        &mut self,
        queries: &ArrayView2<'_, f32>,
        own: &[u32],
        batch: usize,
        columns: Columns<'_>,
        mut d_queries: ArrayViewMut2<'_, f32>,
        mut d_columns: ArrayViewMut2<'_, f32>,
        shares: &mut [f32],
        gemm: &Gemm<'_>,
    ) -> f64 {
        let (n, dim) = columns.embeddings.dim();
        let rows = (PANEL_BYTES / 4 / n.max(1)).clamp(8, PANEL_ROWS);
        // A row more than needed keeps rows from falling on the same lines of the cache.
        let room = n.next_multiple_of(16) + 16;
        if self.panel.nrows() < rows || self.panel.ncols() < room || self.scaled.ncols() != dim {
            self.panel = Array2::zeros((PANEL_ROWS.min(rows.max(self.panel.nrows())), room));
            self.scaled = Array2::zeros((PANEL_ROWS, dim));
        }
        let weight = match self.config.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / batch as f32,
        };
        let inverse_temperature = 1.0 / self.config.temperature;
        let mut loss = 0.0;
        for from in (0..queries.nrows()).step_by(rows) {
            let to = (from + rows).min(queries.nrows());
            let (q, own) = (queries.slice(s![from..to, ..]), &own[from..to]);
            loss += self.panel(&q, own, columns, &mut shares[from..to], gemm);
            let scale = weight * inverse_temperature;
            let panel = self.panel.slice(s![..to - from, ..n]);
            let mut scaled = self.scaled.slice_mut(s![..to - from, ..]);
            let mut dq = d_queries.slice_mut(s![from..to, ..]);
            gemm(1.0, panel, columns.embeddings, 0.0, dq.view_mut());
            for (i, &own) in own.iter().enumerate() {
                let (factor, c) = (scale * self.factors[i], columns.embeddings.row(own as usize));
                dq.row_mut(i).zip_mut_with(&c, |d, c| *d = *d * factor - scale * c);
                scaled.row_mut(i).zip_mut_with(&q.row(i), |s, q| *s = factor * q);
            }
            gemm(1.0, panel.t(), scaled.view(), 1.0, d_columns.view_mut());
            for (i, &own) in own.iter().enumerate() {
                d_columns.row_mut(own as usize).zip_mut_with(&q.row(i), |d, q| *d -= scale * q);
            }
        }
        loss * f64::from(weight)
    }

    /// Fills the panel with exponentials and the factors with the inverses of their sums; gives the loss.
    fn panel(
        &mut self,
        q: &ArrayView2<'_, f32>,
        own: &[u32],
        columns: Columns<'_>,
        shares: &mut [f32],
        gemm: &Gemm<'_>,
    ) -> f64 {
        let n = columns.bias.len();
        let inverse_temperature = 1.0 / self.config.temperature;
        let mut panel = self.panel.slice_mut(s![..own.len(), ..n]);
        gemm(inverse_temperature, q.view(), columns.embeddings.t(), 0.0, panel.view_mut());
        let highest_bias = columns.bias.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut loss = 0.0;
        self.factors.clear();
        for (i, mut logits) in panel.axis_iter_mut(Axis(0)).enumerate() {
            let (q, Some(logits)) = (q.row(i), logits.as_slice_mut()) else { continue };
            let q = q.as_slice().unwrap_or_default();
            let length = dot(q, q).sqrt();
            let bound = length * columns.longest * inverse_temperature + highest_bias;
            let own = own[i] as usize;
            self.config.mask(logits, own, columns);
            let positive = logits[own] + columns.bias[own];
            let mut shift = bound.min(positive + ABOVE_OWN);
            let mut sum = exp_sum_biased(logits, columns.bias, shift);
            if sum > LARGEST_SUM {
                // Some logit is far above the own product's: look for the highest.
                let again = ndarray::aview1(q);
                let mut row = columns.embeddings.dot(&again) * inverse_temperature;
                let row = row.as_slice_mut().unwrap_or_default();
                self.config.mask(row, own, columns);
                shift = row.iter().zip(columns.bias).map(|(s, b)| s + b).fold(f32::NEG_INFINITY, f32::max);
                logits.copy_from_slice(row);
                sum = exp_sum_biased(logits, columns.bias, shift);
            }
            // Of its copies, a row's own product is one.
            let copies = if self.config.mask_accidental_hits { 1.0 } else { columns.copies[own] };
            loss += f64::from(sum).ln() + f64::from(shift) - f64::from(positive) + f64::from(copies).ln();
            self.factors.push(1.0 / sum);
            shares[i] = if self.config.mask_accidental_hits { logits[own] / sum - 1.0 } else { -1.0 };
        }
        loss
    }
}

impl LossConfig {
    /// Leaves out what else the batch has of a row's own product.
    fn mask(&self, logits: &mut [f32], own: usize, columns: Columns<'_>) {
        if !self.mask_accidental_hits {
            return;
        }
        logits[own] -= columns.copies[own].ln();
        let mut other = columns.same_product.get(own).copied().unwrap_or(NO_COLUMN);
        while other != NO_COLUMN && other as usize != own {
            logits[other as usize] = f32::NEG_INFINITY;
            other = columns.same_product[other as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use recs_core::kernel;

    fn matrix(rows: usize, cols: usize, seed: u64, salt: u64, size: f32) -> Array2<f32> {
        Array2::from_shape_fn((rows, cols), |(i, j)| {
            let bytes = [seed, salt, i as u64, j as u64].map(u64::to_le_bytes).concat();
            ((recs_core::hash::fingerprint64(&bytes) % 2001) as f32 / 1000.0 - 1.0) * size
        })
    }

    /// A batch: candidates by number, each with an embedding, a product and log Q; rows by their candidates.
    struct Batch {
        config: LossConfig,
        q: Array2<f32>,
        c: Array2<f32>,
        own: Vec<u32>,
        products: Vec<u32>,
        log_q: Vec<f32>,
    }

    impl Batch {
        /// The definition in f64, over rows and without folding equal ones.
        fn naive(&self) -> f64 {
            let (n, config) = (self.q.nrows(), self.config);
            let product = |i: usize| self.products[self.own[i] as usize];
            let mut total = 0.0;
            for i in 0..n {
                let logit = |j: usize| {
                    let at = self.own[j] as usize;
                    let dot: f64 = (0..self.q.ncols())
                        .map(|d| f64::from(self.q[[i, d]]) * f64::from(self.c[[at, d]]))
                        .sum();
                    let corrected = if config.log_q { f64::from(self.log_q[at]) } else { 0.0 };
                    dot / f64::from(config.temperature) - corrected
                };
                let kept =
                    (0..n).filter(|&j| j == i || !config.mask_accidental_hits || product(j) != product(i));
                let logits: Vec<f64> = kept.map(logit).collect();
                let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                total += logits.iter().map(|l| (l - highest).exp()).sum::<f64>().ln() + highest - logit(i);
            }
            if config.reduction == Reduction::Mean { total / n as f64 } else { total }
        }

        fn run(&self, cut: usize) -> (f64, Array2<f32>, Array2<f32>) {
            let (mut dq, mut dc) = (Array2::zeros(self.q.raw_dim()), Array2::zeros(self.c.raw_dim()));
            let mut copies = vec![0.0f32; self.c.nrows()];
            self.own.iter().for_each(|&o| copies[o as usize] += 1.0);
            let correction = |i: usize| if self.config.log_q { self.log_q[i] } else { 0.0 };
            // Columns without a row do not take part: log 0.
            let bias: Vec<f32> = copies.iter().enumerate().map(|(i, c)| c.ln() - correction(i)).collect();
            let same = |i: usize| {
                let ring = (1..=copies.len()).map(|k| (i + k) % copies.len());
                ring.into_iter()
                    .find(|&j| self.products[j] == self.products[i])
                    .map_or(NO_COLUMN, |j| j as u32)
            };
            let same_product: Vec<u32> = (0..copies.len()).map(same).collect();
            let longest = self.c.rows().into_iter().map(|r| r.dot(&r).sqrt()).fold(0.0, f32::max);
            let columns = Columns {
                embeddings: self.c.view(),
                copies: &copies,
                bias: &bias,
                same_product: &same_product,
                longest,
            };
            let (mut softmax, mut loss) = (InBatchSoftmax::new(self.config), 0.0);
            let mut shares = vec![0.0; self.q.nrows()];
            for (from, to) in [(0, cut), (cut, self.q.nrows())] {
                let part = dq.slice_mut(s![from..to, ..]);
                let (q, own) = (self.q.slice(s![from..to, ..]), &self.own[from..to]);
                let n = self.q.nrows();
                let shares = &mut shares[from..to];
                loss +=
                    softmax.forward_backward(&q, own, n, columns, part, dc.view_mut(), shares, &kernel::gemm);
            }
            (loss, dq, dc)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn loss_equals_the_definition_and_gradients_finite_differences(
            n in 2usize..250, cut in 0usize..250, seed in any::<u64>(), log_q in any::<bool>(), mask in any::<bool>(), mean in any::<bool>(),
            size in prop_oneof![Just(1f32), Just(6.0)],
        ) {
            let reduction = if mean { Reduction::Mean } else { Reduction::Sum };
            let config = LossConfig { reduction, temperature: 0.7, log_q, mask_accidental_hits: mask };
            let columns = (n / 2).clamp(2, 60) as u32;
            let mut batch = Batch {
                config,
                q: matrix(n, 5, seed, 1, size),
                c: matrix(columns as usize, 5, seed, 2, size),
                own: (0..n as u32).map(|i| (i * i + i / 3) % columns).collect(),
                // Two candidates may be the same product with other features.
                products: (0..columns).map(|i| i % 41).collect(),
                log_q: (0..columns).map(|i| -1.0 - (i % 41) as f32 * 0.1).collect(),
            };
            let (loss, dq, dc) = batch.run(cut.min(n));
            let exact = batch.naive();
            prop_assert!((loss - exact).abs() < 1e-4 * exact.abs().max(1.0), "{loss} {exact}");
            let step = 1e-3f32;
            let used = batch.own[n / 2] as usize;
            for (row, d) in [(0, 0), (n - 1, 4), (n / 2, 2)] {
                for (side, analytic) in [(0, dq[[row, d]]), (1, dc[[used, d]])] {
                    let mut nudged = |by: f32| {
                        let at = if side == 0 { &mut batch.q[[row, d]] } else { &mut batch.c[[used, d]] };
                        let before = *at;
                        *at += by;
                        let moved = f64::from(*at) - f64::from(before);
                        let loss = batch.naive();
                        *(if side == 0 { &mut batch.q[[row, d]] } else { &mut batch.c[[used, d]] }) = before;
                        (loss, moved)
                    };
                    let ((above, up), (below, down)) = (nudged(step), nudged(-step));
                    let numeric = (above - below) / (up - down);
                    let tolerance = 3e-3 * numeric.abs().max(0.1 * f64::from(size));
                    prop_assert!((numeric - f64::from(analytic)).abs() < tolerance, "{side}: {numeric} {analytic}");
                }
            }
        }
    }

    /// An own logit far below the others: the first shift overflows, the second does not.
    #[test]
    fn stays_finite_when_the_own_product_is_hopeless() {
        let config = LossConfig { temperature: 1.0, ..LossConfig::reference() };
        let c = Array2::from_shape_vec((2, 1), vec![200.0, -200.0]).unwrap();
        let batch = Batch {
            config,
            q: Array2::from_elem((2, 1), 1.0),
            c,
            own: vec![0, 1],
            products: vec![0, 1],
            log_q: vec![0.0; 2],
        };
        let (loss, dq, _) = batch.run(1);
        assert!((loss - 400.0).abs() < 1e-3 && (dq[[1, 0]] - 400.0).abs() < 1e-2, "{loss} {dq:?}");
    }
}
