//! Learning rates over time, one a file.

mod plateau;
mod warm_up;

pub use plateau::{Plateau, PlateauConfig};
pub use warm_up::warm_up;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Warm-up, then a fall over the run, and steps down when the validation stands still.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Steps over which the rate rises linearly, the first of n having 1/n of it.
    pub warm_up_steps: u64,
    /// Fall over all epochs, also when early stopping ends the run before.
    #[serde(default)]
    pub decay: Decay,
    /// Reduction when the validation does not get better, in a training with early stopping or a repeat term.
    pub plateau: Option<PlateauConfig>,
}

/// How the rate falls over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// In a line to 0.
    Linear,
    /// By half a cosine to 0 (Loshchilov and Hutter 2017, <https://arxiv.org/abs/1608.03983>).
    Cosine,
}

impl Decay {
    /// Factor of the rate after a share of the run, from 0 to 1.
    pub fn factor(self, progress: f64) -> f32 {
        let progress = progress.clamp(0.0, 1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - progress) as f32,
            Self::Cosine => (0.5 + 0.5 * (std::f64::consts::PI * progress).cos()) as f32,
        }
    }
}

impl ScheduleConfig {
    /// Always the same rate.
    pub fn constant() -> Self {
        Self { warm_up_steps: 0, decay: Decay::Constant, plateau: None }
    }

    /// 20 steps of warm-up, then in a line to 0.
    pub fn recommended() -> Self {
        Self { warm_up_steps: 20, decay: Decay::Linear, plateau: None }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let Some(PlateauConfig { factor, lowest, .. }) = self.plateau else { return Ok(()) };
        if factor > 0.0 && factor < 1.0 && lowest.is_finite() && lowest >= 0.0 {
            return Ok(());
        }
        Err(Error::config("train.schedule.plateau", "factor lies between 0 and 1, lowest is not negative"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_from_one_to_zero() {
        for (decay, half) in [(Decay::Linear, 0.5), (Decay::Cosine, 0.5), (Decay::Constant, 1.0)] {
            assert_eq!(decay.factor(0.0), 1.0);
            assert!((decay.factor(0.5) - half).abs() < 1e-6);
        }
        assert!(Decay::Linear.factor(1.0) == 0.0 && Decay::Cosine.factor(2.0) < 1e-6);
        assert!(Decay::Cosine.factor(0.25) > Decay::Linear.factor(0.25));
    }
}
