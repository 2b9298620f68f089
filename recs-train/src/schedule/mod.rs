//! Learning rates over time, one a file.

mod plateau;
mod warm_up;

pub use plateau::{Plateau, PlateauConfig};
pub use warm_up::warm_up;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Warm-up, then constant until the validation stands still.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Steps over which the rate rises linearly from 0.
    pub warm_up_steps: u64,
    /// Reduction when the validation does not get better.
    pub plateau: Option<PlateauConfig>,
}

impl ScheduleConfig {
    /// Always the same rate.
    pub fn constant() -> Self {
        Self { warm_up_steps: 0, plateau: None }
    }

    /// 100 steps of warm-up, halved after two epochs without progress.
    pub fn recommended() -> Self {
        Self { warm_up_steps: 100, plateau: Some(PlateauConfig { factor: 0.5, patience: 2, lowest: 1e-5 }) }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let Some(PlateauConfig { factor, lowest, .. }) = self.plateau else { return Ok(()) };
        if factor > 0.0 && factor < 1.0 && lowest.is_finite() && lowest >= 0.0 {
            return Ok(());
        }
        Err(Error::config("train.schedule.plateau", "factor lies between 0 and 1, lowest is not negative"))
    }
}
