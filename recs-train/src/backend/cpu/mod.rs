//! The CPU backend: a batch is cut into one run of rows per thread, and every sum over threads is made in thread order,
//! so the same seed and number of threads give the same bits.
//!
//! | file | what |
//! |---|---|
//! | `backend.rs` | [`CpuBackend`]: forward, loss, backward, clip, update |
//! | `tower_pass.rs` | one tower over one run of rows: activations and gradients |
//! | `gradients.rs` | [`Gradients`]: dense ones, and embeddings' by sorted segment sums |
//! | `update.rs` | the optimiser over all tensors |

mod backend;
mod gradients;
mod tower_pass;
mod update;

pub use backend::CpuBackend;
pub use gradients::{Gradients, SparseGradient, TowerGradients};
