//! The command line.

use clap::{Args as ClapArgs, Parser, Subcommand};
use recs_train::Preset;
use recs_train::data::SplitKind;
use std::path::PathBuf;

/// From a purchase log to served recommendations.
#[derive(Debug, Parser)]
#[command(name = "recs", version, about, propagate_version = true)]
pub struct Args {
    /// Configuration file.
    #[arg(long, global = true, default_value = "recs.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON object as the last line of standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order in which data flows.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a recs.toml to start from.
    Init,
    /// Source tables -> the extracted table in the warehouse.
    Extract(ExtractArgs),
    /// The extracted table, or a Parquet file like it -> gzip TFRecord shards.
    Dataset(DatasetArgs),
    /// Shards -> vocabularies.json.
    Vocab(DatasetChoice),
    /// Shards and vocabularies -> a published model version.
    Train(TrainArgs),
    /// Score a model version on the test rows of a dataset.
    Evaluate(EvaluateArgs),
    /// Recommend to one customer.
    Recommend(RecommendArgs),
    /// Serve a model version over HTTP.
    Serve(ServeArgs),
}

/// Where the extracted table goes.
#[derive(Debug, ClapArgs)]
pub struct ExtractArgs {
    /// Also write the table to this Parquet file.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What a dataset is made of.
#[derive(Debug, ClapArgs)]
pub struct DatasetArgs {
    /// A Parquet file with the schema's columns, instead of the latest extracted table.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Name of the new dataset; the time of the run unless given.
    #[arg(long, value_name = "NAME")]
    pub run_id: Option<String>,
}

/// Which dataset.
#[derive(Debug, Clone, ClapArgs)]
pub struct DatasetChoice {
    /// Name of the dataset; the latest unless given.
    #[arg(long = "dataset", value_name = "NAME")]
    pub dataset: Option<String>,
}

/// Settings of a training run that change often; all others stand in recs.toml under `[train]`.
#[derive(Debug, ClapArgs)]
pub struct TrainArgs {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetChoice,
    /// Name of the new model version; the time of the run unless given.
    #[arg(long, value_name = "NAME")]
    pub version: Option<String>,
    /// Defaults to start from: recommended or reference.
    #[arg(long, value_parser = preset)]
    pub preset: Option<Preset>,
    /// Test rows: time or random.
    #[arg(long, value_parser = split)]
    pub split: Option<SplitKind>,
    /// Epochs at most.
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Rows a step.
    #[arg(long)]
    pub batch: Option<usize>,
    /// Seed of weights and shuffling.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads; 0 = all cores.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Which model version.
#[derive(Debug, Clone, ClapArgs)]
pub struct ModelChoice {
    /// Model version; the latest published one unless given.
    #[arg(long = "model", value_name = "VERSION")]
    pub model: Option<String>,
}

/// What to score on what.
#[derive(Debug, ClapArgs)]
pub struct EvaluateArgs {
    /// Which model version.
    #[command(flatten)]
    pub model: ModelChoice,
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetChoice,
    /// Test rows: time or random; as in training unless given.
    #[arg(long, value_parser = split)]
    pub split: Option<SplitKind>,
}

/// Who asks.
#[derive(Debug, ClapArgs)]
pub struct RecommendArgs {
    /// Which model version.
    #[command(flatten)]
    pub model: ModelChoice,
    /// The customer's id.
    #[arg(long, value_name = "ID")]
    pub customer: String,
    /// Where the customer is.
    #[arg(long)]
    pub city: Option<String>,
    /// The customer's total.
    #[arg(long)]
    pub revenue: Option<f32>,
    /// Unix seconds; now unless given.
    #[arg(long)]
    pub timestamp: Option<i64>,
    /// How many products.
    #[arg(short, long, default_value_t = 10)]
    pub k: usize,
    /// Leave out what the customer bought before.
    #[arg(long)]
    pub exclude_purchased: bool,
}

/// Where to serve.
#[derive(Debug, ClapArgs)]
pub struct ServeArgs {
    /// Which model version.
    #[command(flatten)]
    pub model: ModelChoice,
    /// Address, overriding `[serve] listen`.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
}

fn preset(text: &str) -> Result<Preset, String> {
    serde_json::from_value(text.into()).map_err(|_| "presets are recommended and reference".into())
}

fn split(text: &str) -> Result<SplitKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "splits are time and random".into())
}
