//! How good the lists are.
//!
//! | file | what |
//! |---|---|
//! | `options.rs` | [`EvaluateOptions`]: what a report looks at |
//! | `report.rs` | [`Evaluation`]: what is reported |
//! | `judge.rs` | [`Evaluator::report`]: everything together |
//! | `evaluator.rs` | [`Evaluator`]: rows -> ranks and lists |
//! | `distinct.rs` | rows that ask the same are scored once |
//! | `score.rs` | a block of rows against blocks of candidates: at most 128 x 16,384 scores a thread are in memory |
//! | `slices.rs` | which slice each row belongs to |
//! | `bootstrap.rs` | how far the numbers would move with other customers |
//! | `known.rs` | what customers are known to have bought: histories, repeat terms |
//! | `fallback.rs` | what customers get of whom nothing is known |
//! | `served.rs` | the same of a published model |

mod bootstrap;
mod distinct;
mod evaluator;
mod fallback;
mod judge;
mod known;
mod options;
mod report;
mod score;
mod served;
mod slices;

pub use evaluator::Evaluator;
pub(super) use evaluator::sums;
pub use judge::ReportInputs;
pub use options::{BootstrapConfig, EvaluateOptions, Seen, SliceConfig};
pub use report::{Bootstrapped, Evaluation, Slice, SliceTable, Spread};
pub(super) use score::{Both, LIST_LENGTH};
pub(super) use served::Served;
