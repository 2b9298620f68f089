//! Shards -> integer columns, once; no text in the training loop.
//!
//! | file | what |
//! |---|---|
//! | `columns.rs` | [`TrainData`]: encoded rows and the catalogue |
//! | `split.rs` | [`Split`]: training, validation and test rows; [`Fold`]: of a search, without test rows |
//! | `column.rs` | [`Column`]: numbers in memory or in a mapped file |
//! | `part.rs` | what one shard gives, and how parts are merged |
//! | `cache.rs` | encoded rows in files, for data that memory has no room for; their format |
//! | `purchases.rs` | [`Purchases`]: rows of each customer; histories |
//! | `customers.rs` | customers as examples: some days held out, the rest the history |
//! | `order.rs` | [`EpochOrder`]: a new order an epoch, from a seed |

mod cache;
mod column;
mod columns;
mod customers;
mod order;
mod part;
mod purchases;
mod split;

pub use column::{Column, EncodedRows, Mapped};
pub use columns::{Catalogue, LoadOptions, NO_PRODUCT, TrainData};
pub(crate) use customers::CustomerEpoch;
pub use customers::HoldOut;
pub use order::EpochOrder;
pub use purchases::Purchases;
pub(crate) use purchases::{DAY_SECONDS, counted, day};
pub use split::{Fold, Split, SplitKind};
