//! The command line.

use crate::Failure;
use clap::{Args as ClapArgs, Parser, Subcommand};
use recs_train::TrainConfig;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Our side of `scripts/peers train` and `quality`.
#[derive(Debug, Parser)]
#[command(name = "peer-train")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) work: Work,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Work {
    /// Trains on an extract in memory.
    Train {
        /// Parquet table of the extract.
        #[arg(long)]
        data: PathBuf,
        /// Writes the rank of each test row's product by the towers: little-endian i32 in file order, 2^31 - 1 for a miss; as
        /// served to FILE.repeat, where there is a repeat term.
        #[arg(long)]
        ranks: Option<PathBuf>,
        #[command(flatten)]
        training: Training,
    },
    /// Writes an extract as gzip TFRecord shards.
    Shards {
        /// Parquet table of the extract.
        #[arg(long)]
        data: PathBuf,
        /// Folder of the dataset.
        #[arg(long)]
        out: PathBuf,
        /// Number of shards.
        #[arg(long, default_value_t = 25)]
        count: usize,
    },
    /// Shards -> vocabulary -> model, validated each epoch -> artifact.
    Pipeline {
        /// Folder of the dataset.
        #[arg(long)]
        shards: PathBuf,
        /// Folder that the artifact is published below.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        training: Training,
    },
}

/// What differs from the preset.
#[derive(Debug, ClapArgs)]
pub(crate) struct Training {
    #[arg(long, default_value = "reference", value_parser = ["reference", "recommended"])]
    pub(crate) preset: String,
    #[arg(long, default_value = "random", value_parser = ["random", "time"])]
    pub(crate) split: String,
    /// The preset's unless given.
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// The preset's unless given.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Of the hidden layers; the preset's unless given.
    #[arg(long, value_parser = ["linear", "relu"])]
    pub(crate) activation: Option<String>,
    /// 0 = all cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

impl Training {
    /// Threads that read shards.
    pub(crate) fn readers(&self) -> Result<usize, Failure> {
        Ok(if self.threads == 0 { std::thread::available_parallelism()?.get() } else { self.threads })
    }

    /// The settings of the run.
    pub(crate) fn config(&self) -> Result<TrainConfig, Failure> {
        let mut overrides = Map::new();
        let mut set = |key: &str, value: Value| overrides.insert(key.to_owned(), value);
        set("preset", json!(self.preset));
        set("split", json!(self.split));
        set("seed", json!(self.seed));
        set("threads", json!(self.threads));
        if let Some(batch) = self.batch {
            set("batch", json!(batch));
        }
        if let Some(epochs) = self.epochs {
            set("epochs", json!(epochs));
        }
        if let Some(activation) = &self.activation {
            set("query", json!({"activation": activation}));
            set("candidate", json!({"activation": activation}));
        }
        Ok(TrainConfig::from_overrides(&overrides)?)
    }
}
