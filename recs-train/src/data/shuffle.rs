//! Order of rows in an epoch.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Shuffles rows by Fisher and Yates, a new order an epoch; the order depends on seed and epoch only.
#[derive(Debug, Clone, Copy)]
pub struct Shuffle {
    seed: u64,
}

impl Shuffle {
    /// Orders that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Puts `rows` in the order of `epoch`. O(rows).
    pub fn order(&self, rows: &mut [u32], epoch: usize) {
        let mut random =
            Xoshiro256PlusPlus::seed_from_u64(self.seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for i in (1..rows.len()).rev() {
            // Lemire's multiplication: the bias is below rows / 2^64.
            let j = (u128::from(random.next_u64()) * (i as u128 + 1)) >> 64;
            rows.swap(i, j as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_permutation_that_depends_on_seed_and_epoch() {
        let order = |seed, epoch| {
            let mut rows: Vec<u32> = (0..1000).collect();
            Shuffle::new(seed).order(&mut rows, epoch);
            rows
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert!(order(1, 0) != order(1, 1) && order(1, 0) != order(2, 0));
        let mut sorted = order(3, 5);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }
}
