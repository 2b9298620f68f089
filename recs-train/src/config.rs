//! What a training run is: model, objective, optimiser, schedule, split.

use crate::data::{HoldOut, SplitKind};
use crate::dropout::DropoutConfig;
use crate::error::{Error, Result};
use crate::loss::LossConfig;
use crate::optim::{AdamConfig, Algorithm, Clip, OptimiserConfig, Rows};
use crate::range::{not_negative, positive, within};
use crate::schedule::ScheduleConfig;
use crate::trainer::{EvaluateOptions, RepeatConfig, TrendConfig};
use recs_core::model::{Activation, ModelConfig, TowerConfig};
use recs_core::schema::{Encoding, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A complete set of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// The model, loss and optimiser of the usual TensorFlow Recommenders program, number for number.
    Reference,
    /// What gives the best recommendations we know of.
    #[default]
    Recommended,
}

/// Stops when the validation does not get better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without a better validation Recall@100 before training ends; the best weights are restored.
    pub patience: usize,
}

/// What a query of a step is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Examples {
    /// A purchase.
    #[default]
    Rows,
    /// A customer, with some days held out.
    Customers(HoldOut),
}

/// Encodings in place of a preset's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EncodingsConfig {
    /// Of the query tower; None: the preset's.
    pub query: Option<Vec<Encoding>>,
    /// Of the candidate tower; None: the preset's.
    pub candidate: Option<Vec<Encoding>>,
}

/// A training run. Start from [`TrainConfig::recommended`] or [`TrainConfig::reference`] and change fields, or from
/// [`TrainConfig::from_overrides`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Where the defaults came from; `reference` also keeps the schema's own encodings.
    pub preset: Preset,
    /// Which rows are test and validation.
    pub split: SplitKind,
    /// Epochs at most.
    pub epochs: usize,
    /// What a query is.
    #[serde(default)]
    pub examples: Examples,
    /// Queries a step. In-batch, each one's products are negatives of all others.
    pub batch: usize,
    /// Learning rate after warm-up.
    pub learning_rate: f32,
    /// Seed of weights and shuffling. Same seed and same threads: same bits.
    pub seed: u64,
    /// Threads of the training's own pool; 0 = all cores.
    pub threads: usize,
    /// What the towers read, where it is not what the preset has.
    #[serde(default)]
    pub encodings: EncodingsConfig,
    /// The customer's tower.
    pub query: TowerConfig,
    /// The product's tower.
    pub candidate: TowerConfig,
    /// Loss.
    pub loss: LossConfig,
    /// Optimiser.
    pub optimiser: OptimiserConfig,
    /// Clipping of gradients.
    pub clip: Clip,
    /// L1 penalty on the first kernel of each tower: `l1 * sum of |w|`.
    pub l1: f32,
    /// L2 penalty on every kernel: `l2 * sum of w^2`, as `keras.regularizers.L2`. It goes through the optimiser; Adam's
    /// `weight_decay` does not.
    #[serde(default)]
    pub l2: f32,
    /// Numbers set to 0 at random while training.
    #[serde(default)]
    pub dropout: DropoutConfig,
    /// Warm-up and reduction on plateau.
    pub schedule: ScheduleConfig,
    /// None: all epochs.
    pub early_stopping: Option<EarlyStopping>,
    /// A term for what customers buy again, fitted on the validation rows; None: the towers alone.
    #[serde(default)]
    pub repeat: Option<RepeatConfig>,
    /// Moves the biases of products towards the last days of a split by time; None: not.
    #[serde(default)]
    pub trend: Option<TrendConfig>,
    /// After choosing on the validation rows, train anew on everything before the test.
    pub refit: bool,
    /// What the report on the test rows looks at.
    #[serde(default)]
    pub evaluation: EvaluateOptions,
    /// Validation rows scored an epoch, evenly spread; 0 = all.
    pub validation_rows: usize,
    /// Test rows scored, evenly spread; 0 = all. [`Evaluation::rows`](crate::Evaluation::rows) says how many were.
    #[serde(default)]
    pub test_rows: usize,
    /// Half width of the uniform distribution that embeddings start from.
    pub embedding_init: f32,
    /// A step whose loss is above this multiple of the first step's, or of 1 a query where that is more, ends the run as
    /// diverged; None: only one whose loss is not finite.
    #[serde(default)]
    pub max_loss_ratio: Option<f64>,
}

