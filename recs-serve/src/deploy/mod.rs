//! Versions side by side.
//!
//! | file | what |
//! |---|---|
//! | `split.rs` | [`Split`]: which customers a canary answers |

mod split;

pub use split::Split;
