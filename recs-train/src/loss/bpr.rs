//! Bayesian personalised ranking: each target above each negative (Rendle et al., *BPR: Bayesian Personalized Ranking from
//! Implicit Feedback*, UAI 2009, <https://arxiv.org/abs/1205.2618>).
//!
//! A row's loss is `sum over targets t of w_t times the mean over negatives j of -log sigmoid(s_t - s_j)`, with
//! `s = q . c / temperature`; its targets' columns, and others with their products, are never negatives. Rendle et al.
//! draw negatives uniformly from the catalogue. Here they come from the columns of the step, each with the weight
//! `e^bias = copies / Q`: that is the catalogue itself, or draws from it, or a batch whose mean over negatives is corrected
//! to one over the catalogue. Either all columns count, by panels as in the softmax, or some drawn for each row.

use super::accidental_hits::others;
use super::columns::{panel_rows, panel_width};
use super::mixed::{below, of_step};
use super::{Columns, Gemm, LossGradients, LossInput, NO_COLUMN, Targets};
use crate::error::Result;
use crate::matrix::Matrix;
use crate::range::within;
use ndarray::{ArrayView1, s};
use pulp::Arch;
use recs_core::kernel::exp_in_place;
use serde::{Deserialize, Serialize};

/// Draws for one negative until one is not a target.
const TRIES: usize = 32;

/// How many negatives a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BprConfig {
    /// Columns drawn for each row; 0: all count.
    pub negatives_per_row: usize,
}

impl BprConfig {
    pub(super) fn validate(&self) -> Result<()> {
        within("train.loss.objective.negatives_per_row", self.negatives_per_row, 0..=4096)
    }

    /// Draws the negatives of all rows of a step, by e^bias; the same seed and step give the same. O(draws x log columns).
    pub(crate) fn draw(
        &self,
        into: &mut Vec<u32>,
        (seed, step): (u64, u32),
        targets: Targets<'_>,
        columns: Columns<'_>,
    ) {
        into.clear();
        if self.negatives_per_row == 0 {
            return;
        }
        let weights = weights(columns.bias);
        let mut total = 0.0;
        let ends: Vec<f64> = weights.iter().map(|w| (total += f64::from(*w), total).1).collect();
        let mut random = of_step(seed, step, 0x6270_7200);
        for row in 0..targets.offsets.len().saturating_sub(1) {
            let own = targets.row(row).0;
            for _ in 0..self.negatives_per_row {
                let mut draw = || {
                    let at = below(&mut random, 1 << 53) as f64 / (1u64 << 53) as f64 * total;
                    ends.partition_point(|end| *end <= at)
                };
                let fits = |column: &usize| *column < ends.len() && !is_target(*column, own, columns);
                let drawn = (0..TRIES).map(|_| draw()).find(fits);
                into.push(drawn.map_or(NO_COLUMN, |column| column as u32));
            }
        }
    }
}

/// e^bias, but for a factor.
fn weights(bias: &[f32]) -> Vec<f32> {
    let highest = bias.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if highest == f32::NEG_INFINITY {
        return vec![0.0; bias.len()];
    }
    bias.iter().map(|b| (b - highest).exp()).collect()
}

fn is_target(column: usize, own: &[u32], columns: Columns<'_>) -> bool {
    own.iter()
        .any(|&own| own as usize == column || others(own as usize, columns).any(|other| other == column))
}

/// The loss, with buffers for one thread.
#[derive(Debug, Clone)]
pub struct Bpr {
    config: BprConfig,
    temperature: f32,
    panel: Matrix,
    /// Of one row: weights of the columns, and gradients of the logits.
    weights: Vec<f32>,
    slopes: Vec<f32>,
    /// e^-|s_j - s_t|
    small: Vec<f32>,
}

impl Bpr {
    /// A loss with empty buffers.
    pub fn new(config: BprConfig, temperature: f32) -> Self {
        Self {
            config,
            temperature,
            panel: Matrix::default(),
            weights: Vec::new(),
            slopes: Vec::new(),
            small: Vec::new(),
        }
    }

    /// Dot products are divided by this from now on.
    pub fn set_temperature(&mut self, temperature: f32) {
        self.temperature = temperature;
    }

