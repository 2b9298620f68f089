//! The command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Rows of a shard.
const SHARD_ROWS: u64 = 100_000;

/// Trains on synthetic rows through mapped files and prints peaks of memory.
#[derive(Debug, Parser)]
#[command(name = "train-large")]
pub(crate) struct Args {
    /// Where shards, vocabulary, encoded rows and the model go; about 130 bytes a row.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Rows to make.
    #[arg(long, default_value_t = 50_000_000, value_parser = clap::value_parser!(u64).range(100..=4_000_000_000))]
    pub(crate) rows: u64,
    /// The last stage.
    #[arg(long, value_enum, default_value_t = Stage::Train)]
    pub(crate) until: Stage,
    #[arg(long, default_value = "reference", value_parser = ["reference", "recommended"])]
    pub(crate) preset: String,
    #[arg(long, default_value_t = 1)]
    pub(crate) epochs: usize,
    #[arg(long, default_value_t = 2048)]
    pub(crate) batch: usize,
    /// Test rows scored, evenly spread; 0 = all.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) test_rows: usize,
    /// 0 = all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Each comes after the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Stage {
    /// Rows -> gzip TFRecord shards.
    Generate,
    /// Shards -> vocabularies.json.
    Vocabulary,
    /// Shards -> encoded rows in mapped files.
    Load,
    /// Encoded rows -> a model, evaluated and published.
    Train,
}

impl Args {
    pub(crate) fn shards(&self) -> u64 {
        self.rows.div_ceil(SHARD_ROWS)
    }

    /// Threads that are there.
    pub(crate) fn parallelism(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}
