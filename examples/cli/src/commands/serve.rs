//! `recs serve`: a model version over HTTP until interrupted.

use super::{Context, deploy, keys};
use crate::args::ServeArgs;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::artifact::ModelArtifact;
use recs_serve::http::{ApiKeys, AppState, Auth, KeyLog, KeyRecord, ServeConfig, ServerConfig, router};
use recs_serve::retriever::{Host, Retriever};
use recs_serve::workers::Workers;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A revoked key opens nothing after so long.
const LOOK_FOR_KEYS: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &Context, args: &ServeArgs) -> Result<Report> {
    let artifact = model(context, args).await?;
    let (tenant, settings) = (&context.config.tenant, &context.config.serve);
    let host = Host::new(Workers::new(settings.threads)?);
    let retriever = Arc::new(Retriever::new(Arc::new(artifact), host.clone())?);
    let version = retriever.metadata().model_version.clone();
    let config = ServeConfig { default_tenant: Some(tenant.clone()), ..ServeConfig::default() };
    let state = AppState::new(host, config)?;
    state.swap(tenant, retriever);
    let address = args.listen.clone().unwrap_or_else(|| settings.listen.clone());
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|source| Error::Listen { address: address.clone(), source })?;
    let bound = listener.local_addr().map_err(|source| Error::Listen { address: address.clone(), source })?;
    let mut err = std::io::stderr();
    let _ = writeln!(err, "serving model {version} of {tenant} on http://{bound} (Ctrl-C stops)");
    let auth = auth(context, bound.ip().is_loopback()).await?;
    let server = ServerConfig::default();
    recs_serve::http::serve(listener, router(state, auth), &server, stopped()).await?;
    let mut report = Report::default();
    report.line("stopped");
    report.set("address", json!(bound.to_string()));
    report.set("model_version", version);
    Ok(report)
}

/// The version that was asked for, the one in production, or the latest.
async fn model(context: &Context, args: &ServeArgs) -> Result<ModelArtifact> {
    match (&args.model.model, deploy::in_production(context).await?) {
        (None, Some(version)) => Ok(ModelArtifact::load(&context.root, &version).await?),
        _ => context.model(&args.model).await,
    }
}

/// Keys are asked for as soon as there are any, and always unless only this machine can connect.
async fn auth(context: &Context, is_loopback: bool) -> Result<Auth> {
    let logs = [keys::of_tenant(context)?, keys::of_operator(&context.config.store()?)?];
    let (version, records) = load(&logs).await?;
    if records.is_empty() {
        let reason =
            "requests from other machines need a key: make one with `recs keys add`, or listen on 127.0.0.1";
        return if is_loopback { Ok(Auth::Open) } else { Err(Error::config("serve.listen", reason)) };
    }
    let known = Arc::new(ApiKeys::new(&records)?);
    tokio::spawn(follow(logs, version, Arc::clone(&known)));
    Ok(Auth::Gate(known))
}

/// Number of changes, and the keys after them.
async fn load(logs: &[KeyLog]) -> Result<(u64, Vec<KeyRecord>)> {
    let (mut version, mut records) = (0, Vec::new());
    for log in logs {
        version += log.version().await?;
        records.extend(log.load().await?);
    }
    Ok((version, records))
}

/// Looks for keys that were added or revoked. What fails is tried again: the keys known stay in force meanwhile.
async fn follow(logs: [KeyLog; 2], mut seen: u64, known: Arc<ApiKeys>) {
    loop {
        tokio::time::sleep(LOOK_FOR_KEYS).await;
        let mut version = 0;
        for log in &logs {
            version += log.version().await.unwrap_or_default();
        }
        if version > seen
            && let Ok((version, records)) = load(&logs).await
            && known.replace(&records).is_ok()
        {
            seen = version;
        }
    }
}

/// Ctrl-C or SIGTERM; requests under way are finished.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
