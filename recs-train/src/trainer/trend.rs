//! What sells more lately than before.
//!
//! A bias is fitted to all training rows, and demand moves on. To the bias of each product is added
//! `strength * log((recent + prior) / (all * share + prior))`: its rows of the last days against the number that its rows of
//! the whole period let expect, `share` being the part of all rows that fall into these days. The prior keeps products with few
//! rows where they are. It costs nothing at serving.

use super::init::bias_ids;
use crate::data::{DAY_SECONDS, TrainData};
use crate::error::{Error, Result};
use recs_core::model::{ModelConfig, Weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How much the last days count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TrendConfig {
    /// Length of the last days.
    pub days: u32,
    /// Rows that a product is given in both periods.
    pub prior: f32,
    /// Factor of the logarithm.
    pub strength: f32,
}

impl Default for TrendConfig {
    fn default() -> Self {
        Self { days: 7, prior: 5.0, strength: 0.5 }
    }
}

impl TrendConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: &str| Err(Error::config(format!("train.trend.{field}"), reason));
        if self.days == 0 {
            return refuse("days", "is 0, must be at least 1");
        }
        if !(self.prior.is_finite() && self.prior > 0.0) {
            return refuse("prior", "must be above 0");
        }
        if !self.strength.is_finite() {
            return refuse("strength", "must be a number");
        }
        Ok(())
    }

    /// Adds the trend over `rows` to the biases, where the model has any. O(rows).
    pub(super) fn add(&self, model: &ModelConfig, data: &TrainData, rows: &[u32], weights: &mut Weights) {
        if !model.has_bias() {
            return;
        }
        let [all, recent] = self.counts(data, rows);
        // What shares a bias moves as one.
        let mut of_bias: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
        for ((id, all), recent) in bias_ids(data).into_iter().zip(&all).zip(&recent) {
            let sums = of_bias.entry(id).or_default();
            *sums = [sums[0] + all, sums[1] + recent];
        }
        let share = recent.iter().sum::<u64>() as f32 / all.iter().sum::<u64>().max(1) as f32;
        if let Some(table) = Arc::make_mut(&mut weights.candidate).embeddings.last_mut() {
            for (id, [all, recent]) in of_bias {
                let expected = all as f32 * share + self.prior;
                table[[id, 0]] += self.strength * ((recent as f32 + self.prior) / expected).ln();
            }
        }
    }

    /// Rows of each product of the catalogue: all, and those of the last days.
    fn counts(&self, data: &TrainData, rows: &[u32]) -> [Vec<u64>; 2] {
        let last = rows.iter().map(|&row| data.timestamp[row as usize]).max().unwrap_or(0);
        let after = last.saturating_sub(i64::from(self.days).saturating_mul(DAY_SECONDS));
        let mut counts = [(); 2].map(|()| vec![0u64; data.catalogue.len()]);
        for &row in rows {
            let (product, is_recent) =
                (data.product[row as usize] as usize, data.timestamp[row as usize] > after);
            for (counts, counted) in counts.iter_mut().zip([true, is_recent]) {
                if let Some(count) = counts.get_mut(product).filter(|_| counted) {
                    *count += 1;
                }
            }
        }
        counts
    }
}
