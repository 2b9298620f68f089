//! From data to a model.
//!
//! | file | what |
//! |---|---|
//! | `check.rs` | settings that contradict each other, the model or the data |
//! | `init.rs` | starting weights from a seed |
//! | `warm_start.rs` | [`WarmStarted`]: starting weights from an earlier version |
//! | `training.rs` | [`Trainer`]: what is trained, on what, from where |
//! | `fit.rs` | [`Trainer::fit`]: choose on validation, refit, evaluate once |
//! | `fitted.rs` | [`Fitted`]: a trained model |
//! | `judge.rs` | the report on it, and on which rows |
//! | `score.rs` | how good settings are before the test, for a search |
//! | `run.rs` | epochs over a set of rows: early stopping, best weights |
//! | `epoch.rs` | the steps of an epoch: batches, rates, divergence |
//! | `keeper.rs` | writes a run's checkpoints, and gives a killed run back |
//! | `evaluation/` | [`Evaluator`]: ranks and lists by blocked products; of a published model too |
//! | `probe.rs` | test rows that a server judges the model by |
//! | `popularity.rs` | [`Popularity`]: the baseline that every model has to beat |
//! | `repeat.rs` | [`RepeatTerm`]: what customers buy again |
//! | `likelihood.rs` | what its numbers are fitted by |
//! | `trend.rs` | [`TrendConfig`]: what sells more lately than before |
//! | `artifact.rs` | [`Fitted::into_artifact`] |

mod artifact;
mod check;
mod epoch;
mod evaluation;
mod fit;
mod fitted;
mod init;
mod judge;
mod keeper;
mod likelihood;
mod popularity;
mod probe;
mod repeat;
mod run;
mod score;
mod training;
mod trend;
mod warm_start;

pub use artifact::evaluate_artifact;
pub(crate) use check::check;
pub use evaluation::{
    BootstrapConfig, Bootstrapped, EvaluateOptions, Evaluation, Evaluator, ReportInputs, Seen, Slice,
    SliceConfig, SliceTable, Spread,
};
pub use fitted::Fitted;
pub use init::initial_weights;
pub use popularity::Popularity;
pub use repeat::{RepeatConfig, RepeatTerm};
pub use run::EpochStats;
pub use training::Trainer;
pub use trend::TrendConfig;
pub use warm_start::WarmStarted;
