//! Order of rows in an epoch.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Rows that are shuffled together at most; 32 MiB of row numbers.
const WINDOW_ROWS: usize = 8 << 20;
/// Rows that stay together when there are more: neighbours in a file are read together.
const BLOCK_ROWS: usize = 4096;

/// The batches of one epoch, in an order that depends on seed, epoch and the number of rows only.
///
/// Up to 8 million rows are one full shuffle (Fisher and Yates). More are shuffled without ever holding them all: blocks of
/// 4,096 neighbours in random order, and 8 million rows of them at a time thoroughly. `rows` itself is not touched.
#[derive(Debug)]
pub struct EpochOrder<'a> {
    rows: &'a [u32],
    random: Xoshiro256PlusPlus,
    blocks: Vec<u32>,
    next_block: usize,
    block_rows: usize,
    window_rows: usize,
    window: Vec<u32>,
    at: usize,
}

impl<'a> EpochOrder<'a> {
    /// The order of `epoch`.
    pub fn new(rows: &'a [u32], seed: u64, epoch: usize) -> Self {
        Self::with_sizes(rows, seed, epoch, WINDOW_ROWS, BLOCK_ROWS)
    }

    fn with_sizes(rows: &'a [u32], seed: u64, epoch: usize, window_rows: usize, block_rows: usize) -> Self {
        let seed = seed ^ (epoch as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut blocks: Vec<u32> = (0..rows.len().div_ceil(block_rows) as u32).collect();
        if rows.len() > window_rows {
            shuffle(&mut blocks, &mut random);
        }
        Self { rows, random, blocks, next_block: 0, block_rows, window_rows, window: Vec::new(), at: 0 }
    }

    /// The next `batch` rows; None when there are fewer left: those are other rows in every epoch.
    pub fn next_batch(&mut self, batch: usize) -> Option<&[u32]> {
        while self.window.len() - self.at < batch {
            if self.next_block == self.blocks.len() {
                return None;
            }
            self.refill();
        }
        self.at += batch;
        Some(&self.window[self.at - batch..self.at])
    }

    /// Passes over `batches` batches, as if they had been asked for.
    pub fn skip(&mut self, batches: usize, batch: usize) {
        for _ in 0..batches {
            if self.next_batch(batch).is_none() {
                return;
            }
        }
    }

    fn refill(&mut self) {
        self.window.drain(..self.at);
        self.at = 0;
        // At least one block more, or a window smaller than a batch would never be enough.
        let wanted = self.window_rows.max(self.window.len() + 1);
        while self.next_block < self.blocks.len() && self.window.len() < wanted {
            let from = self.blocks[self.next_block] as usize * self.block_rows;
            let to = (from + self.block_rows).min(self.rows.len());
            self.window.extend_from_slice(&self.rows[from..to]);
            self.next_block += 1;
        }
        shuffle(&mut self.window, &mut self.random);
    }
}

/// Fisher and Yates.
pub(super) fn shuffle(numbers: &mut [u32], random: &mut Xoshiro256PlusPlus) {
    for i in (1..numbers.len()).rev() {
        // Lemire's multiplication: the bias is below 2^-32.
        let j = (u128::from(random.next_u64()) * (i as u128 + 1)) >> 64;
        numbers.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(mut order: EpochOrder<'_>, batch: usize) -> Vec<u32> {
        let mut out = Vec::new();
        while let Some(rows) = order.next_batch(batch) {
            assert_eq!(rows.len(), batch);
            out.extend_from_slice(rows);
        }
        out
    }

    proptest! {
        #[test]
        fn every_row_once_but_for_a_rest(n in 0usize..500, batch in 1usize..40, window in 1usize..200, block in 1usize..50, seed in any::<u64>()) {
            let rows: Vec<u32> = (0..n as u32).map(|r| r * 3).collect();
            let mut out = all(EpochOrder::with_sizes(&rows, seed, 2, window, block), batch);
            prop_assert_eq!(out.len(), n / batch * batch);
            out.sort_unstable();
            out.dedup();
            prop_assert_eq!(out.len(), n / batch * batch);
            prop_assert!(out.iter().all(|r| r % 3 == 0 && *r < 3 * n as u32));
        }
    }

    proptest! {
        #[test]
        fn what_follows_skipped_batches_is_what_follows_them(n in 0usize..500, batch in 1usize..40, window in 1usize..200, skip in 0usize..30) {
            let rows: Vec<u32> = (0..n as u32).collect();
            let order = || EpochOrder::with_sizes(&rows, 3, 1, window, 7);
            let mut skipped = order();
            skipped.skip(skip, batch);
            let expected = all(order(), batch).split_off((skip * batch).min(n / batch * batch));
            prop_assert_eq!(all(skipped, batch), expected);
        }
    }

    #[test]
    fn depends_on_seed_and_epoch() {
        let rows: Vec<u32> = (0..1000).collect();
        let order = |seed, epoch| all(EpochOrder::new(&rows, seed, epoch), 10);
        assert_eq!(order(1, 0), order(1, 0));
        assert!(order(1, 0) != order(1, 1) && order(1, 0) != order(2, 0));
        // A shuffle, not only of blocks: neighbours do not stay together.
        let near = order(1, 0).windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
        assert!(near < 10);
    }
}
