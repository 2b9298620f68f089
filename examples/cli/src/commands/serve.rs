//! `recs serve`: a model version over HTTP until interrupted.

use super::Context;
use crate::args::ServeArgs;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_serve::http::{AppState, Auth, ServeConfig, router};
use recs_serve::retriever::{Host, Retriever};
use recs_serve::workers::Workers;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use tokio::net::TcpListener;

pub(super) async fn run(context: &Context, args: &ServeArgs) -> Result<Report> {
    let artifact = context.model(&args.model).await?;
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
    if !bound.ip().is_loopback() {
        let _ = writeln!(
            err,
            "warning: requests are not authenticated; put a proxy that does in front of {bound}"
        );
    }
    let app = router(state, Auth::Open);
    axum::serve(listener, app)
        .with_graceful_shutdown(stopped())
        .await
        .map_err(|source| Error::Listen { address, source })?;
    let mut report = Report::default();
    report.line("stopped");
    report.set("address", json!(bound.to_string()));
    report.set("model_version", version);
    Ok(report)
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
