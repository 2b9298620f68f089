//! Observers that keep what they hear.

mod jsonl;

pub use jsonl::JsonLines;
