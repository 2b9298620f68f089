//! Shards -> integer columns, once; no text in the training loop.
//!
//! | file | what |
//! |---|---|
//! | `columns.rs` | [`TrainData`]: encoded rows and the catalogue |
//! | `split.rs` | [`Split`]: training, validation and test rows |
//! | `shuffle.rs` | [`Shuffle`]: a new order an epoch, from a seed |

mod columns;
mod shuffle;
mod split;

pub use columns::{Catalogue, NO_PRODUCT, TrainData};
pub use shuffle::Shuffle;
pub use split::{Split, SplitKind};
