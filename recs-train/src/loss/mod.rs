//! Losses and what they compare with, one a file.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`LossConfig`] |
//! | `columns.rs` | [`Columns`], [`Targets`]: the candidates of a step and what rows are to score high |
//! | `panel.rs` | rows of a softmax: logits that become exponentials |
//! | `softmax.rs` | [`Softmax`]: over the columns of a step, or over the whole catalogue |
//! | `bpr.rs` | [`Bpr`]: pairs of a target and a negative |
//! | `objective.rs` | [`Objective`]: either of them |
//! | `accidental_hits.rs` | columns with a row's own product |
//! | `hard_negatives.rs` | more weight for the highest negatives |
//! | `temperature.rs` | [`LearnedTemperature`] |
//! | `log_q.rs` | [`LogQ`], [`FrequencyEstimate`]: how often a product is sampled |
//! | `mixed.rs` | [`UniformDraws`], and how often a column of a batch with uniform draws is sampled |
//! | `cross_batch.rs` | [`CrossBatch`]: columns of earlier steps |
//!
//! L2-normalised towers are `query.l2_normalise` and `candidate.l2_normalise`; see [`LossConfig`] for which settings go
//! together.

mod accidental_hits;
mod bpr;
mod columns;
mod config;
mod cross_batch;
#[cfg(test)]
mod definition;
#[cfg(test)]
mod expectation;
mod hard_negatives;
mod log_q;
mod mixed;
mod objective;
mod panel;
mod softmax;
mod temperature;

pub use bpr::{Bpr, BprConfig};
pub use columns::{Columns, Gemm, LossGradients, LossInput, NO_COLUMN, Targets};
pub use config::{LossConfig, Negatives, ObjectiveConfig, Reduction};
pub use cross_batch::{Cached, CrossBatch, CrossBatchConfig};
pub use hard_negatives::HardNegatives;
pub use log_q::{FrequencyEstimate, LogQ};
pub use mixed::UniformDraws;
pub(crate) use mixed::mixed_probability;
pub use objective::Objective;
pub use softmax::Softmax;
pub use temperature::{LearnedTemperature, TemperatureConfig};

/// What a checkpoint must keep of a loss beside the weights, in a fixed order. Lengths follow from configuration, data,
/// model and optimiser, so a state is restored by writing into the slices of a new backend of the same settings.
#[derive(Debug, Default)]
pub struct LossState<'a> {
    /// Estimates, embeddings, moments.
    pub numbers: Vec<&'a mut [f32]>,
    /// Steps, products, fill levels.
    pub counts: Vec<&'a mut [u32]>,
}
