//! `recs serve`: what the registry says, or one version, over HTTP until interrupted.

mod tenant;

pub(super) use tenant::deploy_config;

use super::{Context, keys};
use crate::args::ServeArgs;
use crate::config::LimitSettings;
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::store::TenantRoot;
use recs_serve::deploy::{MemoryConfig, ModelMemory};
use recs_serve::http::{AppState, Auth, KeyLog, KeyRing, ServerConfig, WithoutKeys, router};
use recs_serve::retriever::Host;
use recs_serve::workers::Workers;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How often keys and versions are looked for: a revoked key opens nothing after so long, as long as the store answers.
const LOOK: Duration = Duration::from_secs(5);
/// Open files that are no connections.
const OTHER_FILES: usize = 128;
/// Longest for what was gathered to get to the store, at the end.
const FINISH: Duration = Duration::from_secs(30);
const NO_KEYS: &str = "requests from other machines need a key, and after the first was made all do: make one with \
                       `recs keys add`, or listen on 127.0.0.1 before there is any";

pub(super) async fn run(context: &Context, args: &ServeArgs) -> Result<Report> {
    super::log::start(context.as_json);
    let (tenant, settings) = (&context.config.tenant, &context.config.serve);
    let roots = roots(context, args)?;
    let host = Host::new(Workers::new(settings.threads)?);
    let state = AppState::new(host.clone(), settings.limits.serve(tenant, roots.len()))?;
    let memory = &settings.memory;
    let memory = ModelMemory::new(MemoryConfig {
        total_bytes: memory.total_bytes.unwrap_or(u64::MAX),
        tenant_bytes: memory.tenant_bytes.unwrap_or(u64::MAX),
    })?;
    let (mut monitors, mut version) = (Vec::new(), String::new());
    for root in &roots {
        let serving = tenant::Serving { context, state: &state, host: &host, memory: &memory, root };
        let serves = serving.deploy(args).await?;
        if root.tenant() == tenant {
            version = serves;
        }
        monitors.push(serving.watch()?);
    }
    let address = args.listen.clone().unwrap_or_else(|| settings.listen.clone());
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|source| Error::Listen { address: address.clone(), source })?;
    let bound = listener.local_addr().map_err(|source| Error::Listen { address: address.clone(), source })?;
    let others = match roots.len() {
        1 => String::new(),
        tenants => format!(" and models of {} other tenants", tenants - 1),
    };
    say(&format!("serving model {version} of {tenant}{others} on http://{bound} (Ctrl-C stops)"));
    let auth = auth(context, &roots, &state, bound.ip().is_loopback()).await?;
    let grace = Duration::from_secs(settings.grace_seconds);
    let stop = async {
        stopped().await;
        // Load balancers are to send nobody before the door closes.
        state.retire();
        tokio::time::sleep(grace).await;
    };
    let served =
        recs_serve::http::serve(listener, router(state.clone(), auth), &server(&settings.limits), stop).await;
    // What was gathered since the last time.
    let finish = futures::future::join_all(monitors.iter().map(|monitor| monitor.finish()));
    let lost = match tokio::time::timeout(FINISH, finish).await {
        Ok(kept) => kept.into_iter().find_map(|kept| kept.err().map(|error| error.to_string())),
        Err(_) => Some(format!("it did not answer within {FINISH:?}")),
    };
    if let Some(reason) = lost {
        say(&format!(
            "warning: the store did not take the last lists that were served; events wait on this disk: {reason}"
        ));
    }
    served?;
    let mut report = Report::default();
    report.line("stopped");
    report.set("address", json!(bound.to_string()));
    report.set("model_version", version);
    Ok(report)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whose models are served, the one without a name in the path first; with a version given only that one's.
fn roots(context: &Context, args: &ServeArgs) -> Result<Vec<TenantRoot>> {
    let (store, mut roots) = (context.config.store()?, vec![context.root.clone()]);
    if args.model.model.is_none() {
        for tenant in &context.config.serve.tenants {
            if roots.iter().all(|root| root.tenant() != tenant) {
                roots.push(store.tenant(tenant)?);
            }
        }
    }
    Ok(roots)
}

/// As many connections as there may be open files, beside some for everything else; where the system allows more, it is asked for
/// more: with the usual 1,024 a thousand silent clients would keep all others out.
fn server(limits: &LimitSettings) -> ServerConfig {
    let config = limits.server();
    let files = rlimit::increase_nofile_limit(u64::MAX)
        .map_or(1024, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let most = files.saturating_sub(OTHER_FILES).max(1);
    if most < config.max_connections {
        say(&format!(
            "warning: this process may have {files} open files, so {most} connections: raise the limit (ulimit -n)"
        ));
    }
    ServerConfig { max_connections: most.min(config.max_connections), ..config }
}

/// Keys are asked for as soon as one was ever made, and always unless only this machine can connect.
async fn auth(context: &Context, roots: &[TenantRoot], state: &AppState, is_loopback: bool) -> Result<Auth> {
    let of_tenants = roots.iter().map(KeyLog::of_tenant).collect::<recs_serve::Result<Vec<_>>>()?;
    let logs = of_tenants.into_iter().chain([keys::of_operator(&context.config.store()?)?]);
    let without = if is_loopback { WithoutKeys::Open } else { WithoutKeys::Closed };
    let mut ring = KeyRing::new(logs);
    if let Some(cache) = tenant::cache(context) {
        ring = ring.remembering(cache.join(context.root.local_name()).join("keys.json"));
    }
    let failures = ring.load(without).await;
    for error in &failures {
        say(&format!("warning: keys may be out of date: {error}"));
    }
    if ring.is_shut() {
        let unread = failures.into_iter().next().map(Error::from);
        return Err(unread.unwrap_or_else(|| Error::config("serve.listen", NO_KEYS)));
    }
    let ring = Arc::new(ring);
    tokio::spawn(Arc::clone(&ring).follow(state.clone(), LOOK));
    Ok(Auth::Gate(ring))
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
