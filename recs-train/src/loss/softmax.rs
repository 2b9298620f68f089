//! Softmax over the candidates of a batch, or over all of them.
//!
//! A row has one or several targets t with weights w_t, logits `s_j = q . c_j / temperature + bias_j` over the columns j, and
//! the loss `sum over t of w_t (log sum over j of e^(s_j) - s_t)`.
//!
//! - In-batch: columns are the batch's own products, with the bias `log(copies) - log Q`: n equal terms `e^s` are one
//!   `e^(s + log n)`, and Q is the probability of being sampled (Yi et al., *Sampling-Bias-Corrected Neural Modeling for Large
//!   Corpus Item Recommendations*, RecSys 2019, <https://research.google/pubs/pub48840/>).
//!   With uniform draws among the columns, Q is the mixture's (`mixed.rs`); those of earlier steps come last (`cross_batch.rs`).
//! - Full: columns are the catalogue. With all purchases of a customer as targets it is the multinomial likelihood of Liang et
//!   al. 2018 (<https://arxiv.org/abs/1802.05814>).
//!
//! Rows are worked on in panels that stay in the second-level cache; a logit is written once, turned into its exponential
//! once, and read by the two products of the backward pass, which take what belongs to the row as a factor of their small
//! side: `dq_i = f_i sum_j e_ij c_j` and `dc_j = sum_i e_ij (f_i q_i)`, f_i being the weight of the targets by the sum.

use super::columns::panel_rows;
use super::panel::{Panel, PanelInput};
use super::{Gemm, LossConfig, LossGradients, LossInput, Targets};
use crate::matrix::Matrix;
use ndarray::{ArrayView2, ArrayViewMut2, s};
use pulp::Arch;
use recs_core::kernel::add_scaled;

/// The loss, with buffers for one thread.
#[derive(Debug, Clone)]
pub struct Softmax {
    panel: Panel,
    /// Queries by their sums. `[rows, dim]`
    scaled: Matrix,
}

impl Softmax {
    /// A loss with empty buffers.
    pub fn new(config: LossConfig) -> Self {
        Self { panel: Panel::new(config), scaled: Matrix::default() }
    }

    /// Dot products are divided by this from now on.
    pub fn set_temperature(&mut self, temperature: f32) {
        self.panel.temperature = temperature;
    }

    /// Loss of query rows, and its gradients. Never holds more than 192 rows of logits at a time, or 512 KiB of them when
    /// there are many columns (48 rows at least).
    ///
    /// # Panics
    /// When the shapes do not fit, or a matrix does not stand in memory row after row.
    pub fn forward_backward(
        &mut self,
        input: LossInput<'_, '_>,
        gradients: LossGradients<'_>,
        gemm: &Gemm<'_>,
    ) -> f64 {
        let LossInput { queries, targets, weight, columns, .. } = input;
        let LossGradients { queries: mut d_queries, columns: mut d_columns, shares } = gradients;
        let (n, dim) = columns.embeddings.dim();
        let rows = panel_rows(n);
        let (scale, trained) = (weight / self.panel.temperature, d_columns.nrows());
        let mut loss = 0.0;
        if queries.nrows() == 0 {
            d_columns.fill(0.0);
        }
        for from in (0..queries.nrows()).step_by(rows) {
            let to = (from + rows).min(queries.nrows());
            let (q, targets) = (queries.slice(s![from..to, ..]), targets.rows(from, to));
            let input = PanelInput { queries: q, targets, columns };
            loss += self.panel.fill(input, &mut shares[from..to], gemm);
            let panel = self.panel.exponentials(n);
            self.scaled.reshape(to - from, dim);
            let mut dq = d_queries.slice_mut(s![from..to, ..]);
            gemm(1.0, panel, columns.embeddings, 0.0, dq.view_mut());
            let own = Own { targets, scale, factors: &self.panel.factors };
            own.of_queries(&q, &columns.embeddings, dq.view_mut(), self.scaled.as_mut_slice());
            let beta = if from == 0 { 0.0 } else { 1.0 };
            gemm(1.0, panel.slice(s![.., ..trained]).t(), self.scaled.view(), beta, d_columns.view_mut());
            own.of_columns(&q, d_columns.view_mut());
        }
        loss * f64::from(weight)
    }
}

