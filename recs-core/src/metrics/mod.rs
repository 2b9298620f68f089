//! How good recommendations are.
//!
//! A *rank* is the number of other candidates that a test row's product has before it: 0 is the best. Ties rank the
//! target last, so a model that scores everything alike gets no credit.
//!
//! | file | what |
//! |---|---|
//! | `rank.rs` | [`rank_of`], [`count_at_least`]: scores -> rank, non-finite scores refused |
//! | `accuracy.rs` | [`RankSums`]: Recall@K, NDCG@K, MRR over rows |
//! | `drift.rs` | [`stability_index`]: how far one distribution is from another |
//! | `lists.rs` | [`ListStats`]: coverage, personalisation rate and novelty of lists |

mod accuracy;
mod drift;
mod lists;
mod rank;

pub use accuracy::{RECALL_CUTS, RankSums};
pub use drift::stability_index;
pub use lists::ListStats;
pub use rank::{count_at_least, rank_of};
