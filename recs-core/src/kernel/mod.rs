//! The arithmetic that towers, evaluation and search share.
//!
//! | file | what |
//! |---|---|
//! | `dot.rs` | dot products of rows: AVX-512, AVX2, scalar |
//! | `gemm.rs` | matrix product over ndarray views, one thread (callers split the work) |
//! | `exp.rs` | exponential of a row, the same bits on every machine |
//! | `top_k.rs` | the k best of many scores without sorting them all |

mod dot;
mod exp;
mod gemm;
mod top_k;

pub use dot::{dot, dot_rows, dot_scalar};
pub use exp::{exp, exp_in_place, exp_sum_biased, exp_sum_in_place};
pub use gemm::gemm;
pub use top_k::{Hit, TopK};