/// What belongs to each row of a panel.
struct Own<'a> {
    targets: Targets<'a>,
    scale: f32,
    factors: &'a [f32],
}

impl Own<'_> {
    /// Gradients of the queries from `sum over j of e_ij c_j`, and the queries times their factors.
    fn of_queries(
        &self,
        q: &ArrayView2<'_, f32>,
        columns: &ArrayView2<'_, f32>,
        mut dq: ArrayViewMut2<'_, f32>,
        scaled: &mut [f32],
    ) {
        let dim = dq.ncols();
        let (dq, columns) = (flat_mut(&mut dq), flat(columns));
        let rows = dq.chunks_exact_mut(dim).zip(scaled.chunks_exact_mut(dim)).zip(flat(q).chunks_exact(dim));
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (i, (((dq, scaled), q), factor)) in rows.zip(self.factors).enumerate() {
                    let factor = self.scale * factor;
                    dq.iter_mut().for_each(|d| *d *= factor);
                    scaled.iter_mut().zip(q).for_each(|(s, q)| *s = factor * q);
                    let (own, weights) = self.targets.row(i);
                    for (&own, weight) in own.iter().zip(weights) {
                        let at = own as usize * dim;
                        add_scaled(dq, -self.scale * weight, &columns[at..at + dim]);
                    }
                }
            },
        );
    }

    /// Takes the rows' targets off the gradients of the columns.
    fn of_columns(&self, q: &ArrayView2<'_, f32>, mut d_columns: ArrayViewMut2<'_, f32>) {
        let dim = d_columns.ncols();
        let d_columns = flat_mut(&mut d_columns);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (i, q) in flat(q).chunks_exact(dim).enumerate() {
                    let (own, weights) = self.targets.row(i);
                    for (&own, weight) in own.iter().zip(weights) {
                        let at = own as usize * dim;
                        add_scaled(&mut d_columns[at..at + dim], -self.scale * weight, q);
                    }
                }
            },
        );
    }
}

fn flat<'a>(matrix: &'a ArrayView2<'_, f32>) -> &'a [f32] {
    matrix.as_slice().expect("row after row")
}

fn flat_mut<'a>(matrix: &'a mut ArrayViewMut2<'_, f32>) -> &'a mut [f32] {
    matrix.as_slice_mut().expect("row after row")
}

