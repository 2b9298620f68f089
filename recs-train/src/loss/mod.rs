//! Losses, one a file.

mod softmax;

pub use softmax::{Columns, Gemm, NO_COLUMN, Softmax, SoftmaxGradients, Targets};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the rows' losses are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum, as `tfrs.tasks.Retrieval` does.
    Sum,
    /// Their mean, by the weights of the targets where rows have several.
    Mean,
}

/// What a row's targets are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Negatives {
    /// The products of the batch.
    #[default]
    InBatch,
    /// The whole catalogue: exact, at a cost that grows with it. For catalogues of up to some ten thousand products.
    Full,
}

/// Settings of the softmax.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Sum or mean over rows.
    pub reduction: Reduction,
    /// Dot products are divided by this before the softmax.
    pub temperature: f32,
    /// What targets are compared with.
    pub negatives: Negatives,
    /// In-batch: subtract the log of each product's sampling probability, its share of the training rows.
    pub log_q: bool,
    /// In-batch: leave out columns that hold the row's own product a second time.
    pub mask_accidental_hits: bool,
}

impl LossConfig {
    /// Plain summed softmax.
    pub fn reference() -> Self {
        Self {
            reduction: Reduction::Sum,
            temperature: 1.0,
            negatives: Negatives::InBatch,
            log_q: false,
            mask_accidental_hits: false,
        }
    }

    /// Mean over the whole catalogue, temperature 1/8.
    pub fn recommended() -> Self {
        Self {
            reduction: Reduction::Mean,
            temperature: 0.125,
            negatives: Negatives::Full,
            ..Self::reference()
        }
    }

    /// Mean, in-batch, temperature 0.1, corrected, masked: for rows as examples.
    pub fn corrected_in_batch() -> Self {
        Self {
            reduction: Reduction::Mean,
            temperature: 0.1,
            negatives: Negatives::InBatch,
            log_q: true,
            mask_accidental_hits: true,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.temperature.is_finite() && self.temperature > 0.0 {
            return Ok(());
        }
        Err(Error::config("train.loss.temperature", format!("is {}, must be above 0", self.temperature)))
    }
}
