//! One file a command.

mod config;
mod dataset;
mod deploy;
mod evaluate;
mod extract;
mod init;
mod keys;
mod log;
mod recommend;
mod recommend_all;
mod record;
mod refresh;
mod scores;
mod search;
mod serve;
mod tracking;
mod train;
mod vocab;

use crate::args::{Args, Command, ConfigCommand, DatasetChoice, MlflowCommand, ModelChoice};
use crate::config::Config;
use crate::error::Result;
use crate::output::Report;
use crate::progress::Terminal;
use recs_core::artifact::{Manifest, ModelArtifact};
use recs_core::dataset::Dataset;
use recs_core::observe::CancelToken;
use recs_core::schema::Schema;
use recs_core::store::TenantRoot;
use recs_core::vocab::{MAX_VOCABULARY_BYTES, VOCABULARY_FILE, Vocabulary};
use recs_serve::model::publish;
use recs_serve::workers::Workers;
use std::sync::Arc;

/// What every command has at hand.
pub(crate) struct Context {
    config: Config,
    root: TenantRoot,
    schema: Schema,
    observer: Arc<Terminal>,
    /// What is said is said as JSON.
    as_json: bool,
    cancel: CancelToken,
}

/// Runs one command.
///
/// # Errors
/// Those of the command.
pub(crate) async fn run(args: Args) -> Result<Report> {
    match args.command {
        Command::Init => return init::run(&args.config),
        Command::Config(ConfigCommand::Schema) => return Ok(config::schema()),
        Command::Config(ConfigCommand::Train) => return config::train(&Config::read(&args.config)?),
        _ => {}
    }
    let mut config = Config::read(&args.config)?;
    config.tenant = args.tenant.unwrap_or(config.tenant);
    let context = Context {
        as_json: args.json,
        root: config.root()?,
        schema: config.schema()?,
        config,
        observer: Arc::default(),
        // A replay may end anywhere: what is not sent stays on disk.
        cancel: match args.command {
            Command::Mlflow(_) => CancelToken::new(),
            _ => cancelled_by_interrupt(),
        },
    };
    match args.command {
        Command::Init | Command::Config(_) => Ok(Report::default()),
        Command::Extract(args) => extract::run(&context, &args).await,
        Command::Dataset(args) => dataset::run(&context, &args).await,
        Command::Vocab(choice) => vocab::run(&context, &choice).await,
        Command::Search(args) => search::run(&context, &args).await,
        Command::Train(args) => train::run(&context, &args).await,
        Command::Refresh(args) => refresh::run(&context, &args).await,
        Command::Evaluate(args) => evaluate::run(&context, &args).await,
        Command::Recommend(args) => recommend::run(&context, args).await,
        Command::RecommendAll(args) => recommend_all::run(&context, args).await,
        Command::Serve(args) => serve::run(&context, &args).await,
        Command::Deploy(command) => deploy::run(&context, &command).await,
        Command::Keys(command) => keys::run(&context, &command).await,
        Command::Mlflow(MlflowCommand::Replay) => tracking::replay(&context).await,
    }
}

/// A token that Ctrl-C cancels; the job then stops at its next safe point and leaves nothing half-written.
/// Makes encryption possible in this process.
fn install_tls() {
    // Refused where the process has a provider already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn http_client() -> Result<reqwest::Client> {
    install_tls();
    reqwest::Client::builder().build().map_err(crate::error::Error::Http)
}

fn cancelled_by_interrupt() -> CancelToken {
    let cancel = CancelToken::new();
    let token = cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            token.cancel();
        }
    });
    cancel
}

impl Context {
    fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Name for a new dataset or version: the time in UTC.
    fn name_by_time(&self) -> String {
        jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string()
    }

    async fn dataset(&self, choice: &DatasetChoice) -> Result<(String, Dataset)> {
        let name = match &choice.dataset {
            Some(name) => name.clone(),
            None => dataset::latest(&self.root).await?,
        };
        Ok((name.clone(), Dataset::open(self.root.dataset(&name)?).await?))
    }

    async fn vocabulary(&self, dataset: &Dataset, schema: &Schema) -> Result<Vocabulary> {
        let folder = dataset.store().child("vocabularies")?;
        let json = folder.get(VOCABULARY_FILE, MAX_VOCABULARY_BYTES).await?;
        Ok(Vocabulary::parse(&json, schema, &folder.show(VOCABULARY_FILE))?)
    }

    async fn model(&self, choice: &ModelChoice) -> Result<ModelArtifact> {
        let version = match &choice.model {
            Some(version) => version.clone(),
            None => ModelArtifact::latest_version(&self.root).await?,
        };
        Ok(ModelArtifact::load(&self.root, &version).await?)
    }

    /// Publishes a version with the index that servers map.
    async fn publish(&self, artifact: &ModelArtifact) -> Result<Manifest> {
        let (now, settings) = (jiff::Timestamp::now().to_string(), &self.config.serve);
        let workers = Workers::new(settings.threads)?;
        Ok(publish(artifact, &self.root, &now, &settings.index, &workers).await?)
    }
}
