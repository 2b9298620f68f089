//! Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>) in the form that Keras computes.
//!
//! With t from 1 and `rate = learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)`:
//! `m += (g - m)(1 - beta_1)`, `v += (g^2 - v)(1 - beta_2)`, `w -= rate * m / (sqrt(v) + epsilon)`; epsilon is added to
//! the root of the uncorrected v.

use super::decay::Missed;
use super::{Optimiser, Step};
use crate::aligned::Aligned;
use crate::error::{Error, Result};
use crate::range::{not_negative, positive};
use pulp::Arch;
use recs_core::kernel::prefetch;
use serde::{Deserialize, Serialize};

/// Which rows of a table a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Every row: the moments of rows without a gradient decay and still move them, as in Keras. The cost is that of the
    /// rows seen all the same: a row catches up when it is needed.
    All,
    /// Only rows with a gradient (lazy Adam).
    #[default]
    Seen,
}

/// Rows between the one that is worked on and the one that memory is asked for.
const AHEAD: usize = 8;

/// Adam's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Which rows of a table move.
    pub rows: Rows,
    /// Decoupled decay: each step first multiplies weights by 1 - learning_rate * weight_decay (AdamW, Loshchilov and Hutter
    /// 2019, <https://arxiv.org/abs/1711.05101>). Biases, and kernels that share their optimiser, decay too when theirs says
    /// so.
    pub weight_decay: f32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, rows: Rows::Seen, weight_decay: 0.0 }
    }
}

impl AdamConfig {
    pub(super) fn validate(&self, at: &str) -> Result<()> {
        for (name, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            if !(0.0..1.0).contains(&beta) {
                let reason = format!("is {beta}, must be 0 or more and below 1");
                return Err(Error::config(format!("{at}.{name}"), reason));
            }
        }
        positive(&format!("{at}.epsilon"), self.epsilon)?;
        not_negative(&format!("{at}.weight_decay"), self.weight_decay)
    }
}

/// Moments of one tensor.
#[derive(Debug, Clone)]
pub struct Adam {
    config: AdamConfig,
    dim: usize,
    m: Aligned,
    v: Aligned,
    /// Step up to which each row is done; empty when rows without a gradient stand still.
    last: Vec<u32>,
}

impl Adam {
    /// Zero moments for a tensor `[rows, dim]`.
    pub fn new(config: AdamConfig, rows: usize, dim: usize) -> Self {
        let last = if config.rows == Rows::All { vec![0; rows] } else { Vec::new() };
        Self { config, dim, m: Aligned::zeros(rows * dim), v: Aligned::zeros(rows * dim), last }
    }

    /// The step's rate at step `t`, from 1.
    pub fn rate(config: &AdamConfig, learning_rate: f32, t: u64) -> f32 {
        let power = |beta: f32| 1.0 - f64::from(beta).powf(t as f64);
        (f64::from(learning_rate) * power(config.beta_2).sqrt() / power(config.beta_1)) as f32
    }

    /// Asks for the numbers of a row that will soon be moved.
    #[inline(always)]
    fn ask_for(&self, weights: &[f32], row: Option<&u32>) {
        if let Some(&row) = row {
            let range = row as usize * self.dim..(row as usize + 1) * self.dim;
            for values in [weights, &self.m, &self.v] {
                prefetch(&values[range.clone()]);
            }
        }
    }

    fn catch_up_row(&mut self, weights: &mut [f32], row: usize, step: &Step) {
        let to = step.done;
        let last = self.last[row];
        if last >= to {
            return;
        }
        self.last[row] = to;
        // Moments of a row that has never had a gradient have nothing to decay.
        let has_decay = last > 0 || self.config.weight_decay > 0.0;
        let Some(decay) = step.decay.as_ref().filter(|_| has_decay) else { return };
        let range = row * self.dim..(row + 1) * self.dim;
        let (w, m, v) = (&mut weights[range.clone()], &mut self.m[range.clone()], &mut self.v[range]);
        let e = self.config.epsilon;
        match decay.missed(last, to) {
            Missed::Sums { t, w: w_factor, m: m_factor, v: v_factor } => {
                Arch::new().dispatch(|| decay_by_sums(w, m, v, e, t, [w_factor, m_factor, v_factor]));
            }
            Missed::Replay(rates, products) => {
                let AdamConfig { beta_1, beta_2, .. } = self.config;
                for (rate, products) in rates.iter().zip(products.windows(2)) {
                    let kept = (products[1] / products[0]) as f32;
                    for ((w, m), v) in w.iter_mut().zip(&mut *m).zip(&mut *v) {
                        *m *= beta_1;
                        *v *= beta_2;
                        *w = *w * kept - rate * *m / (v.sqrt() + e);
                    }
                }
            }
        }
    }
}

