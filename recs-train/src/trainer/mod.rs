//! From data to a model.
//!
//! | file | what |
//! |---|---|
//! | `init.rs` | starting weights from a seed |
//! | `warm_start.rs` | [`WarmStarted`]: starting weights from an earlier version |
//! | `fit.rs` | [`Trainer`]: choose on validation, refit, evaluate once |
//! | `score.rs` | how good settings are before the test, for a search |
//! | `run.rs` | epochs over a set of rows: early stopping, best weights |
//! | `epoch.rs` | the steps of an epoch: batches, rates, divergence |
//! | `keeper.rs` | writes a run's checkpoints, and gives a killed run back |
//! | `evaluation/` | [`Evaluator`]: ranks and lists by blocked products; of a published model too |
//! | `popularity.rs` | [`Popularity`]: the baseline that every model has to beat |
//! | `repeat.rs` | [`RepeatTerm`]: what customers buy again |
//! | `trend.rs` | [`TrendConfig`]: what sells more lately than before |
//! | `artifact.rs` | [`Fitted::into_artifact`] |

mod artifact;
mod epoch;
mod evaluation;
mod fit;
mod init;
mod keeper;
mod popularity;
mod repeat;
mod run;
mod score;
mod trend;
mod warm_start;

pub use artifact::evaluate_artifact;
pub use evaluation::{
    BootstrapConfig, Bootstrapped, EvaluateOptions, Evaluation, Evaluator, ReportInputs, Seen, Slice,
    SliceConfig, SliceTable, Spread,
};
pub use fit::{Fitted, Trainer};
pub use init::initial_weights;
pub use popularity::Popularity;
pub use repeat::{RepeatConfig, RepeatTerm};
pub use run::EpochStats;
pub use trend::TrendConfig;
pub use warm_start::WarmStarted;
