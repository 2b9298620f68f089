//! Optimisers and clipping, one a file.

mod adam;
mod clip;

pub use adam::{Adam, AdamConfig};
pub use clip::Clip;
pub(crate) use clip::squares;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which rows of an embedding table a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Every row: the moments of rows without a gradient decay and still move them, as in Keras.
    All,
    /// Only rows with a gradient (lazy Adam).
    Seen,
}

/// The optimiser and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptimiserConfig {
    /// Adam's numbers.
    pub adam: AdamConfig,
    /// Which rows of embedding tables it changes.
    pub embedding_rows: Rows,
}

impl OptimiserConfig {
    /// `keras.optimizers.Adam` with its defaults.
    pub fn keras_adam() -> Self {
        Self { adam: AdamConfig::default(), embedding_rows: Rows::All }
    }

    /// Adam that touches only the rows seen.
    pub fn lazy_adam() -> Self {
        Self { adam: AdamConfig::default(), embedding_rows: Rows::Seen }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let AdamConfig { beta_1, beta_2, epsilon } = self.adam;
        let unit = |b: f32| (0.0..1.0).contains(&b);
        if unit(beta_1) && unit(beta_2) && epsilon.is_finite() && epsilon > 0.0 {
            return Ok(());
        }
        Err(Error::config("train.optimiser.adam", "betas lie in 0 to below 1, epsilon above 0"))
    }
}