    /// Loss of query rows, and its gradients. With all columns as negatives it works by panels, as the softmax does; with drawn
    /// ones it costs `rows x negatives x dim`, whatever the number of columns. A row without negatives has the loss 0.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn forward_backward(
        &mut self,
        input: LossInput<'_, '_>,
        gradients: LossGradients<'_>,
        gemm: &Gemm<'_>,
    ) -> f64 {
        match self.config.negatives_per_row {
            0 => self.all(input, gradients, gemm),
            n => self.drawn(input, n, gradients),
        }
    }

    fn all(&mut self, input: LossInput<'_, '_>, gradients: LossGradients<'_>, gemm: &Gemm<'_>) -> f64 {
        let LossInput { queries, targets, weight, columns, .. } = input;
        let LossGradients { queries: mut d_queries, columns: mut d_columns, .. } = gradients;
        let (n, inverse) = (columns.embeddings.nrows(), 1.0 / self.temperature);
        let (base, trained) = (weights(columns.bias), d_columns.nrows());
        let (rows, width) = (panel_rows(n), panel_width(n));
        let mut panel = std::mem::take(&mut self.panel);
        let mut loss = 0.0;
        if queries.nrows() == 0 {
            d_columns.fill(0.0);
        }
        for from in (0..queries.nrows()).step_by(rows) {
            let to = (from + rows).min(queries.nrows());
            let q = queries.slice(s![from..to, ..]);
            panel.reshape(to - from, width);
            gemm(inverse, q, columns.transposed, 0.0, panel.view_mut().slice_move(s![.., ..n]));
            for i in 0..to - from {
                loss += self.row(&mut panel.row_mut(i)[..n], targets.row(from + i), &base, columns);
            }
            let logits = panel.view().slice_move(s![.., ..n]);
            let scale = weight * inverse;
            gemm(scale, logits.view(), columns.embeddings, 0.0, d_queries.slice_mut(s![from..to, ..]));
            let beta = if from == 0 { 0.0 } else { 1.0 };
            gemm(scale, logits.slice(s![.., ..trained]).t(), q, beta, d_columns.view_mut());
        }
        self.panel = panel;
        loss * f64::from(weight)
    }

    /// Loss of a row, whose logits become their gradients.
    fn row(
        &mut self,
        logits: &mut [f32],
        (own, weights): (&[u32], &[f32]),
        base: &[f32],
        columns: Columns<'_>,
    ) -> f64 {
        self.weights.clear();
        self.weights.extend_from_slice(base);
        for &own in own {
            self.weights[own as usize] = 0.0;
            others(own as usize, columns).for_each(|other| self.weights[other] = 0.0);
        }
        self.slopes.clear();
        self.slopes.resize(logits.len(), 0.0);
        let total: f64 = self.weights.chunks(1024).map(|w| f64::from(w.iter().sum::<f32>())).sum();
        let mut loss = 0.0;
        if total > 0.0 {
            for (&own, &weight) in own.iter().zip(weights) {
                let (target, factor) = (logits[own as usize], (f64::from(weight) / total) as f32);
                self.small.clear();
                self.small.extend(logits.iter().map(|logit| -(logit - target).abs()));
                exp_in_place(&mut self.small);
                let Self { weights, slopes, small, .. } = self;
                let [sum, slope] =
                    Arch::new().dispatch(|| sum_above(logits, target, weights, small, factor, slopes));
                self.slopes[own as usize] -= slope;
                loss += f64::from(sum) * f64::from(factor);
            }
        }
        logits.copy_from_slice(&self.slopes);
        loss
    }

    fn drawn(&mut self, input: LossInput<'_, '_>, n: usize, gradients: LossGradients<'_>) -> f64 {
        let LossInput { queries, targets, negatives, weight, columns } = input;
        let LossGradients { queries: mut d_queries, columns: mut d_columns, .. } = gradients;
        let (inverse, trained) = (1.0 / self.temperature, d_columns.nrows());
        let mut loss = 0.0;
        d_queries.fill(0.0);
        d_columns.fill(0.0);
        for (i, negatives) in negatives.chunks_exact(n).take(queries.nrows()).enumerate() {
            let (q, mut dq) = (queries.row(i), d_queries.row_mut(i));
            let logit = |column: u32, q: ArrayView1<'_, f32>| {
                q.dot(&columns.embeddings.row(column as usize)) * inverse
            };
            let kept = || negatives.iter().copied().filter(|&column| column != NO_COLUMN);
            let count = kept().count().max(1) as f32;
            let mut move_by = |column: u32, slope: f32| {
                let (at, slope) = (column as usize, slope * weight * inverse);
                dq.scaled_add(slope, &columns.embeddings.row(at));
                if at < trained {
                    d_columns.row_mut(at).scaled_add(slope, &q);
                }
            };
            let (own, weights) = targets.row(i);
            for (&own, &weight) in own.iter().zip(weights) {
                let (target, mut slope) = (logit(own, q), 0.0);
                for column in kept() {
                    let [value, up] = above(logit(column, q) - target);
                    loss += f64::from(value) * f64::from(weight / count);
                    slope += up * weight / count;
                    move_by(column, up * weight / count);
                }
                move_by(own, -slope);
            }
        }
        loss * f64::from(weight)
    }
}

/// Sums of the weighted losses of one target and of their slopes, which are added to `slopes`; `small` is e^-|s_j - s_t|.
#[inline(always)]
fn sum_above(
    logits: &[f32],
    target: f32,
    weights: &[f32],
    small: &[f32],
    factor: f32,
    slopes: &mut [f32],
) -> [f32; 2] {
    const LANES: usize = 16;
    let (mut sums, mut slope_sums) = ([0.0f32; LANES], [0.0f32; LANES]);
    let columns = logits.chunks(LANES).zip(weights.chunks(LANES)).zip(small.chunks(LANES));
    for (((logits, weights), small), slopes) in columns.zip(slopes.chunks_mut(LANES)) {
        for (i, ((logit, w), e)) in logits.iter().zip(weights).zip(small).enumerate() {
            let [value, up] = above_with(logit - target, *e);
            let slope = factor * w * up;
            sums[i] += w * value;
            slopes[i] += slope;
            slope_sums[i] += slope;
        }
    }
    [sums.iter().sum(), slope_sums.iter().sum()]
}

/// -log sigmoid(-x) and its derivative, sigmoid(x).
fn above(x: f32) -> [f32; 2] {
    above_with(x, (-x.abs()).exp())
}

/// As [`above`], with `e = e^-|x|`.
#[inline(always)]
fn above_with(x: f32, e: f32) -> [f32; 2] {
    let sigmoid = (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e);
    // log(1 + e) = 2 artanh(r), by its series: r is at most 1/3, and what is left out below 1e-7 of the sum.
    let r = e / (2.0 + e);
    let square = r * r;
    let mut series = 1.0 / 13.0;
    for k in [11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / k;
    }
    [x.max(0.0) + 2.0 * r * series, sigmoid]
}
