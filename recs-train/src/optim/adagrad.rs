//! Adagrad (Duchi, Hazan and Singer 2011, <https://jmlr.org/papers/v12/duchi11a.html>), for each number or for each row.
//!
//! `a += g^2`, `w -= learning_rate * g / sqrt(a + epsilon)`. Row-wise, a row has one sum, that of its mean squares: one
//! number instead of `dim` (Naumov et al. 2019, <https://arxiv.org/abs/1906.00091>, uses it for large tables).

use super::{Optimiser, Step};
use crate::error::{Error, Result};
use crate::range::not_negative;
use pulp::Arch;
use serde::{Deserialize, Serialize};

/// Adagrad's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdagradConfig {
    /// Where the sums of squares start.
    pub initial: f32,
    /// Added to the sum under the root.
    pub epsilon: f32,
    /// One sum a row instead of one a number.
    pub row_wise: bool,
}

impl Default for AdagradConfig {
    fn default() -> Self {
        Self { initial: 0.1, epsilon: 1e-7, row_wise: false }
    }
}

impl AdagradConfig {
    pub(super) fn validate(&self, at: &str) -> Result<()> {
        not_negative(&format!("{at}.initial"), self.initial)?;
        not_negative(&format!("{at}.epsilon"), self.epsilon)?;
        match self.initial + self.epsilon {
            0.0 => Err(Error::config(format!("{at}.epsilon"), "is 0, must be above 0 with an initial of 0")),
            _ => Ok(()),
        }
    }
}

/// Sums of squares of one tensor.
#[derive(Debug, Clone)]
pub struct Adagrad {
    config: AdagradConfig,
    dim: usize,
    sums: Vec<f32>,
}

impl Adagrad {
    /// Starting sums for a tensor `[rows, dim]`.
    pub fn new(config: AdagradConfig, rows: usize, dim: usize) -> Self {
        let len = if config.row_wise { rows } else { rows * dim };
        Self { config, dim, sums: vec![config.initial; len] }
    }
}

impl Optimiser for Adagrad {
    fn update(&mut self, weights: &mut [f32], rows: &[u32], gradient: &[f32], factor: f32, step: &Step) {
        let (dim, epsilon, rate) = (self.dim, self.config.epsilon, step.learning_rate);
        for (&row, g) in rows.iter().zip(gradient.chunks_exact(dim.max(1))) {
            let row = row as usize;
            let w = &mut weights[row * dim..(row + 1) * dim];
            if self.config.row_wise {
                let sum = &mut self.sums[row];
                *sum += g.iter().map(|g| g * g).sum::<f32>() * factor * factor / dim as f32;
                let scale = rate * factor / (*sum + epsilon).sqrt();
                w.iter_mut().zip(g).for_each(|(w, g)| *w -= scale * g);
            } else {
                let sums = &mut self.sums[row * dim..(row + 1) * dim];
                Arch::new().dispatch(|| move_row(w, sums, g, factor, epsilon, rate));
            }
        }
    }

    fn state(&mut self) -> (Vec<&mut [f32]>, &mut [u32]) {
        (vec![&mut self.sums], &mut [])
    }
}

#[inline(always)]
fn move_row(w: &mut [f32], sums: &mut [f32], g: &[f32], factor: f32, epsilon: f32, rate: f32) {
    for ((w, sum), g) in w.iter_mut().zip(sums).zip(g) {
        let g = g * factor;
        *sum += g * g;
        *w -= rate * g / (*sum + epsilon).sqrt();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    fn two_steps(row_wise: bool) -> Vec<f32> {
        let config = AdagradConfig { row_wise, ..AdagradConfig::default() };
        let (mut adagrad, mut w) = (Adagrad::new(config, 3, 2), vec![0.0f32; 6]);
        let mut step = Step::start(&Algorithm::Adagrad(config));
        for _ in 0..2 {
            step.open(0.5);
            adagrad.update(&mut w, &[2], &[0.6, -0.2], 0.5, &step);
            step.close();
        }
        w
    }

    #[test]
    fn equals_the_formula_by_hand() {
        let by_hand = |g: f64| -0.5 * g / (0.1 + g * g).sqrt() - 0.5 * g / (0.1 + 2.0 * g * g).sqrt();
        let w = two_steps(false);
        assert_eq!(w[..4], [0.0; 4]);
        assert!(
            (f64::from(w[4]) - by_hand(0.3)).abs() < 1e-6 && (f64::from(w[5]) - by_hand(-0.1)).abs() < 1e-6
        );
    }

    #[test]
    fn a_row_has_one_sum_when_row_wise() {
        let mean = (0.09 + 0.01) / 2.0f64;
        let scale = 0.5 / (0.1 + mean).sqrt() + 0.5 / (0.1 + 2.0 * mean).sqrt();
        let w = two_steps(true);
        assert!((f64::from(w[4]) + 0.3 * scale).abs() < 1e-6 && (f64::from(w[5]) - 0.1 * scale).abs() < 1e-6);
    }
}
