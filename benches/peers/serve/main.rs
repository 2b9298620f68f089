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
use recs_core::store::Store;
use recs_core::tenant::TenantId;
use recs_serve::http::{AppState, Auth, ServeConfig, ServerConfig, router};
use recs_serve::retriever::{Host, Retriever};
use recs_serve::workers::Workers;
use serde_json::json;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Always send the answer to one request: what a load generator reaches at most.
    #[arg(long)]
    prepared: bool,
    /// Threads that read and answer requests.
    #[arg(long, default_value_t = 2)]
    threads: usize,
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
    let artifact = ModelArtifact::load(&root, &ModelArtifact::latest_version(&root).await?).await?;
    let host = Host::new(Workers::new(0)?);
    let retriever = Arc::new(Retriever::new(Arc::new(artifact), host.clone())?);
    let config = ServeConfig { default_tenant: Some(tenant.clone()), ..ServeConfig::default() };
    let state = AppState::new(host, config)?;
    state.swap(&tenant, retriever);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", json!({"port": listener.local_addr()?.port()}));
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let mut app = router(state, Auth::Open);
    if args.prepared {
        app = prepared(app).await?;
    }
    Ok(recs_serve::http::serve(listener, app, &ServerConfig::default(), async { drop(ended.await) }).await?)
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