impl Optimiser for Adam {
    fn catch_up(&mut self, weights: &mut [f32], rows: &[u32], step: &Step) {
        if !self.last.is_empty() {
            for (i, &row) in rows.iter().enumerate() {
                self.ask_for(weights, rows.get(i + AHEAD));
                self.catch_up_row(weights, row as usize, step);
            }
        }
    }

    fn settle(&mut self, weights: &mut [f32], step: &Step) {
        for row in 0..self.last.len() {
            self.catch_up_row(weights, row, step);
        }
    }

    fn update(&mut self, weights: &mut [f32], rows: &[u32], gradient: &[f32], factor: f32, step: &Step) {
        let rate = Self::rate(&self.config, step.learning_rate, u64::from(step.t));
        let kept = 1.0 - step.learning_rate * self.config.weight_decay;
        let (config, dim) = (self.config, self.dim);
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for (i, (&row, g)) in rows.iter().zip(gradient.chunks_exact(dim.max(1))).enumerate() {
                    self.ask_for(weights, rows.get(i + AHEAD));
                    let range = row as usize * dim..(row as usize + 1) * dim;
                    let (w, m) = (&mut weights[range.clone()], &mut self.m[range.clone()]);
                    move_row(w, m, &mut self.v[range], g, factor, config, [rate, kept]);
                    if let Some(last) = self.last.get_mut(row as usize) {
                        *last = step.t;
                    }
                }
            },
        );
    }

    fn state(&mut self) -> (Vec<&mut [f32]>, &mut [u32]) {
        (vec![&mut self.m, &mut self.v], &mut self.last)
    }
}

#[inline(always)]
fn move_row(
    w: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    g: &[f32],
    factor: f32,
    config: AdamConfig,
    [rate, kept]: [f32; 2],
) {
    let AdamConfig { beta_1, beta_2, epsilon, .. } = config;
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * factor;
        *m += (g - *m) * (1.0 - beta_1);
        *v += (g * g - *v) * (1.0 - beta_2);
        *w = *w * kept - rate * *m / (v.sqrt() + epsilon);
    }
}