#[cfg(test)]
mod tests {
    use super::super::{Columns, LogQ, NO_COLUMN, Reduction};
    use super::*;
    use ndarray::Array2;
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
                    let corrected = if config.log_q == LogQ::Exact { f64::from(self.log_q[at]) } else { 0.0 };
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
            let correction = |i: usize| if self.config.log_q == LogQ::Exact { self.log_q[i] } else { 0.0 };
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
                transposed: self.c.t(),
                copies: &copies,
                bias: &bias,
                same_product: &same_product,
                longest,
            };
            let (mut softmax, mut loss) = (Softmax::new(self.config), 0.0);
            let n = self.q.nrows();
            let (mut shares, ones) = (vec![0.0; n], vec![1.0; n]);
            let offsets: Vec<u32> = (0..=n as u32).collect();
            let weight = if self.config.reduction == Reduction::Mean { 1.0 / n as f32 } else { 1.0 };
            for (from, to) in [(0, cut), (cut, self.q.nrows())] {
                let part = dq.slice_mut(s![from..to, ..]);
                let mut part_dc = Array2::zeros(dc.raw_dim());
                let q = self.q.slice(s![from..to, ..]);
                let targets =
                    Targets { offsets: &offsets, columns: &self.own, weights: &ones }.rows(from, to);
                let gradients = LossGradients {
                    queries: part,
                    columns: part_dc.view_mut(),
                    shares: &mut shares[from..to],
                };
                let input = LossInput { queries: q, targets, negatives: &[], weight, columns };
                loss += softmax.forward_backward(input, gradients, &kernel::gemm);
                dc += &part_dc;
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
            let log_q = if log_q { LogQ::Exact } else { LogQ::None };
            let config =
                LossConfig { reduction, temperature: 0.7, log_q, mask_accidental_hits: mask, ..LossConfig::reference() };
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

    /// Several targets of different weights, all columns, against the definition and finite differences.
    #[test]
    fn several_targets_share_one_sum() {
        let config = LossConfig { temperature: 0.5, ..LossConfig::reference() };
        let (q, c) = (matrix(9, 4, 5, 1, 1.0), matrix(23, 4, 5, 2, 1.0));
        let offsets: Vec<u32> = [0, 3, 3, 4, 9, 10, 12, 15, 16, 20].to_vec();
        let columns: Vec<u32> = (0..20).map(|i| (i * 7) % 23).collect();
        let weights: Vec<f32> = (0..20).map(|i| 0.25 + (i % 5) as f32 * 0.3).collect();
        let bias: Vec<f32> = (0..23).map(|i| (i % 6) as f32 * 0.2).collect();
        let definition = |q: &Array2<f32>, c: &Array2<f32>| {
            let logits = |i: usize| -> Vec<f64> {
                let dot = |j: usize| (0..4).map(|d| f64::from(q[[i, d]]) * f64::from(c[[j, d]])).sum::<f64>();
                (0..23).map(|j| dot(j) / 0.5 + f64::from(bias[j])).collect()
            };
            let mut loss = 0.0;
            for i in 0..9 {
                let logits = logits(i);
                let sum = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
                for t in offsets[i] as usize..offsets[i + 1] as usize {
                    loss += f64::from(weights[t]) * (sum - logits[columns[t] as usize]);
                }
            }
            loss * 0.5
        };
        let (mut dq, mut dc, mut shares) = (Array2::zeros((9, 4)), Array2::zeros((23, 4)), vec![0.0; 9]);
        let (ones, targets) =
            (vec![1.0; 23], Targets { offsets: &offsets, columns: &columns, weights: &weights });
        let all = Columns {
            embeddings: c.view(),
            transposed: c.t(),
            copies: &ones,
            bias: &bias,
            same_product: &[],
            longest: 2.0,
        };
        let input = LossInput { queries: q.view(), targets, negatives: &[], weight: 0.5, columns: all };
        let gradients = LossGradients { queries: dq.view_mut(), columns: dc.view_mut(), shares: &mut shares };
        let loss = Softmax::new(config).forward_backward(input, gradients, &kernel::gemm);
        assert!((loss - definition(&q, &c)).abs() < 1e-4);
        assert!(dq.row(1).iter().all(|d| *d == 0.0), "a row without targets");
        for (row, d) in [(0, 1), (3, 2), (8, 0)] {
            let (mut up, mut down) = (q.clone(), q.clone());
            up[[row, d]] += 1e-3;
            down[[row, d]] -= 1e-3;
            let numeric = (definition(&up, &c) - definition(&down, &c)) / 2e-3;
            assert!((numeric - f64::from(dq[[row, d]])).abs() < 2e-3, "{numeric} {}", dq[[row, d]]);
            let (mut up, mut down) = (c.clone(), c.clone());
            up[[row, d]] += 1e-3;
            down[[row, d]] -= 1e-3;
            let numeric = (definition(&q, &up) - definition(&q, &down)) / 2e-3;
            assert!((numeric - f64::from(dc[[row, d]])).abs() < 2e-3, "{numeric} {}", dc[[row, d]]);
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
