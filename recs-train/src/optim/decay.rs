//! Adam's decay of rows without a gradient, done when a row is needed again.
//!
//! Dense Adam moves every row in every step. A row with the moments m, v after step s, and no gradient in the steps
//! s+1 … t, moves by
//!
//! `sum over n = 1 … t-s of rate(s+n) m b1^n / (sqrt(v) c^n + e)`, with c = sqrt(b2).
//!
//! With d = sqrt(v) + e, y = e / d and x(n) = c^-n - 1 a term is `m / d * rate (b1/c)^n / (1 + y x(n))`: x is small
//! where (b1/c)^n is not, so the geometric series of the last factor ends after four terms, for any v:
//!
//! `m / d * (T0 - y T1 + y^2 T2 - y^3 T3)`, `Tp = sum of rate(s+n) (b1/c)^n x(n)^p`.
//!
//! Four sums for each past step s, and a row catches up on any number of steps with one root and one division a number.
//! With decoupled weight decay every step first multiplies w by 1 - learning_rate * weight_decay. With P(k) the product of
//! these factors up to step k, the rate of step s+n becomes rate / P(s+n), and the whole is multiplied by P(t).
//!
//! Exact to rounding: what is left out is below 1e-8 of the whole. Betas for which the series is too long are replayed
//! step by step instead.

use super::AdamConfig;
use crate::checkpoint::{Tensor, Values};

/// Past steps are forgotten (see [`Decay::forget`]) at the latest after this many.
const LONG: usize = 1 << 16;
/// Past steps are forgotten when P falls below this.
const SMALLEST_PRODUCT: f64 = 1e-100;
/// Weights (b1/c)^n below this add nothing.
const NOTHING: f64 = 1e-12;
/// x(n) at the end of the window must stay below this for four terms to be enough.
const LARGEST_X: f64 = 0.25;

/// Sums over the steps since each past step.
#[derive(Debug, Clone)]
pub(super) struct Decay {
    config: AdamConfig,
    /// The step that `sums[0]` and `rates[0]` belong to: nothing is older.
    base: u32,
    /// `[T0, T1, T2, T3]` over the closed steps after each step.
    sums: Vec<[f64; 4]>,
    /// Adam's rate of each step.
    rates: Vec<f32>,
    /// P of each step, 1 at the base.
    products: Vec<f64>,
    /// `(b1/c)^n x(n)^p` for n = 1 …; empty when steps are replayed.
    terms: Vec<[f64; 4]>,
}

/// What rows last seen in one step have missed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missed<'a> {
    /// T0 … T3, and the factors of w, m and v.
    Sums { t: [f32; 4], w: f32, m: f32, v: f32 },
    /// Rates of the steps, one after the other, and P of the step before and of each.
    Replay(&'a [f32], &'a [f64]),
}

impl Decay {
    pub(super) fn new(config: AdamConfig) -> Self {
        let (b1, c) = (f64::from(config.beta_1), f64::from(config.beta_2).sqrt());
        let ratio = b1 / c.max(f64::MIN_POSITIVE);
        let window = if ratio > 0.0 { (NOTHING.ln() / ratio.ln()).ceil() } else { 1.0 };
        let short = ratio < 1.0 && c > 0.0 && c.powf(-window) - 1.0 < LARGEST_X;
        let term = |n: usize| {
            let (weight, x) = (ratio.powi(n as i32), c.powi(-(n as i32)) - 1.0);
            [weight, weight * x, weight * x * x, weight * x * x * x]
        };
        let terms = if short { (1..=window as usize).map(term).collect() } else { Vec::new() };
        Self { config, base: 0, sums: vec![[0.0; 4]], rates: vec![0.0], products: vec![1.0], terms }
    }

    /// Step `t` begins.
    pub(super) fn open(&mut self, t: u32, learning_rate: f32) {
        self.rates.push(super::Adam::rate(&self.config, learning_rate, u64::from(t)));
        let before = self.products.last().copied().unwrap_or(1.0);
        self.products.push(before * f64::from(1.0 - learning_rate * self.config.weight_decay));
    }

    /// Step `t` is over: rows last seen before it have missed it.
    pub(super) fn close(&mut self, t: u32) {
        let at = (t - self.base) as usize;
        let rate = f64::from(self.rates[at]) / self.products[at];
        for (n, terms) in self.terms.iter().enumerate().take(at) {
            for (sum, term) in self.sums[at - 1 - n].iter_mut().zip(terms) {
                *sum += rate * term;
            }
        }
        self.sums.push([0.0; 4]);
    }

    /// What rows last seen in step `last` have missed up to and with step `to`, the last closed one.
    pub(super) fn missed(&self, last: u32, to: u32) -> Missed<'_> {
        let (from, steps) = ((last - self.base) as usize, to - last);
        let end = (to - self.base) as usize;
        if self.terms.is_empty() {
            return Missed::Replay(&self.rates[from + 1..=end], &self.products[from..=end]);
        }
        let product = self.products[end];
        let power = |beta: f32| f64::from(beta).powi(steps as i32) as f32;
        let t = self.sums[from].map(|t| (t * product) as f32);
        let w = (product / self.products[from]) as f32;
        Missed::Sums { t, w, m: power(self.config.beta_1), v: power(self.config.beta_2) }
    }

    pub(super) fn is_long(&self) -> bool {
        self.sums.len() > LONG || self.products.last().is_some_and(|p| *p < SMALLEST_PRODUCT)
    }

    /// The oldest step that a row may wait for.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    /// Numbers for a checkpoint, between two steps.
    pub(super) fn tensors(&mut self, name: &str) -> Vec<Tensor<'_>> {
        vec![
            Tensor::flat(format!("{name}.base"), Values::U32(std::slice::from_mut(&mut self.base))),
            Tensor::flat(format!("{name}.sums"), Values::F64(self.sums.as_flattened_mut())),
            Tensor::flat(format!("{name}.rates"), Values::F32(&mut self.rates)),
            Tensor::flat(format!("{name}.products"), Values::F64(&mut self.products)),
        ]
    }

    /// Room for the numbers of a checkpoint that remembers `steps`; false when none does.
    pub(super) fn make_room(&mut self, steps: usize) -> bool {
        if !(1..=LONG + 1).contains(&steps) {
            return false;
        }
        self.sums.resize(steps, [0.0; 4]);
        self.rates.resize(steps, 0.0);
        self.products.resize(steps, 1.0);
        true
    }

    /// False when the numbers read are not those of `done` steps.
    pub(super) fn fits(&self, done: u32) -> bool {
        done.checked_sub(self.base).is_some_and(|steps| steps as usize + 1 == self.sums.len())
    }

    /// Step `t`, which is over, is the oldest that any row waits for.
    pub(super) fn forget(&mut self, t: u32) {
        self.rates.drain(..(t - self.base) as usize);
        self.products.clear();
        self.products.push(1.0);
        self.sums.truncate(1);
        self.sums[0] = [0.0; 4];
        self.base = t;
    }
}
