//! Clipping of gradients by norm.

use crate::error::Result;
use crate::range::positive;
use serde::{Deserialize, Serialize};

/// What is scaled down when a gradient is long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Clip {
    /// Nothing.
    None,
    /// Each variable by its own norm, as Keras's `clipnorm`; the norm of an embedding's gradient is taken before the
    /// gradients of equal rows are summed.
    PerVariable {
        /// Largest norm.
        norm: f32,
    },
    /// All variables by the norm of everything together.
    GlobalNorm {
        /// Largest norm.
        norm: f32,
    },
}

impl Clip {
    pub(crate) fn validate(&self) -> Result<()> {
        match *self {
            Self::None => Ok(()),
            Self::PerVariable { norm } | Self::GlobalNorm { norm } => positive("train.clip.norm", norm),
        }
    }

    /// Factor for a gradient whose sum of squares is `squares`, given the largest norm.
    pub(crate) fn factor(norm: f32, squares: f64) -> f32 {
        (f64::from(norm) / squares.sqrt().max(f64::from(norm))) as f32
    }
}

/// Sum of squares in f64, in a fixed order.
pub(crate) fn squares(numbers: &[f32]) -> f64 {
    numbers.chunks(1024).map(|c| f64::from(c.iter().map(|x| x * x).sum::<f32>())).sum()
}
