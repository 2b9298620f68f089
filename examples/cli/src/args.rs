//! The command line.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use recs_core::artifact::Missing;
use recs_core::tenant::TenantId;
use recs_serve::http::Role;
use recs_train::data::SplitKind;
use recs_train::trainer::Seen;
use recs_train::{CheckpointConfig, Preset};
use std::path::PathBuf;

/// From a purchase log to served recommendations.
#[derive(Debug, Parser)]
#[command(name = "recs", version, about)]
pub(crate) struct Args {
    /// Configuration file.
    #[arg(long, global = true, default_value = "recs.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Another tenant than the configuration's, of the same store.
    #[arg(long, global = true)]
    pub(crate) tenant: Option<TenantId>,
    /// Print one JSON object as the last line of standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands, in the order in which data flows.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a recs.toml to start from.
    Init,
    /// Tell about recs.toml.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Source tables -> the extracted table in the warehouse.
    Extract(ExtractArgs),
    /// The extracted table, or a Parquet file like it -> gzip TFRecord shards.
    Dataset(DatasetArgs),
    /// Shards -> vocabularies.json.
    Vocab(DatasetChoice),
    /// Try settings of training on rows before the test -> the best ones, for `recs train --settings`.
    Search(SearchArgs),
    /// Shards and vocabularies -> a published model version.
    Train(TrainArgs),
    /// A model version with another list of products, without training.
    Refresh(RefreshArgs),
    /// Score a model version on the test rows of a dataset.
    Evaluate(EvaluateArgs),
    /// Recommend to one customer.
    Recommend(RecommendArgs),
    /// Recommend to all customers at once -> Parquet in the store; a run that was killed goes on.
    RecommendAll(RecommendAllArgs),
    /// Serve what the registry says, or one version, over HTTP.
    Serve(ServeArgs),
    /// Which versions of the tenant's models serve.
    #[command(subcommand)]
    Deploy(DeployCommand),
    /// API keys of the tenant, and the operator's.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What the MLflow server of `[mlflow]` has of earlier runs.
    #[command(subcommand)]
    Mlflow(MlflowCommand),
}

/// What to do about versions.
#[derive(Debug, Subcommand)]
pub(crate) enum DeployCommand {
    /// What serves.
    Status,
    /// Who changed what, when and why, the latest first.
    History {
        /// So many changes.
        #[arg(long, default_value_t = 20)]
        most: usize,
    },
    /// Put a version into production; the one before is kept to go back to.
    Promote {
        /// The latest unless given.
        version: Option<String>,
        /// For the record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Go back to the version before.
    Rollback {
        /// Only from this version: said twice, it goes back once.
        #[arg(long)]
        from: Option<String>,
        /// For the record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Let a version answer a share of the customers, the same ones as long as it lasts.
    Canary {
        /// Without one the trial ends.
        version: Option<String>,
        /// Of the customers, above 0 and at most 1.
        #[arg(long, default_value_t = 0.05)]
        share: f64,
        /// For the record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// How versions do by what customers did: events that came by POST /events.
    Outcomes {
        /// Of so many days, today included.
        #[arg(long, default_value_t = 7)]
        days: u16,
    },
    /// Let a version answer beside production, unseen.
    Shadow {
        /// Without one it ends.
        version: Option<String>,
        /// For the record.
        #[arg(long, default_value = "")]
        why: String,
    },
}

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and show it, once.
    Add {
        /// What it opens: predict and manage for the tenant, operate for what concerns all tenants (/metrics).
        #[arg(long, value_enum, num_args = 1.., default_values = ["predict"])]
        role: Vec<KeyRole>,
        /// What it is for.
        #[arg(long, default_value = "")]
        note: String,
    },
    /// What keys there are.
    List,
    /// Take a key away.
    Revoke {
        /// As `list` shows it.
        id: String,
    },
}

/// What a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyRole {
    Predict,
    Manage,
    Operate,
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Self {
        match role {
            KeyRole::Predict => Self::Predict,
            KeyRole::Manage => Self::Manage,
            KeyRole::Operate => Self::Operate,
        }
    }
}

/// What to do about MLflow.
#[derive(Debug, Subcommand)]
pub(crate) enum MlflowCommand {
    /// Send what earlier runs could not: the server was dead, or they were killed.
    Replay,
}

/// What to tell about recs.toml.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print its JSON schema, by which editors complete and check it.
    Schema,
    /// Print every setting of [train] as it is: those of the preset, and what recs.toml changes.
    Train,
}

/// Where the extracted table goes.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExtractArgs {
    /// Also write the table to this Parquet file.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What a dataset is made of.
#[derive(Debug, ClapArgs)]
pub(crate) struct DatasetArgs {
    /// A Parquet file with the schema's columns, instead of the latest extracted table.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Name of the new dataset; the time of the run unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) run_id: Option<String>,
}

