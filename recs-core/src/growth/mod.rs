//! A model whose vocabulary has grown: values keep their rows, products that are new start like those beside them.
//!
//! Vocabularies are sorted, so a value that comes in front moves the ids of all that follow. What was learned belongs to
//! the value, not to the id; [`RowSources`] says for each row of a table where the same value's row was, [`Groups`] where a
//! product without a row of its own starts: at the mean of the rows of its subcategory, else of its category, else of all.
//! A model that was never trained on hidden ids (as DropoutNet is, Volkovs et al. 2017,
//! <https://papers.nips.cc/paper/7081-dropoutnet-addressing-cold-start-in-recommender-systems>) has nothing sensible in
//! the row of unknown values; the mean of a group is the guess with the least squared error for one more of it.
//!
//! | file | what |
//! |---|---|
//! | `sources.rs` | [`RowSources`]: rows of a new table -> rows of the old one |
//! | `groups.rs` | [`Groups`]: known products by subcategory and category, means and quantiles of their rows |

mod groups;
mod sources;

pub use groups::{Groups, Level};
pub use sources::{RowSources, has_row_by_value};
