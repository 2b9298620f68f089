//! Rows -> gzip TFRecord shards and `metadata.json`.
//!
//! ```text
//!  rows ── shard 0 ── encode, gzip ── store      several shards at a time, a fixed number of bytes between
//!       ── shard 1 ── encode, gzip ── store      reader and encoders; metadata.json last
//!       ── …
//! ```
//!
//! | file | what |
//! |---|---|
//! | `config.rs` | [`DatasetConfig`] |
//! | `input.rs` | [`DatasetInput`]: an extraction, or any table of a source |
//! | `writer.rs` | [`write_dataset`]: rows to shards, all or nothing |
//! | `shard.rs` | one shard in its thread |
//! | `columns.rs` | Arrow columns -> the values of a record, checked |
//! | `metadata.rs` | what `metadata.json` says |

mod columns;
mod config;
mod input;
mod metadata;
mod shard;
mod writer;

pub use config::DatasetConfig;
pub use input::DatasetInput;
pub use writer::write_dataset;
