//! Settings of the loss, and which go together.

use super::{BprConfig, CrossBatchConfig, HardNegatives, LogQ, TemperatureConfig};
use crate::error::{Error, Result};
use crate::range::{positive, within};
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
    /// The products of the batch, and `uniform_negatives` more.
    #[default]
    InBatch,
    /// The `uniform_negatives` alone; of BPR.
    Uniform,
    /// The whole catalogue: exact, at a cost that grows with it. For catalogues of up to some ten thousand products.
    Full,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ObjectiveConfig {
    /// The cross-entropy of a softmax over the columns.
    #[default]
    Softmax,
    /// Pairs of a target and a negative.
    Bpr(BprConfig),
}

/// Settings of the loss. What is not said to be of one objective or one kind of negatives goes with all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// What is minimised.
    #[serde(default)]
    pub objective: ObjectiveConfig,
    /// Sum or mean over rows.
    pub reduction: Reduction,
    /// Dot products are divided by this.
    pub temperature: f32,
    /// Learn the temperature, from `temperature` on, within a range; None: it stays.
    #[serde(default)]
    pub learned_temperature: Option<TemperatureConfig>,
    /// What targets are compared with.
    pub negatives: Negatives,
    /// In-batch and uniform: products drawn from the whole catalogue in each step.
    #[serde(default)]
    pub uniform_negatives: usize,
    /// In-batch: correct by the log of each column's sampling probability: its product's share of the training rows, or an
    /// estimate; with `uniform_negatives` the mixture's.
    pub log_q: LogQ,
    /// In-batch softmax: leave out columns that hold the row's own product a second time; for rows with one target.
    pub mask_accidental_hits: bool,
    /// In-batch: also compare with the columns of earlier steps.
    #[serde(default)]
    pub cross_batch: Option<CrossBatchConfig>,
    /// Softmax: more weight for each row's highest negatives.
    #[serde(default)]
    pub hard_negatives: Option<HardNegatives>,
}

impl LossConfig {
    /// Plain summed softmax.
    pub fn reference() -> Self {
        Self {
            objective: ObjectiveConfig::Softmax,
            reduction: Reduction::Sum,
            temperature: 1.0,
            learned_temperature: None,
            negatives: Negatives::InBatch,
            uniform_negatives: 0,
            log_q: LogQ::None,
            mask_accidental_hits: false,
            cross_batch: None,
            hard_negatives: None,
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
            log_q: LogQ::Exact,
            mask_accidental_hits: true,
            ..Self::reference()
        }
    }

    /// True for a softmax over nothing but the products of the batch.
    pub(crate) fn is_plain_in_batch(&self) -> bool {
        self.objective == ObjectiveConfig::Softmax
            && self.negatives == Negatives::InBatch
            && self.uniform_negatives == 0
            && self.cross_batch.is_none()
            && self.hard_negatives.is_none()
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: String| Err(Error::config(format!("train.loss.{field}"), reason));
        positive("train.loss.temperature", self.temperature)?;
        if let Some(range) = self.learned_temperature {
            range.validate(self.temperature)?;
        }
        within("train.loss.uniform_negatives", self.uniform_negatives, 0..=1 << 20)?;
        self.log_q.validate()?;
        match self.objective {
            ObjectiveConfig::Bpr(bpr) if self.hard_negatives.is_none() => bpr.validate()?,
            ObjectiveConfig::Bpr(_) => {
                return refuse("hard_negatives", "is for the softmax; leave it out with bpr".into());
            }
            ObjectiveConfig::Softmax => {}
        }
        if let Some(cache) = self.cross_batch {
            cache.validate()?;
        }
        if let Some(hard) = self.hard_negatives {
            hard.validate()?;
        }
        self.validate_negatives()
    }

