//! Reduction on plateau, as Keras's `ReduceLROnPlateau`.

use serde::{Deserialize, Serialize};

/// When and how the rate is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlateauConfig {
    /// The rate is multiplied by this.
    pub factor: f32,
    /// Epochs without a better validation before that.
    pub patience: usize,
    /// The rate does not go below this.
    pub lowest: f32,
}

/// Follows the validation from epoch to epoch.
#[derive(Debug, Clone)]
pub struct Plateau {
    config: PlateauConfig,
    best: f64,
    waited: usize,
    scale: f32,
}

impl Plateau {
    /// Nothing seen yet.
    pub fn new(config: PlateauConfig) -> Self {
        Self { config, best: f64::NEG_INFINITY, waited: 0, scale: 1.0 }
    }

    /// Takes an epoch's validation (higher is better) and gives the rate for the next one.
    pub fn next_rate(&mut self, base: f32, validation: f64) -> f32 {
        if validation > self.best {
            (self.best, self.waited) = (validation, 0);
        } else {
            self.waited += 1;
            if self.waited >= self.config.patience.max(1) {
                (self.waited, self.scale) = (0, self.scale * self.config.factor);
            }
        }
        (base * self.scale).max(self.config.lowest.min(base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_after_the_patience_and_not_below_the_lowest() {
        let mut plateau = Plateau::new(PlateauConfig { factor: 0.5, patience: 2, lowest: 0.3 });
        let rates: Vec<f32> =
            [1.0, 0.9, 0.9, 2.0, 1.0, 1.0, 1.0, 1.0].iter().map(|v| plateau.next_rate(1.0, *v)).collect();
        assert_eq!(rates, [1.0, 1.0, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3]);
    }
}
