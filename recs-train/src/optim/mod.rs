//! Optimisers and clipping, one a file: config -> state of a tensor -> tests.
//!
//! | file | what |
//! |---|---|
//! | `adam.rs`, `decay.rs` | [`Adam`]: Keras's dense form, at the cost of the rows seen, and the row-sparse one |
//! | `adagrad.rs` | [`Adagrad`], for each number or each row |
//! | `sgd.rs` | [`Sgd`] |
//! | `clip.rs` | [`Clip`]: by variable or by the norm of everything |
//! | `step.rs` | [`Step`]: what all tensors of a step share |

mod adagrad;
mod adam;
mod clip;
mod decay;
mod sgd;
mod step;

pub use adagrad::{Adagrad, AdagradConfig};
pub use adam::{Adam, AdamConfig, Rows};
pub use clip::Clip;
pub(crate) use clip::squares;
pub use sgd::Sgd;
pub use step::Step;

use crate::error::{Error, Result};
use decay::Decay;
use serde::{Deserialize, Serialize};

/// State of one tensor `[rows, dim]` under one algorithm. A dense tensor is one row.
///
/// The order in a step: [`Step::open`], [`Optimiser::catch_up`] for the rows that the batch reads, forward and backward
/// pass, [`Optimiser::update`] for the same rows, [`Step::close`].
pub trait Optimiser: std::fmt::Debug + Send {
    /// Brings rows up to date with the steps that have passed without them.
    ///
    /// # Panics
    /// When a row is beyond the tensor.
    fn catch_up(&mut self, _weights: &mut [f32], _rows: &[u32], _step: &Step) {}

    /// Brings all rows up to date; between two steps.
    fn settle(&mut self, _weights: &mut [f32], _step: &Step) {}

    /// Moves rows, each given once, by `factor` times their gradients `[rows.len(), dim]`.
    ///
    /// # Panics
    /// When a row is beyond the tensor.
    fn update(&mut self, weights: &mut [f32], rows: &[u32], gradient: &[f32], factor: f32, step: &Step);

    /// What a checkpoint keeps: numbers, and the step of each row where rows have one.
    fn state(&mut self) -> (Vec<&mut [f32]>, &mut [u32]);
}

/// An optimiser and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Algorithm {
    /// [`Adam`].
    Adam(AdamConfig),
    /// [`Adagrad`].
    Adagrad(AdagradConfig),
    /// [`Sgd`].
    Sgd,
}

impl Algorithm {
    /// State of a tensor `[rows, dim]` before the first step.
    pub fn state(&self, rows: usize, dim: usize) -> Box<dyn Optimiser> {
        match *self {
            Self::Adam(config) => Box::new(Adam::new(config, rows, dim)),
            Self::Adagrad(config) => Box::new(Adagrad::new(config, rows, dim)),
            Self::Sgd => Box::new(Sgd::new(dim)),
        }
    }

    fn decay(&self) -> Option<Decay> {
        match *self {
            Self::Adam(config) if config.rows == Rows::All => Some(Decay::new(config)),
            _ => None,
        }
    }

    fn validate(&self, at: &str) -> Result<()> {
        match self {
            Self::Adam(config) => config.validate(at),
            Self::Adagrad(config) => config.validate(at),
            Self::Sgd => Ok(()),
        }
    }
}

/// One optimiser for each group of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OptimiserConfig {
    /// Of embedding tables.
    pub embeddings: Algorithm,
    /// Of kernels and biases.
    pub dense: Algorithm,
}

impl OptimiserConfig {
    /// `keras.optimizers.Adam` with its defaults: every row of every table moves in every step.
    pub fn keras_adam() -> Self {
        let adam = Algorithm::Adam(AdamConfig { rows: Rows::All, ..AdamConfig::default() });
        Self { embeddings: adam, dense: adam }
    }

    /// Adam that touches only the rows seen.
    pub fn lazy_adam() -> Self {
        let adam = Algorithm::Adam(AdamConfig::default());
        Self { embeddings: adam, dense: adam }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.embeddings.validate("train.optimiser.embeddings")?;
        self.dense.validate("train.optimiser.dense")?;
        match self.dense {
            Algorithm::Adagrad(AdagradConfig { row_wise: true, .. }) => Err(Error::config(
                "train.optimiser.dense.row_wise",
                "is for tables, whose rows are many: a kernel would have one sum; leave it out",
            )),
            _ => Ok(()),
        }
    }

    /// Refuses a learning rate, called `name`, that is none, or with which weight decay leaves nothing of a weight.
    pub(crate) fn check_rate(&self, name: &str, rate: f32) -> Result<()> {
        if !(rate.is_finite() && rate >= 0.0) {
            return Err(Error::config(name, format!("is {rate}, must be 0 or more")));
        }
        for (at, algorithm) in [("embeddings", self.embeddings), ("dense", self.dense)] {
            let Algorithm::Adam(AdamConfig { weight_decay, .. }) = algorithm else { continue };
            if rate * weight_decay >= 1.0 {
                let field = format!("train.optimiser.{at}.weight_decay");
                let reason = format!("is {weight_decay}: times {name}, which is {rate}, it must be below 1");
                return Err(Error::config(field, reason));
            }
        }
        Ok(())
    }
}
