//! The CPU backend: a batch is cut into one run of rows per thread, and every sum over threads is made in thread order,
//! so the same seed and number of threads give the same bits.
//!
//! | file | what |
//! |---|---|
//! | `backend.rs` | [`CpuBackend`]: its making, a step |
//! | `check.rs` | what it refuses |
//! | `objective.rs` | forward pass, loss and backward pass of a batch |
//! | `queries.rs`, `batch.rs` | the queries and the candidates of a batch, each once |
//! | `sampling.rs` | uniform draws, columns of earlier steps, how often a column is sampled |
//! | `tower_step.rs`, `tower_tables.rs`, `tower_backward.rs` | one tower through one step: forward, its tables, back |
//! | `members.rs` | the way back for single members of a batch |
//! | `part.rs` | one table in a step: its distinct rows, their products and gradients |
//! | `grams.rs` | n-grams of texts in a step |
//! | `shared.rs` | tables that several encodings read |
//! | `chunk.rs` | one run of rows behind the tables: activations and gradients |
//! | `pass.rs`, `walk.rs` | how a step goes through the layers: folding, dropout; the way back |
//! | `folded.rs` | layers without an activation between them as one |
//! | `gradients.rs` | [`Gradients`]: copies for those who look at them |
//! | `update.rs` | clipping, and the optimisers of all tensors |
//! | `distinct.rs`, `gram.rs`, `clock.rs` | distinct ids, sums of outer products, time in matrix products |

mod backend;
mod batch;
mod check;
mod chunk;
mod clock;
mod distinct;
mod folded;
mod gradients;
mod gram;
mod grams;
mod members;
mod objective;
mod part;
mod pass;
mod queries;
mod sampling;
mod shared;
mod tower_backward;
mod tower_step;
mod tower_tables;
mod update;
mod walk;

pub use backend::CpuBackend;
pub(crate) use check::check_settings;
pub use gradients::{Gradients, SparseGradient, TowerGradients};