/// Which dataset.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DatasetChoice {
    /// Name of the dataset; the latest unless given.
    #[arg(long = "dataset", value_name = "NAME")]
    pub(crate) dataset: Option<String>,
}

/// Settings of a training run that change often; all others stand in recs.toml under `[train]`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TrainArgs {
    /// Which dataset.
    #[command(flatten)]
    pub(crate) dataset: DatasetChoice,
    /// Name of the new model version; the time of the run unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) version: Option<String>,
    /// TOML file whose `[train]` takes the place of that of recs.toml, as `recs search` writes one.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Defaults to start from: recommended or reference.
    #[arg(long, value_parser = preset)]
    pub(crate) preset: Option<Preset>,
    /// Test rows: time or random.
    #[arg(long, value_parser = split)]
    pub(crate) split: Option<SplitKind>,
    /// Epochs at most.
    #[arg(long)]
    pub(crate) epochs: Option<usize>,
    /// Rows a step.
    #[arg(long)]
    pub(crate) batch: Option<usize>,
    /// Seed of weights and shuffling.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Threads; 0 = all cores.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Folder for encoded rows, which are mapped instead of held in memory: for data larger than that. 50 million rows train
    /// and publish with 1.6 GiB of memory of their own.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Start from the weights of this model version, or of the `latest`: what it knows keeps its rows.
    #[arg(long, value_name = "VERSION")]
    pub(crate) warm_start: Option<String>,
    /// Keep a run of it in the MLflow server of `[mlflow]`.
    #[arg(long)]
    pub(crate) mlflow: bool,
    /// Checkpoints of a long run.
    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArgs,
}

/// What a search reads and keeps; what it searches over stands in recs.toml under `[search]`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SearchArgs {
    /// Which dataset.
    #[command(flatten)]
    pub(crate) dataset: DatasetChoice,
    /// Where the best settings go.
    #[arg(long, value_name = "FILE", default_value = "best.toml")]
    pub(crate) output: PathBuf,
    /// File of finished trials; a search that was killed does not run those again.
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    /// Folder for a file of JSON lines for each trial.
    #[arg(long, value_name = "DIR", conflicts_with = "mlflow")]
    pub(crate) trials: Option<PathBuf>,
    /// Keep a run of it in the MLflow server of `[mlflow]`, and below it one for each trial.
    #[arg(long)]
    pub(crate) mlflow: bool,
    /// Folder for encoded rows, which are mapped instead of held in memory: for data larger than that.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// Where a run that is killed goes on from.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckpointArgs {
    /// Folder for checkpoints; a run that was killed goes on from the newest there, to the same model.
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Steps from one checkpoint to the next.
    #[arg(long, value_name = "N", requires = "checkpoint")]
    pub(crate) checkpoint_every_steps: Option<u64>,
    /// Minutes from one checkpoint to the next; 5 when nothing is given.
    #[arg(long, value_name = "M", requires = "checkpoint")]
    pub(crate) checkpoint_every_minutes: Option<f64>,
    /// Discard the checkpoints in the folder and start at the beginning.
    #[arg(long, requires = "checkpoint")]
    pub(crate) fresh: bool,
}

impl CheckpointArgs {
    /// None without a folder. Checkpoints stay until the model is published.
    pub(crate) fn config(&self) -> Option<CheckpointConfig> {
        let mut config = CheckpointConfig::new(self.checkpoint.as_ref()?);
        if self.checkpoint_every_steps.is_some() || self.checkpoint_every_minutes.is_some() {
            config.every_steps = self.checkpoint_every_steps;
            config.every_minutes = self.checkpoint_every_minutes;
        }
        (config.fresh, config.keep_finished) = (self.fresh, true);
        Some(config)
    }
}

/// Which model version.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ModelChoice {
    /// Model version; the latest published one unless given.
    #[arg(long = "model", value_name = "VERSION")]
    pub(crate) model: Option<String>,
}

/// Which products instead of the model's.
#[derive(Debug, ClapArgs)]
pub(crate) struct RefreshArgs {
    /// Which model version.
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// A Parquet file with one row a product: the schema's product columns, and `available` unless all are.
    #[arg(long, value_name = "FILE")]
    pub(crate) products: PathBuf,
    /// Name of the new model version; the time of the run unless given.
    #[arg(long, value_name = "NAME")]
    pub(crate) version: Option<String>,
    /// What becomes of products that the file does not have: unavailable (unless given), keep or remove.
    #[arg(long, value_parser = missing)]
    pub(crate) missing: Option<Missing>,
}

