//! A temperature that is learned.
//!
//! One number, log(1 / temperature), moves with the layers' optimiser, without weight decay, and is held within a range, as
//! in CLIP (Radford et al. 2021, <https://arxiv.org/abs/2103.00020>, section 2.5), which starts at 0.07 and ends at 0.01. Its
//! gradient is the sum over rows and columns of the logit's gradient times the logit, biases apart: `sum over rows of q .
//! dq`, since `dq` is the sum of the logits' gradients times `c / temperature`. So it costs nothing.

use crate::error::{Error, Result};
use crate::optim::{AdamConfig, Algorithm, Optimiser, Step};
use serde::{Deserialize, Serialize};

/// How far a learned temperature may go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TemperatureConfig {
    /// Never below this.
    pub lowest: f32,
    /// Never above this.
    pub highest: f32,
}

impl Default for TemperatureConfig {
    fn default() -> Self {
        Self { lowest: 0.01, highest: 1.0 }
    }
}

impl TemperatureConfig {
    /// `start` is what the temperature starts from.
    pub(super) fn validate(&self, start: f32) -> Result<()> {
        let Self { lowest, highest } = *self;
        if !(lowest > 0.0 && lowest < highest && highest.is_finite()) {
            let reason =
                format!("goes from {lowest} to {highest}, must start above 0 and end above its start");
            return Err(Error::config("train.loss.learned_temperature", reason));
        }
        if !(lowest..=highest).contains(&start) {
            let reason = format!(
                "is {start}, learned_temperature allows {lowest} to {highest}: start within, or widen the range"
            );
            return Err(Error::config("train.loss.temperature", reason));
        }
        Ok(())
    }
}

/// The number and its optimiser.
#[derive(Debug)]
pub struct LearnedTemperature {
    config: TemperatureConfig,
    /// log(1 / temperature)
    log_scale: [f32; 1],
    optimiser: Box<dyn Optimiser>,
}

impl LearnedTemperature {
    /// Starts at `start` and moves as `algorithm` says.
    pub fn new(config: TemperatureConfig, start: f32, algorithm: Algorithm) -> Self {
        let algorithm = match algorithm {
            Algorithm::Adam(adam) => Algorithm::Adam(AdamConfig { weight_decay: 0.0, ..adam }),
            other => other,
        };
        Self { config, log_scale: [-start.ln()], optimiser: algorithm.state(1, 1) }
    }

    /// What logits are divided by.
    pub fn value(&self) -> f32 {
        (-self.log_scale[0]).exp().clamp(self.config.lowest, self.config.highest)
    }

    /// Moves by `factor` times the gradient of log(1 / temperature).
    pub fn update(&mut self, gradient: f32, factor: f32, step: &Step) {
        self.optimiser.update(&mut self.log_scale, &[0], &[gradient], factor, step);
        let TemperatureConfig { lowest, highest } = self.config;
        self.log_scale[0] = self.log_scale[0].clamp(-highest.ln(), -lowest.ln());
    }

    /// What a checkpoint must keep.
    pub fn state(&mut self) -> (Vec<&mut [f32]>, &mut [u32]) {
        let (mut numbers, counts) = self.optimiser.state();
        numbers.insert(0, &mut self.log_scale);
        (numbers, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_against_the_gradient_within_its_range() {
        let adam = Algorithm::Adam(AdamConfig { weight_decay: 5.0, ..AdamConfig::default() });
        let config = TemperatureConfig::default();
        for (gradient, end) in [(-1.0, 0.01), (1.0, 1.0)] {
            let mut step = Step::start(&adam);
            let mut temperature = LearnedTemperature::new(config, 0.07, adam);
            assert!((temperature.value() - 0.07).abs() < 1e-7);
            let mut values = vec![temperature.value()];
            for _ in 0..400 {
                step.open(0.01);
                temperature.update(gradient, 0.5, &step);
                step.close();
                values.push(temperature.value());
            }
            // A higher 1 / temperature lowers the loss in the first case: the temperature falls, in steps of Adam's rate.
            assert!((values[1].ln() - values[0].ln()).abs() < 0.0101);
            assert!(values.windows(2).all(|w| (w[1] - w[0]) * gradient >= 0.0));
            assert!((values[400] - end).abs() < 1e-6, "{}", values[400]);
        }
    }

    #[test]
    fn starts_within_its_range() {
        let config = TemperatureConfig::default();
        assert!(config.validate(0.01).is_ok() && config.validate(1.0).is_ok());
        assert!(config.validate(0.009).unwrap_err().to_string().contains("train.loss.temperature"));
        for (lowest, highest) in [(0.0, 1.0), (1.0, 1.0), (0.1, f32::INFINITY), (f32::NAN, 1.0)] {
            assert!(TemperatureConfig { lowest, highest }.validate(0.5).is_err());
        }
    }
}
