//! Dropout (Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>), inverted: in a training step a number
//! is set to 0 with a probability, and divided by the probability of staying otherwise. Never where a model is judged or
//! served.
//!
//! What is dropped is a function of seed, step, tower, layer, row of the batch and place in the row: a run that goes on from a
//! checkpoint, and one with another number of threads, drop the same.

use crate::error::Result;
use crate::range::within;
use serde::{Deserialize, Serialize};

/// What is dropped of each tower.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DropoutConfig {
    /// Of the customer's tower.
    pub query: TowerDropout,
    /// Of the product's tower. A product that a batch has several times is dropped alike each time.
    pub candidate: TowerDropout,
}

/// Probabilities of being dropped; 0 = nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TowerDropout {
    /// Of outputs of every layer but the last; nothing in a tower with fewer than two layers. Linear layers are no longer
    /// computed as one.
    pub hidden: f32,
    /// Of the concatenated features. A first layer behind it costs `rows x width x units` instead of distinct table rows.
    pub input: f32,
    /// Of the products of a history, as a whole (Liang et al. 2018, <https://arxiv.org/abs/1802.05814>); nothing in a tower
    /// without one.
    pub history: f32,
}

impl DropoutConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        for (tower, TowerDropout { hidden, input, history }) in
            [("query", self.query), ("candidate", self.candidate)]
        {
            for (name, rate) in [("hidden", hidden), ("input", input), ("history", history)] {
                within(&format!("train.dropout.{tower}.{name}"), rate, 0.0..=0.95)?;
            }
        }
        Ok(())
    }
}

/// What is dropped of one matrix in one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    /// Of 2^32.
    dropped: u32,
    scale: f32,
    key: u64,
}

impl Mask {
    /// None when nothing is dropped; `place` tells the matrices of a step apart.
    pub(crate) fn new(rate: f32, seed: u64, step: u32, place: u32) -> Option<Self> {
        let dropped = (f64::from(rate) * 2f64.powi(32)) as u32;
        let key = mixed(seed ^ mixed(u64::from(place) << 32 | u64::from(step)));
        (dropped > 0).then_some(Self { dropped, scale: 1.0 / (1.0 - rate), key })
    }

    /// What each number of a row is multiplied by: 0, or what makes up for those that are dropped.
    pub(crate) fn row(self, row: usize) -> impl Fn(usize) -> f32 {
        let start = mixed(self.key ^ row as u64);
        move |at| {
            let draw = mixed(start.wrapping_add((at as u64).wrapping_mul(GOLDEN)));
            if draw >> 32 < u64::from(self.dropped) { 0.0 } else { self.scale }
        }
    }
}

/// 2^64 / golden ratio: SplitMix64's step.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser (Steele, Lea and Flood 2014).
#[inline(always)]
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_its_share_and_keeps_the_mean() {
        for rate in [0.1f32, 0.5, 0.9] {
            let mask = Mask::new(rate, 7, 3, 1).unwrap();
            let factors: Vec<f32> = (0..400).flat_map(|row| (0..50).map(mask.row(row))).collect();
            let dropped = factors.iter().filter(|f| **f == 0.0).count() as f32 / 20_000.0;
            // Four standard deviations.
            let allowed = 4.0 * (rate * (1.0 - rate) / 20_000.0).sqrt();
            assert!((dropped - rate).abs() < allowed, "{dropped} of {rate}");
            assert!(factors.iter().all(|f| *f == 0.0 || (f * (1.0 - rate) - 1.0).abs() < 1e-6));
        }
        assert!(Mask::new(0.0, 7, 3, 1).is_none());
    }

    #[test]
    fn differs_by_seed_step_place_row_and_nothing_else() {
        let drawn = |seed, step, place, row| {
            let mask = Mask::new(0.5, seed, step, place).unwrap();
            (0..64).map(mask.row(row)).map(|f| u64::from(f > 0.0)).fold(0, |all, bit| all << 1 | bit)
        };
        let all = [
            drawn(7, 3, 1, 0),
            drawn(8, 3, 1, 0),
            drawn(7, 4, 1, 0),
            drawn(7, 3, 2, 0),
            drawn(7, 3, 1, 1),
            drawn(3, 7, 1, 0),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| (a ^ b).count_ones() > 8), "{all:x?}");
        }
        assert_eq!(all[0], drawn(7, 3, 1, 0));
    }

    #[test]
    fn refuses_what_is_no_probability() {
        for rate in [-0.1, 0.96, f32::NAN] {
            let tower = TowerDropout { input: rate, ..TowerDropout::default() };
            let config = DropoutConfig { candidate: tower, ..DropoutConfig::default() };
            assert!(config.validate().unwrap_err().to_string().contains("train.dropout.candidate.input"));
        }
    }
}
