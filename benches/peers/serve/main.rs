//! Our side of `scripts/peers serve`: the newest model of a store over HTTP on loopback, until standard input ends.
//!
//! Prints `{"port": ...}` once it listens.
#![allow(clippy::print_stdout, reason = "a program that says where it listens")]

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use axum::routing::post;
use clap::Parser;
use recs_core::artifact::ModelArtifact;
use recs_core::store::{Store, TenantRoot};
use recs_core::tenant::TenantId;
use recs_serve::deploy::{DeployConfig, Deployer};
use recs_serve::http::{AppState, Auth, ServeConfig, ServerConfig, router};
use recs_serve::index::IndexConfig;
use recs_serve::model::publish;
use recs_serve::registry::By;
use recs_serve::retriever::Host;
use recs_serve::workers::Workers;
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Folder of the store.
    #[arg(long)]
    store: PathBuf,
    /// Tenant in it.
    #[arg(long, default_value = "peers")]
    tenant: String,
    /// Keep versions here, and map them.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Always send the answer to one request: what a load generator reaches at most.
    #[arg(long)]
    prepared: bool,
    /// Threads that read and answer requests.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Publish the model under another name, too, and end.
    #[arg(long)]
    twin: bool,
    /// Serve the model and its twin in turn, changed every so many seconds through the registry; a line for each change.
    #[arg(long)]
    swap_every: Option<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads).enable_all().build()?;
    runtime.block_on(serve(&args))
}

async fn serve(args: &Args) -> Result<(), Box<dyn Error>> {
    let tenant = TenantId::new(&args.tenant)?;
    let root = Store::local(&args.store)?.tenant(&tenant)?;
    let latest = ModelArtifact::latest_version(&root).await?;
    let version = latest.strip_suffix(TWIN).unwrap_or(&latest).to_owned();
    if args.twin {
        twin(&root, &version).await?;
        println!("{}", json!({"published": format!("{version}{TWIN}")}));
        return Ok(());
    }
    let host = Host::new(Workers::new(0)?);
    let config = ServeConfig { default_tenant: Some(tenant.clone()), ..ServeConfig::default() };
    let state = AppState::new(host.clone(), config)?;
    let deployer = {
        let config = DeployConfig { cache: args.cache.clone(), ..DeployConfig::default() };
        Deployer::new(&root, state.live(&tenant), host, config)?
    };
    match args.swap_every {
        None => deployer.serve(&version).await?,
        Some(_) => promote(&deployer, &version).await?,
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", json!({"port": listener.local_addr()?.port()}));
    if let Some(seconds) = args.swap_every {
        tokio::spawn(async move {
            if let Err(error) = swap(&deployer, &version, seconds).await {
                println!("{}", json!({"failed": error.to_string()}));
            }
        });
    }
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let mut app = router(state, Auth::Open);
    if args.prepared {
        app = prepared(app).await?;
    }
    Ok(recs_serve::http::serve(listener, app, &ServerConfig::default(), async { drop(ended.await) }).await?)
}

/// The same model under another name.
async fn twin(root: &TenantRoot, version: &str) -> Result<(), Box<dyn Error>> {
    let mut model = ModelArtifact::load(root, version).await?;
    model.metadata.model_version = format!("{version}{TWIN}");
    let (index, workers) = (IndexConfig::default(), Workers::new(0)?);
    match publish(&model, root, "2026-01-01T00:00:00Z", &index, &workers).await {
        Ok(_) | Err(recs_serve::Error::Core(recs_core::Error::AlreadyExists { .. })) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

const TWIN: &str = "-twin";

async fn promote(deployer: &Deployer, version: &str) -> recs_serve::Result<()> {
    let by = By { at: "2026-01-01T00:00:00Z".into(), who: "peers".into(), why: "in turn".into() };
    let (_, now) = deployer.registry().current().await?;
    if now.production.as_deref() != Some(version) {
        deployer.registry().promote(version, &by).await?;
    }
    deployer.refresh().await.map(drop)
}

/// Version and twin in turn, for ever; a line for each swap.
async fn swap(deployer: &Deployer, version: &str, seconds: f64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut every = tokio::time::interval(Duration::from_secs_f64(seconds));
    every.tick().await;
    for turn in 1.. {
        every.tick().await;
        let began = SystemTime::now();
        let name = if turn % 2 == 1 { format!("{version}{TWIN}") } else { version.to_owned() };
        promote(deployer, &name).await?;
        let at = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map(|at| at.as_secs_f64());
        println!("{}", json!({"version": name, "from": at(began)?, "to": at(SystemTime::now())?}));
    }
    Ok(())
}

/// Answers whatever is asked like this.
const REQUEST: &str =
    r#"{"customer_id": "7", "city": "store_300", "revenue": 99.5, "timestamp": 1507000000}"#;

async fn prepared(app: Router) -> Result<Router, Box<dyn Error>> {
    let request = Request::post("/recommend").header(header::CONTENT_TYPE, "application/json");
    let answer = app.oneshot(request.body(Body::from(REQUEST))?).await?;
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await?;
    let send = async move || ([(header::CONTENT_TYPE, "application/json")], body.clone());
    Ok(Router::new().route("/recommend", post(send)))
}
