//! The arithmetic that towers, evaluation and search share.
//!
//! | file | what |
//! |---|---|
//! | `add.rs` | sums of rows |
//! | `dot.rs` | dot products of rows: AVX-512, AVX2, scalar |
//! | `gemm.rs` | matrix product over ndarray views, one thread (callers split the work) |
//! | `tile.rs` | the products of a training step: registers hold a tile, nothing is copied first |
//! | `activation.rs` | activations of a row and their slopes |
//! | `exp.rs` | exponential of a row, the same bits on every machine |
//! | `int8/` | one byte a number: estimates of dot products with a proven bound |
//! | `prefetch.rs` | rows of a table that will be read soon |
//! | `top_k.rs` | the k best of many scores without sorting them all |

mod activation;
mod add;
mod dot;
mod exp;
mod gemm;
mod int8;
mod prefetch;
mod tile;
mod top_k;

pub use activation::{activate_in_place, activate_with_slopes};
pub use add::{add, add_scaled, sum_rows};
pub use dot::{dot, dot_picked, dot_rows, dot_scalar};
pub use exp::{exp, exp_in_place, exp_sum_biased};
pub use gemm::gemm;
pub use int8::{Int8Blocks, Int8Codec, Int8Query, MAX_INT8_DIM, estimate_rows, int8_stride};
pub use prefetch::prefetch;
pub use top_k::{Hit, TopK};
