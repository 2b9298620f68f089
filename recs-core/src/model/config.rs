//! What a model is, apart from its numbers: `model.json`.

use crate::error::{Error, Result};
use crate::schema::{Schema, Tower};
use serde::{Deserialize, Serialize};

/// What stands after a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    #[default]
    Linear,
    /// max(x, 0).
    Relu,
    /// x above 0, 0.2 x below: `tf.nn.leaky_relu` (Maas, Hannun and Ng 2013).
    LeakyRelu,
    /// x times the normal distribution function of x: `tf.nn.gelu` (Hendrycks and Gimpel 2016,
    /// <https://arxiv.org/abs/1606.08415>), in its exact form.
    Gelu,
    /// x / (1 + e^-x), also called swish: `tf.nn.silu` (Ramachandran, Zoph and Le 2017,
    /// <https://arxiv.org/abs/1710.05941>).
    #[serde(alias = "swish")]
    Silu,
    /// `tf.nn.tanh`.
    Tanh,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Self; 6] =
        [Self::Linear, Self::Relu, Self::LeakyRelu, Self::Gelu, Self::Silu, Self::Tanh];
}

/// The layers of one tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TowerConfig {
    /// Width of each dense layer; the last is the embedding's. None: the concatenated features are the embedding.
    pub layers: Vec<usize>,
    /// After every layer but the last.
    #[serde(default)]
    pub activation: Activation,
    /// Scale embeddings to length 1.
    #[serde(default)]
    pub l2_normalise: bool,
}

/// A two-tower model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Fields and encodings.
    pub schema: Schema,
    /// The customer's side.
    pub query: TowerConfig,
    /// The product's side.
    pub candidate: TowerConfig,
    /// Scores are dot products divided by this.
    #[serde(default = "one")]
    pub temperature: f32,
}

fn one() -> f32 {
    1.0
}

impl ModelConfig {
    /// The reference architecture over `schema`: Dense 128-64-32 without activation on both sides, no normalisation.
    pub fn reference(schema: Schema) -> Self {
        let tower =
            || TowerConfig { layers: vec![128, 64, 32], activation: Activation::Linear, l2_normalise: false };
        Self { schema, query: tower(), candidate: tower(), temperature: 1.0 }
    }

    /// The layers of one tower.
    pub fn tower(&self, tower: Tower) -> &TowerConfig {
        match tower {
            Tower::Query => &self.query,
            Tower::Candidate => &self.candidate,
        }
    }

    /// Width of a tower's concatenated features.
    pub fn input_width(&self, tower: Tower) -> usize {
        self.schema.widths(tower).input
    }

    /// Width of the embeddings that both towers give, a bias included.
    pub fn embedding_dim(&self) -> usize {
        self.output_width(Tower::Query) + usize::from(self.has_bias())
    }

    /// Width of what a tower's layers give, without a bias.
    pub fn output_width(&self, tower: Tower) -> usize {
        self.tower(tower).layers.last().copied().unwrap_or_else(|| self.input_width(tower))
    }

    /// True when embeddings end with a product's bias, and its counterpart.
    pub fn has_bias(&self) -> bool {
        self.schema.widths(Tower::Candidate).has_bias
    }

    /// What the embeddings of a tower end with where those of the other one end with a bias: the temperature, so that the
    /// bias is added to the score as it is.
    pub fn counterpart(&self, tower: Tower) -> Option<f32> {
        (tower == Tower::Query && self.has_bias()).then_some(self.temperature)
    }

    /// Checks schema, layers and temperature.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<()> {
        self.schema.validate()?;
        for tower in [Tower::Query, Tower::Candidate] {
            let layers = &self.tower(tower).layers;
            let at = || format!("model.{}.layers", tower.name());
            if layers.len() > 16 || layers.iter().any(|&w| !(1..=4096).contains(&w)) {
                return Err(Error::config(at(), "at most 16 layers of 1 to 4096 units"));
            }
        }
        let (dim, other) = (self.output_width(Tower::Query), self.output_width(Tower::Candidate));
        if dim != other {
            return Err(Error::config(
                "model",
                format!("query embeddings have {dim} numbers, candidate ones {other}"),
            ));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(Error::config(
                "model.temperature",
                format!("is {}, must be above 0", self.temperature),
            ));
        }
        Ok(())
    }
}
