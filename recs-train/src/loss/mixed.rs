//! Mixed negatives: the products of the batch, and draws from the whole catalogue.
//!
//! A batch has few of the products that are rarely bought, so a model is never told what to think of them. Yang et al.,
//! *Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations* (WWW 2020,
//! <https://research.google/pubs/pub50257/>), add products that are drawn uniformly; a column is then sampled with the
//! probability of the mixture, `(B Q + n / N) / (B + n)` for B targets with probability Q, and n draws from N products, and
//! its logit is corrected by that, wherever it came from.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Draws of one step, with replacement.
#[derive(Debug, Clone, Default)]
pub struct UniformDraws {
    /// Positions in the catalogue.
    pub products: Vec<u32>,
}

impl UniformDraws {
    /// Draws `n` of `catalogue` products. The same seed and step give the same products.
    ///
    /// # Panics
    /// When the catalogue is empty and `n` is not 0, or it has more than 2^32 products.
    pub fn draw(&mut self, seed: u64, step: u32, n: usize, catalogue: usize) {
        self.products.clear();
        assert!(n == 0 || (1..=1usize << 32).contains(&catalogue), "{catalogue} products");
        let mut random = of_step(seed, step, 0x756e_6966_6f72_6d00);
        self.products.extend((0..n).map(|_| below(&mut random, catalogue as u64) as u32));
    }
}

/// Random numbers of a step, by what they are for.
pub(super) fn of_step(seed: u64, step: u32, purpose: u64) -> Xoshiro256PlusPlus {
    let step = (u64::from(step) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Xoshiro256PlusPlus::seed_from_u64(seed ^ step ^ purpose)
}

/// A number below `n`; Lemire's multiplication, whose bias is below 2^-32 here.
pub(super) fn below(random: &mut Xoshiro256PlusPlus, n: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(n)) >> 64) as u64
}

/// Probability of a column under the mixture, `expected` being the targets that a step has of its product on average.
pub(crate) fn mixed_probability(expected: f64, targets: usize, uniform: usize, catalogue: usize) -> f64 {
    let uniform_copies = uniform as f64 / catalogue.max(1) as f64;
    (expected + uniform_copies) / (targets + uniform).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_and_step_and_are_uniform() {
        let draw = |seed, step, n| {
            let mut draws = UniformDraws::default();
            draws.draw(seed, step, n, 50);
            draws.products
        };
        assert_eq!(draw(1, 2, 100), draw(1, 2, 100));
        assert!(draw(1, 2, 100) != draw(1, 3, 100) && draw(1, 2, 100) != draw(2, 2, 100));
        assert_eq!(draw(1, 2, 100)[..40], draw(1, 2, 40)[..], "more draws begin with the same ones");
        let mut counts = [0f64; 50];
        draw(7, 1, 100_000).iter().for_each(|&p| counts[p as usize] += 1.0);
        let chi_squared: f64 = counts.iter().map(|c| (c - 2000.0).powi(2) / 2000.0).sum();
        assert!((20.0..90.0).contains(&chi_squared), "{chi_squared} with 49 degrees of freedom");
    }

    #[test]
    fn the_mixtures_probabilities_sum_to_one() {
        let shares = [0.5, 0.3, 0.15, 0.05];
        let sum: f64 = shares.iter().map(|q| mixed_probability(q * 8.0, 8, 24, 4)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!((mixed_probability(0.5 * 8.0, 8, 0, 4) - 0.5).abs() < 1e-12);
    }
}