impl TrainConfig {
    /// Dense 128-64-32 without activation, summed in-batch softmax, Keras's dense Adam, clipnorm 1, L1 0.02; no
    /// validation, no schedule.
    pub fn reference() -> Self {
        let tower =
            TowerConfig { layers: vec![128, 64, 32], activation: Activation::Linear, l2_normalise: false };
        Self {
            preset: Preset::Reference,
            split: SplitKind::Random,
            epochs: 5,
            examples: Examples::Rows,
            batch: 2048,
            learning_rate: 1e-3,
            seed: 7,
            threads: 0,
            encodings: EncodingsConfig::default(),
            query: tower.clone(),
            candidate: tower,
            loss: LossConfig::reference(),
            optimiser: OptimiserConfig::keras_adam(),
            clip: Clip::PerVariable { norm: 1.0 },
            l1: 0.02,
            l2: 0.0,
            dropout: DropoutConfig::default(),
            schedule: ScheduleConfig::constant(),
            early_stopping: None,
            repeat: None,
            trend: None,
            refit: false,
            evaluation: EvaluateOptions::default(),
            validation_rows: 0,
            test_rows: 0,
            embedding_init: 0.05,
            max_loss_ratio: Some(10.0),
        }
    }

    /// Two tables of 255 numbers a product: the customer's earlier purchases pooled by one, the products of the other, both
    /// scaled to length 1, a bias for each product; customers as examples with some days held out, a softmax over the whole
    /// catalogue, AdamW with a linear fall, and a term for what customers buy again. How it was chosen, and what each part
    /// gives: benches/README.md, "What the preset is made of". The softmax costs customers x products: beyond some 50,000
    /// products take `loss.negatives = "in_batch"`.
    pub fn recommended() -> Self {
        let tower = TowerConfig { layers: Vec::new(), activation: Activation::Linear, l2_normalise: true };
        let adam = AdamConfig { epsilon: 1e-8, rows: Rows::All, ..AdamConfig::default() };
        Self {
            preset: Preset::Recommended,
            split: SplitKind::Time,
            epochs: 30,
            examples: Examples::Customers(HoldOut::default()),
            batch: 256,
            learning_rate: 1e-2,
            seed: 7,
            threads: 0,
            encodings: EncodingsConfig::default(),
            query: tower.clone(),
            candidate: tower,
            loss: LossConfig::recommended(),
            optimiser: OptimiserConfig {
                embeddings: Algorithm::Adam(AdamConfig { weight_decay: 0.3, ..adam }),
                dense: Algorithm::Adam(adam),
            },
            clip: Clip::None,
            l1: 0.0,
            l2: 0.0,
            dropout: DropoutConfig::default(),
            schedule: ScheduleConfig::recommended(),
            early_stopping: None,
            repeat: Some(RepeatConfig::default()),
            trend: None,
            refit: true,
            evaluation: EvaluateOptions::default(),
            validation_rows: 10_000,
            test_rows: 0,
            // The standard deviation of the uniform distribution is 0.01.
            embedding_init: 0.017_32,
            max_loss_ratio: Some(10.0),
        }
    }

    /// The defaults of a preset.
    pub fn preset(preset: Preset) -> Self {
        match preset {
            Preset::Reference => Self::reference(),
            Preset::Recommended => Self::recommended(),
        }
    }

    /// A preset (`overrides.preset`, `recommended` when absent) with single settings changed; tables merge key by key, and
    /// `false` switches off what a preset has, as in `repeat = false`.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that does not exist or is of another type.
    ///
    /// ```
    /// use recs_train::TrainConfig;
    /// let overrides = serde_json::json!({"preset": "reference", "epochs": 2, "query": {"activation": "relu"}});
    /// let config = TrainConfig::from_overrides(overrides.as_object().unwrap())?;
    /// assert_eq!((config.epochs, config.query.layers.len()), (2, 3));
    /// let overrides = serde_json::json!({"repeat": false, "max_loss_ratio": false});
    /// let config = TrainConfig::from_overrides(overrides.as_object().unwrap())?;
    /// assert!(config.repeat.is_none() && config.max_loss_ratio.is_none());
    /// let refused = TrainConfig::from_overrides(serde_json::json!({"epochs": false}).as_object().unwrap());
    /// assert!(refused.unwrap_err().to_string().contains("boolean `false`"));
    /// # Ok::<(), recs_train::Error>(())
    /// ```
    pub fn from_overrides(overrides: &Map<String, Value>) -> Result<Self> {
        let fault = |e: serde_json::Error| Error::config("train", e.to_string());
        let preset = overrides.get("preset").cloned().unwrap_or(Value::String("recommended".into()));
        let preset: Preset = serde_json::from_value(preset).map_err(fault)?;
        Self::preset(preset).with_overrides(overrides)
    }

    /// These settings with single ones changed; tables merge key by key.
    ///
    /// # Errors
    /// As [`TrainConfig::from_overrides`].
    pub fn with_overrides(&self, overrides: &Map<String, Value>) -> Result<Self> {
        let fault = |e: serde_json::Error| Error::config("train", e.to_string());
        let base = serde_json::to_value(self).map_err(fault)?;
        let read = |numbers_too: bool| -> serde_json::Result<Self> {
            let (mut merged, mut overrides) = (base.clone(), Value::Object(overrides.clone()));
            switch_off(&mut overrides, &base, numbers_too);
            merge_settings(&mut merged, &overrides);
            serde_json::from_value(merged)
        };
        // Only some numbers can be off; of the others the fault is the `false` that stands there.
        let config = read(true).or_else(|_| read(false)).map_err(fault)?;
        config.validate()?;
        Ok(config)
    }

