//! Shards -> integer columns, once; no text in the training loop.
//!
//! | file | what |
//! |---|---|
//! | `columns.rs` | [`TrainData`]: encoded rows and the catalogue |
//! | `check.rs` | lengths and ranges of its columns |
//! | `encoded_with.rs` | [`EncodedWith`]: what the rows were encoded with |
//! | `catalogue.rs` | [`Catalogue`]: the products |
//! | `load.rs` | [`LoadOptions`]: shards -> [`TrainData`], in memory or in mapped files |
//! | `roles.rs` | ids and times by the roles of fields |
//! | `split.rs` | [`Split`]: training, validation and test rows; [`Fold`]: of a search, without test rows |
//! | `column.rs` | [`Column`]: numbers in memory or in a mapped file |
//! | `part.rs` | what one shard gives, and how parts are merged |
//! | `cache.rs` | encoded rows in files, for data that memory has no room for; their format |
//! | `purchases.rs` | [`Purchases`]: rows of each customer; histories |
//! | `customers.rs` | customers as examples: some days held out, the rest the history |
//! | `order.rs` | [`EpochOrder`]: a new order an epoch, from a seed |

mod cache;
mod catalogue;
mod check;
mod column;
mod columns;
mod customers;
mod encoded_with;
mod load;
mod order;
mod part;
mod purchases;
mod roles;
mod split;

pub use catalogue::Catalogue;
pub use column::{Column, EncodedRows, Mapped};
pub use columns::{NO_PRODUCT, TrainData};
pub(crate) use customers::CustomerEpoch;
pub use customers::HoldOut;
pub use encoded_with::EncodedWith;
pub use load::LoadOptions;
pub use order::EpochOrder;
pub use purchases::Purchases;
pub(crate) use purchases::{DAY_SECONDS, counted, day};
pub use split::{Fold, Split, SplitKind};
