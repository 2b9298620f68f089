//! Losses, one a file.

mod in_batch_softmax;

pub use in_batch_softmax::{Columns, Gemm, InBatchSoftmax, NO_COLUMN};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the rows' losses are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum, as `tfrs.tasks.Retrieval` does.
    Sum,
    /// Their mean.
    Mean,
}

/// Settings of the in-batch softmax.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Sum or mean over rows.
    pub reduction: Reduction,
    /// Dot products are divided by this before the softmax.
    pub temperature: f32,
    /// Subtract the log of each product's sampling probability, its share of the training rows.
    pub log_q: bool,
    /// Leave out columns that hold the row's own product a second time.
    pub mask_accidental_hits: bool,
}

impl LossConfig {
    /// Plain summed softmax.
    pub fn reference() -> Self {
        Self { reduction: Reduction::Sum, temperature: 1.0, log_q: false, mask_accidental_hits: false }
    }

    /// Mean, temperature 0.1, corrected, masked.
    pub fn recommended() -> Self {
        Self { reduction: Reduction::Mean, temperature: 0.1, log_q: true, mask_accidental_hits: true }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.temperature.is_finite() && self.temperature > 0.0 {
            return Ok(());
        }
        Err(Error::config("train.loss.temperature", format!("is {}, must be above 0", self.temperature)))
    }
}
