//! Adam (Kingma and Ba 2015, <https://arxiv.org/abs/1412.6980>) in the form that Keras computes.
//!
//! With t from 1 and `rate = learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t)`:
//! `m += (g - m)(1 - beta_1)`, `v += (g^2 - v)(1 - beta_2)`, `w -= rate * m / (sqrt(v) + epsilon)`; epsilon is added to
//! the root of the uncorrected v.

use serde::{Deserialize, Serialize};

/// Adam's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7 }
    }
}

/// Moments of one tensor.
#[derive(Debug, Clone)]
pub struct Adam {
    config: AdamConfig,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Adam {
    /// Zero moments for `len` numbers.
    pub fn new(config: AdamConfig, len: usize) -> Self {
        Self { config, m: vec![0.0; len], v: vec![0.0; len] }
    }

    /// The step's rate at step `t`, from 1.
    pub fn rate(config: &AdamConfig, learning_rate: f32, t: u64) -> f32 {
        let power = |beta: f32| 1.0 - f64::from(beta).powf(t as f64);
        (f64::from(learning_rate) * power(config.beta_2).sqrt() / power(config.beta_1)) as f32
    }

    /// Changes `weights[at..]` by the gradient of those numbers.
    ///
    /// # Panics
    /// When the range is beyond the tensor.
    pub fn update(&mut self, weights: &mut [f32], gradient: &[f32], at: usize, rate: f32) {
        let AdamConfig { beta_1, beta_2, epsilon } = self.config;
        let to = at + gradient.len();
        let moments = self.m[at..to].iter_mut().zip(&mut self.v[at..to]);
        for ((w, g), (m, v)) in weights[at..to].iter_mut().zip(gradient).zip(moments) {
            *m += (g - *m) * (1.0 - beta_1);
            *v += (g * g - *v) * (1.0 - beta_2);
            *w -= rate * *m / (v.sqrt() + epsilon);
        }
    }

    /// Changes `weights[at..to]` as by a gradient of zeros.
    ///
    /// # Panics
    /// When the range is beyond the tensor.
    pub fn decay(&mut self, weights: &mut [f32], at: usize, to: usize, rate: f32) {
        let AdamConfig { beta_1, beta_2, epsilon } = self.config;
        let moments = self.m[at..to].iter_mut().zip(&mut self.v[at..to]);
        for (w, (m, v)) in weights[at..to].iter_mut().zip(moments) {
            *m += (0.0 - *m) * (1.0 - beta_1);
            *v += (0.0 - *v) * (1.0 - beta_2);
            *w -= rate * *m / (v.sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand in f64: two steps on one number.
    #[test]
    fn equals_the_formula_by_hand() {
        let config = AdamConfig::default();
        let (mut adam, mut w) = (Adam::new(config, 1), [0.5f32]);
        let (mut m, mut v, mut exact) = (0.0f64, 0.0f64, 0.5f64);
        for (t, g) in [(1u64, 0.3f64), (2, -0.1), (3, 0.0)] {
            let rate = Adam::rate(&config, 0.01, t);
            if g == 0.0 {
                adam.decay(&mut w, 0, 1, rate)
            } else {
                adam.update(&mut w, &[g as f32], 0, rate)
            }
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            exact -= 0.01 * (1.0 - 0.999f64.powi(t as i32)).sqrt() / (1.0 - 0.9f64.powi(t as i32)) * m
                / (v.sqrt() + 1e-7);
            assert!((f64::from(w[0]) - exact).abs() < 1e-6);
        }
    }
}