#[inline(always)]
fn decay_by_sums(w: &mut [f32], m: &mut [f32], v: &mut [f32], epsilon: f32, t: [f32; 4], factors: [f32; 3]) {
    for ((w, m), v) in w.iter_mut().zip(m).zip(v) {
        let inverse = 1.0 / (v.sqrt() + epsilon);
        let y = epsilon * inverse;
        *w = *w * factors[0] - *m * inverse * (t[0] - y * (t[1] - y * (t[2] - y * t[3])));
        *m *= factors[1];
        *v *= factors[2];
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;
    use proptest::prelude::*;

    /// By hand in f64: every row in every step.
    struct ByHand {
        config: AdamConfig,
        m: Vec<f64>,
        v: Vec<f64>,
        w: Vec<f64>,
    }

    impl ByHand {
        fn step(&mut self, t: i32, rate: f64, gradient: &[f64]) {
            let (b1, b2) = (f64::from(self.config.beta_1), f64::from(self.config.beta_2));
            let kept = 1.0 - rate * f64::from(self.config.weight_decay);
            let rate = rate * (1.0 - b2.powi(t)).sqrt() / (1.0 - b1.powi(t));
            for (i, g) in gradient.iter().enumerate() {
                self.m[i] = b1 * self.m[i] + (1.0 - b1) * g;
                self.v[i] = b2 * self.v[i] + (1.0 - b2) * g * g;
                self.w[i] =
                    self.w[i] * kept - rate * self.m[i] / (self.v[i].sqrt() + f64::from(self.config.epsilon));
            }
        }
    }

    /// Furthest that a weight is from the one by hand, rows being asked for when they are seen and at the end.
    fn run(config: AdamConfig, steps: &[(f32, Vec<(u32, f32)>)], settle_every: usize) -> f64 {
        const ROWS: usize = 5;
        let (mut step, mut adam) = (Step::start(&Algorithm::Adam(config)), Adam::new(config, ROWS, 1));
        let mut w = vec![0.5f32; ROWS];
        let mut hand = ByHand { config, m: vec![0.0; ROWS], v: vec![0.0; ROWS], w: vec![0.5; ROWS] };
        let mut furthest = 0.0f64;
        for (t, (rate, seen)) in steps.iter().enumerate() {
            let (rows, values): (Vec<u32>, Vec<f32>) = seen.iter().copied().unzip();
            step.open(*rate);
            adam.catch_up(&mut w, &rows, &step);
            for &row in &rows {
                furthest = furthest.max((f64::from(w[row as usize]) - hand.w[row as usize]).abs());
            }
            adam.update(&mut w, &rows, &values, 1.0, &step);
            step.close();
            let mut dense = [0.0; ROWS];
            rows.iter().zip(&values).for_each(|(&r, &g)| dense[r as usize] = f64::from(g));
            hand.step(t as i32 + 1, f64::from(*rate), &dense);
            if (t + 1) % settle_every == 0 {
                adam.settle(&mut w, &step);
                step.settled();
            }
        }
        adam.settle(&mut w, &step);
        w.iter().zip(&hand.w).map(|(w, h)| (f64::from(*w) - h).abs()).fold(furthest, f64::max)
    }

    proptest! {
        #[test]
        fn late_decay_equals_keras_dense_adam(
            steps in proptest::collection::vec(
                (1e-3f32..0.1, proptest::collection::btree_map(0u32..5, -1f32..1.0, 0..3)), 1..700),
            scale in prop_oneof![Just(1f32), Just(1e-4), Just(1e-7), Just(1e-9)],
            settle_every in 1usize..400,
            weight_decay in prop_oneof![Just(0f32), Just(0.3), Just(5.0)],
            betas in prop_oneof![Just((0.9f32, 0.999f32)), Just((0.9, 0.95)), Just((0.0, 0.999)), Just((0.95, 0.9))],
        ) {
            let config = AdamConfig { beta_1: betas.0, beta_2: betas.1, rows: Rows::All, weight_decay, ..AdamConfig::default() };
            let steps: Vec<_> = steps
                .into_iter()
                .map(|(rate, seen)| (rate, seen.into_iter().map(|(r, g)| (r, g * scale)).collect::<Vec<_>>()))
                .collect();
            let furthest = run(config, &steps, settle_every);
            prop_assert!(furthest < 2e-5 * (steps.len() as f64).sqrt(), "{furthest}");
        }
    }

    #[test]
    fn equals_the_formula_by_hand() {
        let steps = [(0.01, vec![(0, 0.3)]), (0.01, vec![(0, -0.1)]), (0.01, vec![]), (0.02, vec![(0, 1.0)])];
        let config = AdamConfig { rows: Rows::All, ..AdamConfig::default() };
        assert!(run(config, &steps, usize::MAX) < 1e-6);
    }

    #[test]
    fn rows_unseen_stand_still_when_only_seen_ones_move() {
        let config = AdamConfig::default();
        let mut step = Step::start(&Algorithm::Adam(config));
        let (mut adam, mut w) = (Adam::new(config, 2, 2), vec![1.0f32; 4]);
        for _ in 0..3 {
            step.open(0.1);
            adam.catch_up(&mut w, &[1], &step);
            adam.update(&mut w, &[1], &[1.0, -1.0], 0.5, &step);
            step.close();
        }
        assert_eq!(w[..2], [1.0, 1.0]);
        assert!((w[2] - 0.7).abs() < 1e-4 && (w[3] - 1.3).abs() < 1e-4);
    }
}
