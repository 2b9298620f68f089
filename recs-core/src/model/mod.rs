//! The two towers: configuration, weights, features -> columns, and the forward pass.
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`ModelConfig`]: schema plus the layers of each tower |
//! | `weights.rs` | [`Weights`]: tables and dense layers, `weights.safetensors` |
//! | `features.rs` | [`FeatureEncoder`]: rows -> [`TowerColumns`], ids and numbers; training and serving share it |
//! | `ngrams.rs`, `bags.rs` | hashed n-grams of texts; [`Bags`]: lists of table rows |
//! | `history.rs` | [`Histories`]: what customers bought before, as a feature |
//! | `cyclical.rs` | phases of time, in float32 as TensorFlow computes them |
//! | `tower.rs` | [`TowerModel`]: columns -> embeddings |
//! | `snapshot.rs` | [`InputSnapshot`]: what the inputs looked like in training |
//! | `normalise.rs` | rows of length 1 |
//!
//! ```text
//! row of values -> FeatureEncoder -> ids [tables] + numbers -> gather, concat -> Dense ... Dense -> (L2) -> embedding
//! ```

mod bags;
mod config;
mod cyclical;
mod features;
mod history;
mod ngrams;
mod normalise;
mod snapshot;
mod tower;
mod weights;

pub use bags::{BagColumn, Bags};
pub use config::{Activation, ModelConfig, TowerConfig};
pub use cyclical::cyclical;
pub use features::{FeatureEncoder, TowerColumns, TowerEncoder};
pub use history::Histories;
pub use normalise::{l2_normalise, l2_normalise_gradient};
pub use snapshot::{InputBins, InputCounter, InputShares, InputSnapshot};
pub use tower::{TowerModel, activate};
pub use weights::{Dense, NamedTensor, Table, TowerWeights, WEIGHTS_FILE, Weights, table_name};