    /// The model of this run over `schema`: its own encodings for `reference`, the recommended ones otherwise, and in their
    /// place those of [`TrainConfig::encodings`].
    ///
    /// # Errors
    /// [`Error::Core`] when towers and schema do not fit.
    pub fn model(&self, schema: &Schema) -> Result<ModelConfig> {
        let mut schema = match self.preset {
            Preset::Reference => schema.clone(),
            Preset::Recommended => schema.clone().with_recommended_encodings()?,
        };
        let EncodingsConfig { query, candidate } = &self.encodings;
        for (own, encodings) in [(query, &mut schema.query), (candidate, &mut schema.candidate)] {
            if let Some(own) = own {
                encodings.clone_from(own);
            }
        }
        let model = ModelConfig {
            schema,
            query: self.query.clone(),
            candidate: self.candidate.clone(),
            temperature: self.loss.temperature,
        };
        model.validate()?;
        Ok(model)
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, reason: String| Err(Error::config(format!("train.{field}"), reason));
        within("train.epochs", self.epochs, 1..=100_000)?;
        within("train.batch", self.batch, 2..=1 << 20)?;
        within("train.threads", self.threads, 0..=1024)?;
        positive("train.learning_rate", self.learning_rate)?;
        positive("train.embedding_init", self.embedding_init)?;
        let has_layers = !(self.query.layers.is_empty() && self.candidate.layers.is_empty());
        for (name, penalty) in [("l1", self.l1), ("l2", self.l2)] {
            not_negative(&format!("train.{name}"), penalty)?;
            if penalty > 0.0 && !has_layers {
                let reason =
                    format!("is {penalty}, and neither tower has layers whose kernels it is for; take 0");
                return refuse(name, reason);
            }
        }
        self.dropout.validate()?;
        if let Some(ratio) = self.max_loss_ratio.filter(|ratio| !(ratio.is_finite() && *ratio > 1.0)) {
            return refuse("max_loss_ratio", format!("is {ratio}, must be above 1"));
        }
        if self.early_stopping.is_some_and(|stop| stop.patience == 0) {
            return refuse("early_stopping.patience", "is 0, must be at least 1".into());
        }
        if let Examples::Customers(hold_out) = &self.examples {
            hold_out.validate()?;
        }
        if let Some(repeat) = &self.repeat {
            repeat.validate()?;
        }
        if let Some(trend) = &self.trend {
            trend.validate()?;
        }
        self.evaluation.validate()?;
        self.loss.validate()?;
        self.optimiser.validate()?;
        self.optimiser.check_rate("train.learning_rate", self.learning_rate)?;
        self.clip.validate()?;
        self.validate_clip()?;
        self.schedule.validate()
    }

    /// What clipping per variable goes with, as far as settings tell.
    pub(crate) fn validate_clip(&self) -> Result<()> {
        if !matches!(self.clip, Clip::PerVariable { .. }) {
            return Ok(());
        }
        let refuse = |reason: &str| Err(Error::config("train.clip.kind", reason));
        if !self.loss.is_plain_in_batch() {
            return refuse(
                "per_variable is for a softmax over in-batch negatives alone; use global_norm or none",
            );
        }
        match self.examples {
            Examples::Rows => Ok(()),
            Examples::Customers(_) => refuse(
                "per_variable cannot tell apart the targets of customers; use global_norm or none, or examples.kind = \"rows\"",
            ),
        }
    }
}

/// Puts settings over others: tables key by key, those of another `kind` as a whole.
pub(crate) fn merge_settings(into: &mut Value, from: &Value) {
    // Settings of another kind have other keys.
    let kind = |value: &Value| value.get("kind").cloned();
    let is_other_kind = kind(from).is_some() && kind(from) != kind(into);
    match (into, from) {
        (Value::Object(into), Value::Object(from)) if !is_other_kind => {
            for (key, value) in from {
                merge_settings(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// `false` for what is a table, a number or off in `base` is off, since TOML has no null.
fn switch_off(settings: &mut Value, base: &Value, numbers_too: bool) {
    match (settings, base) {
        (Value::Object(settings), Value::Object(base)) => {
            for (key, value) in settings {
                switch_off(value, base.get(key).unwrap_or(&Value::Bool(true)), numbers_too);
            }
        }
        (off @ Value::Bool(false), Value::Object(_) | Value::Null) => *off = Value::Null,
        (off @ Value::Bool(false), Value::Number(_)) if numbers_too => *off = Value::Null,
        _ => {}
    }
}