    /// What goes with which negatives.
    fn validate_negatives(&self) -> Result<()> {
        let refuse = |field: &str, reason: &str| Err(Error::config(format!("train.loss.{field}"), reason));
        let uniform = self.uniform_negatives > 0;
        if self.mask_accidental_hits && self.negatives == Negatives::Full {
            return refuse(
                "mask_accidental_hits",
                "has nothing to leave out with negatives = \"full\", which has each product once; leave it out",
            );
        }
        if self.mask_accidental_hits && self.objective != ObjectiveConfig::Softmax {
            return refuse(
                "mask_accidental_hits",
                "is for the softmax: bpr always leaves them out; leave it out",
            );
        }
        match self.negatives {
            Negatives::InBatch => Ok(()),
            Negatives::Full if uniform => {
                refuse("uniform_negatives", "are all in negatives = \"full\" already; take \"in_batch\"")
            }
            Negatives::Full if self.log_q != LogQ::None => {
                refuse("log_q", "has nothing to correct with negatives = \"full\"; take \"none\"")
            }
            Negatives::Full if self.cross_batch.is_some() => {
                refuse("cross_batch", "has nothing to add to negatives = \"full\"; take \"in_batch\"")
            }
            Negatives::Full => Ok(()),
            Negatives::Uniform if self.objective == ObjectiveConfig::Softmax => refuse(
                "negatives",
                "\"uniform\" is for bpr, since a softmax has a row's target among its columns; take \"in_batch\" with \
                 uniform_negatives",
            ),
            Negatives::Uniform if !uniform => refuse(
                "uniform_negatives",
                "is 0, which leaves negatives = \"uniform\" with none; 1024 is a start",
            ),
            Negatives::Uniform if self.log_q != LogQ::None => {
                refuse("log_q", "has nothing to correct with negatives = \"uniform\"; take \"none\"")
            }
            Negatives::Uniform if self.cross_batch.is_some() => {
                refuse("cross_batch", "is for negatives = \"in_batch\"")
            }
            Negatives::Uniform => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn changed(base: LossConfig, changes: &Value) -> Result<LossConfig, String> {
        let mut value = serde_json::to_value(base).unwrap();
        let changes = changes.as_object().unwrap().clone();
        value.as_object_mut().unwrap().extend(changes);
        let config: LossConfig = serde_json::from_value(value).map_err(|e| e.to_string())?;
        config.validate().map(|()| config).map_err(|e| e.to_string())
    }

    #[test]
    fn files_of_before_mean_the_same() {
        let old = json!({
            "reduction": "mean", "temperature": 0.1, "negatives": "in_batch", "log_q": true, "mask_accidental_hits": true
        });
        assert_eq!(serde_json::from_value::<LossConfig>(old).unwrap(), LossConfig::corrected_in_batch());
        let old = json!({
            "reduction": "sum", "temperature": 1.0, "negatives": "in_batch", "log_q": false, "mask_accidental_hits": false
        });
        assert_eq!(serde_json::from_value::<LossConfig>(old).unwrap(), LossConfig::reference());
    }

    #[test]
    fn everything_is_read_as_it_was_written() {
        let all = json!({
            "learned_temperature": {"highest": 0.5}, "uniform_negatives": 64, "log_q": {"streaming": {"alpha": 0.02}},
            "cross_batch": {"columns": 100}, "hard_negatives": {"count": 3}
        });
        let config = changed(LossConfig::corrected_in_batch(), &all).unwrap();
        assert_eq!(config.cross_batch.unwrap().warm_up_steps, 1000);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LossConfig>(&text).unwrap(), config);
        let bpr = json!({"objective": {"kind": "bpr", "negatives_per_row": 4}, "negatives": "uniform", "uniform_negatives": 8});
        let config = changed(LossConfig::reference(), &bpr).unwrap();
        assert_eq!(config.objective, ObjectiveConfig::Bpr(BprConfig { negatives_per_row: 4 }));
    }

    #[test]
    fn refuses_what_makes_no_sense_and_says_where() {
        let (in_batch, full) = (LossConfig::reference(), LossConfig::recommended());
        let bpr = json!({"kind": "bpr"});
        for (base, changes, field) in [
            (in_batch, json!({"temperature": -1.0}), "temperature"),
            (in_batch, json!({"temperature": 3.0, "learned_temperature": {}}), "temperature"),
            (in_batch, json!({"learned_temperature": {"lowest": 2.0}}), "learned_temperature"),
            (in_batch, json!({"uniform_negatives": 2_000_000}), "uniform_negatives"),
            (in_batch, json!({"log_q": {"streaming": {"alpha": 2.0}}}), "log_q.streaming.alpha"),
            (in_batch, json!({"cross_batch": {"columns": 0}}), "cross_batch.columns"),
            (in_batch, json!({"hard_negatives": {"count": 0}}), "hard_negatives.count"),
            (in_batch, json!({"hard_negatives": {"weight": 1.0}}), "hard_negatives.weight"),
            (in_batch, json!({"objective": bpr, "hard_negatives": {}}), "hard_negatives"),
            (
                in_batch,
                json!({"objective": {"kind": "bpr", "negatives_per_row": 100_000}}),
                "objective.negatives_per_row",
            ),
            (in_batch, json!({"negatives": "uniform", "uniform_negatives": 8}), "negatives"),
            (in_batch, json!({"negatives": "uniform", "objective": bpr}), "uniform_negatives"),
            (
                in_batch,
                json!({"negatives": "uniform", "objective": bpr, "uniform_negatives": 8, "log_q": "exact"}),
                "log_q",
            ),
            (
                in_batch,
                json!({"negatives": "uniform", "objective": bpr, "uniform_negatives": 8, "cross_batch": {}}),
                "cross_batch",
            ),
            (full, json!({"uniform_negatives": 8}), "uniform_negatives"),
            (full, json!({"log_q": {"streaming": {"alpha": 0.1}}}), "log_q"),
            (full, json!({"log_q": "exact"}), "log_q"),
            (full, json!({"mask_accidental_hits": true}), "mask_accidental_hits"),
            (in_batch, json!({"objective": bpr, "mask_accidental_hits": true}), "mask_accidental_hits"),
            (full, json!({"cross_batch": {}}), "cross_batch"),
        ] {
            let refused = changed(base, &changes).unwrap_err();
            assert!(refused.contains(&format!("`train.loss.{field}`")), "{changes}: {refused}");
        }
    }
}