/// What to score on what.
#[derive(Debug, ClapArgs)]
pub(crate) struct EvaluateArgs {
    /// Which model version.
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// Which dataset.
    #[command(flatten)]
    pub(crate) dataset: DatasetChoice,
    /// Test rows: time or random; as in training unless given.
    #[arg(long, value_parser = split)]
    pub(crate) split: Option<SplitKind>,
    /// What a customer bought before: keep or remove.
    #[arg(long, value_parser = seen)]
    pub(crate) seen: Option<Seen>,
    /// Text field of the query by whose values rows are sliced, e.g. city; may be given several times.
    #[arg(long, value_name = "FIELD")]
    pub(crate) slice_by: Vec<String>,
    /// Bootstrap samples; 0 = no confidence intervals.
    #[arg(long)]
    pub(crate) samples: Option<usize>,
}

/// Who asks.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecommendArgs {
    /// Which model version.
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// The customer's id.
    #[arg(long, value_name = "ID")]
    pub(crate) customer: String,
    /// Where the customer is.
    #[arg(long)]
    pub(crate) city: Option<String>,
    /// The customer's total.
    #[arg(long)]
    pub(crate) revenue: Option<f32>,
    /// Unix seconds; now unless given.
    #[arg(long)]
    pub(crate) timestamp: Option<i64>,
    /// How many products.
    #[arg(short, long, default_value_t = 10)]
    pub(crate) k: usize,
    /// Leave out what the customer bought before.
    #[arg(long)]
    pub(crate) exclude_purchased: bool,
}

/// Who is asked for, and where the lists go. Unless `--model` says which, by the version in production, or the latest before any is.
#[derive(Debug, ClapArgs)]
pub(crate) struct RecommendAllArgs {
    /// Which model version.
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// Name of the run: the lists are in `warehouse/predictions/bulk-RUN/`. The name of one that was killed goes on with it.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: String,
    /// A file of requests, one a line, each as the body of /recommend; all customers of the model unless given.
    #[arg(long, value_name = "FILE")]
    pub(crate) requests: Option<PathBuf>,
    /// How many products.
    #[arg(short, long, default_value_t = 100, conflicts_with = "requests")]
    pub(crate) k: usize,
    /// Leave out what the customers bought before.
    #[arg(long, conflicts_with = "requests")]
    pub(crate) exclude_purchased: bool,
    /// Leave out what is not available.
    #[arg(long, conflicts_with = "requests")]
    pub(crate) available_only: bool,
}

/// Where to serve.
#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// Which model version.
    #[command(flatten)]
    pub(crate) model: ModelChoice,
    /// Address, overriding `[serve] listen`.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
}

fn preset(text: &str) -> Result<Preset, String> {
    serde_json::from_value(text.into()).map_err(|_| "presets are recommended and reference".into())
}

fn split(text: &str) -> Result<SplitKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "splits are time and random".into())
}

fn missing(text: &str) -> Result<Missing, String> {
    serde_json::from_value(text.into()).map_err(|_| "missing products are unavailable, keep or remove".into())
}

fn seen(text: &str) -> Result<Seen, String> {
    serde_json::from_value(text.into()).map_err(|_| "products bought before are keep or remove".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn presets_and_splits_are_read() {
        let args =
            ["recs", "train", "--preset", "reference", "--split", "random", "--version", "v1", "--json"];
        let parsed = Args::try_parse_from(args).unwrap();
        let Command::Train(train) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!(
            (train.preset, train.split, parsed.json),
            (Some(Preset::Reference), Some(SplitKind::Random), true)
        );
        assert!(Args::try_parse_from(["recs", "train", "--preset", "best"]).is_err());
    }

    #[test]
    fn a_refresh_needs_products() {
        let read = |more: &[&str]| Args::try_parse_from([&["recs", "refresh"], more].concat()).ok();
        let parsed = read(&["--products", "p.parquet", "--model", "v1", "--missing", "remove"]).unwrap();
        let Command::Refresh(refresh) = parsed.command else { panic!("{parsed:?}") };
        assert_eq!((refresh.model.model.as_deref(), refresh.missing), (Some("v1"), Some(Missing::Remove)));
        assert!(read(&[]).is_none() && read(&["--products", "p", "--missing", "hide"]).is_none());
    }

    #[test]
    fn checkpoints_need_a_folder_and_are_every_five_minutes() {
        let config = |more: &[&str]| {
            let parsed = Args::try_parse_from([&["recs", "train"], more].concat()).ok()?;
            let Command::Train(train) = parsed.command else { return None };
            Some(train.checkpoints.config())
        };
        assert_eq!(config(&[]), Some(None));
        assert_eq!(config(&["--fresh"]), None);
        let every = |more| config(more).unwrap().map(|c| (c.every_steps, c.every_minutes, c.fresh));
        assert_eq!(every(&["--checkpoint", "d"]), Some((None, Some(5.0), false)));
        let steps = ["--checkpoint", "d", "--checkpoint-every-steps", "9", "--fresh"];
        assert_eq!(every(&steps), Some((Some(9), None, true)));
    }
}
