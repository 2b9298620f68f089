//! Columns of earlier steps.
//!
//! Embeddings of products change slowly once a model has warmed up, so those of the last steps are negatives that cost no
//! forward and no backward pass: Wang et al., *Cross-Batch Negative Sampling for Training Two-Tower Recommenders* (SIGIR
//! 2021, <https://arxiv.org/abs/2110.15154>). They are constants: queries get a gradient from them, products do not.

use crate::error::Result;
use crate::range::within;
use serde::{Deserialize, Serialize};

/// How many, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CrossBatchConfig {
    /// Columns kept: distinct candidates of a step, the latest steps'.
    pub columns: usize,
    /// Steps before they are used: at first embeddings change too fast.
    pub warm_up_steps: u32,
}

impl Default for CrossBatchConfig {
    fn default() -> Self {
        Self { columns: 8192, warm_up_steps: 1000 }
    }
}

impl CrossBatchConfig {
    pub(super) fn validate(&self) -> Result<()> {
        within("train.loss.cross_batch.columns", self.columns, 1..=1 << 22)
    }
}

/// The columns, the oldest of which make room for new ones.
///
/// Memory: `columns` x (4 dim + 8) bytes.
#[derive(Debug, Clone)]
pub struct CrossBatch {
    config: CrossBatchConfig,
    dim: usize,
    /// `[columns, dim]`
    embeddings: Vec<f32>,
    products: Vec<u32>,
    copies: Vec<f32>,
    /// How many there are, and where the next goes.
    fill: [u32; 2],
}

/// What is used of them in a step.
#[derive(Debug, Clone, Copy)]
pub struct Cached<'a> {
    /// `[n, dim]`
    pub embeddings: &'a [f32],
    /// Positions in the catalogue. `[n]`
    pub products: &'a [u32],
    /// Members of its batch that each stood for. `[n]`
    pub copies: &'a [f32],
}

impl CrossBatch {
    /// Empty room for embeddings of `dim` numbers.
    pub fn new(config: CrossBatchConfig, dim: usize) -> Self {
        let n = config.columns;
        Self {
            config,
            dim,
            embeddings: vec![0.0; n * dim],
            products: vec![0; n],
            copies: vec![0.0; n],
            fill: [0; 2],
        }
    }

    /// What a step uses after `steps` steps: nothing during the warm-up.
    pub fn cached(&self, steps: u32) -> Cached<'_> {
        let n = if steps < self.config.warm_up_steps { 0 } else { self.fill[0] as usize };
        Cached {
            embeddings: &self.embeddings[..n * self.dim],
            products: &self.products[..n],
            copies: &self.copies[..n],
        }
    }

    /// Takes the columns of a step: embeddings `[products.len(), dim]`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn push(&mut self, embeddings: &[f32], products: &[u32], copies: &[f32]) {
        assert!(
            products.len() == copies.len() && embeddings.len() == products.len() * self.dim,
            "columns with a product, a number of copies and an embedding each"
        );
        let (room, dim) = (self.products.len(), self.dim);
        for i in products.len().saturating_sub(room)..products.len() {
            let at = self.fill[1] as usize;
            self.embeddings[at * dim..(at + 1) * dim].copy_from_slice(&embeddings[i * dim..(i + 1) * dim]);
            (self.products[at], self.copies[at]) = (products[i], copies[i]);
            self.fill = [(self.fill[0] + 1).min(room as u32), (at as u32 + 1) % room as u32];
        }
    }

    /// True when fill level and products are such that a catalogue of `products` products can have given.
    pub fn fits(&self, products: usize) -> bool {
        let room = self.products.len();
        let [n, next] = self.fill.map(|n| n as usize);
        n <= room && next < room && self.products.iter().all(|&product| (product as usize) < products)
    }

    /// What a checkpoint must keep: embeddings and copies, products and fill level.
    pub fn state(&mut self) -> ([&mut [f32]; 2], [&mut [u32]; 2]) {
        ([&mut self.embeddings, &mut self.copies], [&mut self.products, &mut self.fill])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_and_waits_for_the_warm_up() {
        let mut cache = CrossBatch::new(CrossBatchConfig { columns: 5, warm_up_steps: 2 }, 2);
        let mut all: Vec<(u32, f32)> = Vec::new();
        for (step, n) in [(1u32, 3u32), (2, 4), (3, 0), (4, 7), (5, 1)] {
            let cached = cache.cached(step - 1);
            let mut seen: Vec<(u32, f32)> =
                cached.products.iter().copied().zip(cached.copies.iter().copied()).collect();
            let expected = if step <= 2 { &[] } else { &all[all.len().saturating_sub(5)..] };
            for (i, product) in cached.products.iter().enumerate() {
                assert_eq!(cached.embeddings[2 * i..2 * i + 2], [*product as f32, -(*product as f32)]);
            }
            let mut expected = expected.to_vec();
            seen.sort_by(|a, b| a.partial_cmp(b).unwrap());
            expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
            assert_eq!(seen, expected, "step {step}");
            let new: Vec<(u32, f32)> = (0..n).map(|i| (step * 10 + i, i as f32 + 1.0)).collect();
            let (products, copies): (Vec<u32>, Vec<f32>) = new.iter().copied().unzip();
            let embeddings: Vec<f32> = products.iter().flat_map(|&p| [p as f32, -(p as f32)]).collect();
            cache.push(&embeddings, &products, &copies);
            all.extend(new);
        }
    }
}
