//! How good the lists are.
//!
//! | file | what |
//! |---|---|
//! | `report.rs` | [`Evaluation`]: what is reported |
//! | `evaluator.rs` | [`Evaluator`]: rows -> ranks and lists |
//! | `score.rs` | a block of rows against blocks of candidates: at most 128 x 16,384 scores a thread are in memory |
//! | `known.rs` | what customers are known to have bought: histories, repeat terms |
//! | `served.rs` | the same of a published model |

mod evaluator;
mod known;
mod report;
mod score;
mod served;

pub use evaluator::Evaluator;
pub use report::Evaluation;
pub(super) use served::Served;
