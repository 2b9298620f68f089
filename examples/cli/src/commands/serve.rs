//! `recs serve`: what the registry says, or one version, over HTTP until interrupted.

use super::{Context, keys};
use crate::args::ServeArgs;
use crate::config::{LimitSettings, NotifySettings};
use crate::error::{Error, Result};
use crate::output::Report;
use recs_core::artifact::ModelArtifact;
use recs_core::notify::{Mail, Notifier, Webhook, WebhookForm};
use recs_serve::deploy::{DeployConfig, Deployer};
use recs_serve::http::{AppState, Auth, KeyRing, ServerConfig, WithoutKeys, router};
use recs_serve::monitor::{Monitor, MonitorConfig};
use recs_serve::retriever::Host;
use recs_serve::workers::Workers;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How often keys and versions are looked for: a revoked key opens nothing after so long, as long as the store answers.
const LOOK: Duration = Duration::from_secs(5);
/// Open files that are no connections.
const OTHER_FILES: usize = 128;
const NO_KEYS: &str = "requests from other machines need a key, and after the first was made all do: make one with \
                       `recs keys add`, or listen on 127.0.0.1 before there is any";

pub(super) async fn run(context: &Context, args: &ServeArgs) -> Result<Report> {
    super::log::start(context.as_json);
    let (tenant, settings) = (&context.config.tenant, &context.config.serve);
    let host = Host::new(Workers::new(settings.threads)?);
    let state = AppState::new(host.clone(), settings.limits.serve(tenant))?;
    state.limit(tenant, settings.limits.tenant())?;
    deploy(context, args, &state, host.clone()).await?;
    let monitor = watch(context, &state, host)?;
    let serving = state.live(tenant).serving();
    let version = serving.production.as_ref().map(|version| version.name().to_owned()).unwrap_or_default();
    let address = args.listen.clone().unwrap_or_else(|| settings.listen.clone());
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|source| Error::Listen { address: address.clone(), source })?;
    let bound = listener.local_addr().map_err(|source| Error::Listen { address: address.clone(), source })?;
    let mut err = std::io::stderr();
    let _ = writeln!(err, "serving model {version} of {tenant} on http://{bound} (Ctrl-C stops)");
    let auth = auth(context, &state, bound.ip().is_loopback()).await?;
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
    let kept = monitor.finish().await;
    served?;
    kept?;
    let mut report = Report::default();
    report.line("stopped");
    report.set("address", json!(bound.to_string()));
    report.set("model_version", version);
    Ok(report)
}

/// As many connections as there may be open files, beside some for everything else; where the system allows more, it is asked for
/// more: with the usual 1,024 a thousand silent clients would keep all others out.
fn server(limits: &LimitSettings) -> ServerConfig {
    let config = limits.server();
    let files = rlimit::increase_nofile_limit(u64::MAX)
        .map_or(1024, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let most = files.saturating_sub(OTHER_FILES).max(1);
    if most < config.max_connections {
        let _ = writeln!(
            std::io::stderr(),
            "warning: this process may have {files} open files, so {most} connections: raise the limit (ulimit -n)"
        );
    }
    ServerConfig { max_connections: most.min(config.max_connections), ..config }
}

/// Serves the version that was asked for, and nothing else; otherwise what the registry says from now on, and the latest version
/// until it says something.
async fn deploy(context: &Context, args: &ServeArgs, state: &AppState, host: Host) -> Result<()> {
    let (root, tenant, settings) = (&context.root, &context.config.tenant, &context.config.serve);
    let config = DeployConfig {
        gate: settings.gate.clone(),
        roll_back: settings.roll_back,
        index: settings.index.clone(),
        cache: cache(context),
        ..DeployConfig::default()
    };
    let deployer = Arc::new(Deployer::new(root, state.live(tenant), host, config)?);
    if let Some(version) = &args.model.model {
        return Ok(deployer.serve(version).await?);
    }
    match deployer.refresh().await {
        // A trial may be at fault: the follower tries it again, and says so.
        Err(error) if state.live(tenant).has_production() => {
            let _ = writeln!(
                std::io::stderr(),
                "warning: not everything that the registry names is served: {error}"
            );
        }
        done => drop(done?),
    }
    if !state.live(tenant).has_production() {
        deployer.serve(&ModelArtifact::latest_version(root).await?).await?;
    }
    state.manage(tenant, deployer.registry().clone());
    let counted = state.clone();
    let failed = move |_: &recs_serve::Error| counted.background_failed("deployment");
    tokio::spawn(deployer.follow(LOOK, failed));
    Ok(())
}

/// Keeps and counts what is served, takes events, and tells people.
fn watch(context: &Context, state: &AppState, host: Host) -> Result<Arc<Monitor>> {
    let (tenant, settings) = (&context.config.tenant, &context.config.serve);
    let spool = folder(context, settings.monitor.spool.as_ref(), "XDG_STATE_HOME", ".local/state");
    let config = MonitorConfig { spool, ..settings.monitor.clone() };
    let live = state.live(tenant);
    let monitor = Arc::new(Monitor::new(&context.root, live, host, config, notifiers(&settings.notify)?)?);
    state.monitor(tenant, Arc::clone(&monitor));
    let counted = state.clone();
    tokio::spawn(Arc::clone(&monitor).follow(move |_| counted.background_failed("monitoring")));
    Ok(monitor)
}

fn notifiers(settings: &NotifySettings) -> Result<Vec<Arc<dyn Notifier>>> {
    let secret = |name: &String| {
        let missing = |_| Error::config("serve.notify", format!("the environment has no variable {name}"));
        std::env::var(name).map_err(missing)
    };
    let mut all: Vec<Arc<dyn Notifier>> = Vec::new();
    for (name, form) in
        [(&settings.webhook_env, WebhookForm::Alert), (&settings.slack_env, WebhookForm::Text)]
    {
        if let Some(name) = name {
            all.push(Arc::new(Webhook::new(super::http_client()?, &secret(name)?, form)?));
        }
    }
    if let Some(mail) = &settings.mail {
        super::install_tls();
        let password = settings.mail_password_env.as_ref().map(secret).transpose()?;
        all.push(Arc::new(Mail::new(mail, settings.mail_user.clone().zip(password))?));
    }
    Ok(all)
}

/// Where versions are kept to be mapped.
fn cache(context: &Context) -> Option<PathBuf> {
    folder(context, context.config.serve.cache.as_ref(), "XDG_CACHE_HOME", ".cache")
}

/// As configured, relative to the configuration's file, or where this user's programs keep such things; an empty path is nowhere.
fn folder(
    context: &Context,
    configured: Option<&PathBuf>,
    variable: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let value = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match configured {
        Some(folder) if folder.as_os_str().is_empty() => None,
        Some(folder) => Some(context.config.path(folder)),
        None => value(variable)
            .or_else(|| Some(value("HOME")?.join(below_home)))
            .map(|folder| folder.join("recs")),
    }
}

/// Keys are asked for as soon as one was ever made, and always unless only this machine can connect.
async fn auth(context: &Context, state: &AppState, is_loopback: bool) -> Result<Auth> {
    let logs = [keys::of_tenant(context)?, keys::of_operator(&context.config.store()?)?];
    let without = if is_loopback { WithoutKeys::Open } else { WithoutKeys::Closed };
    let ring = Arc::new(KeyRing::load(logs, without).await?);
    if ring.is_shut() {
        return Err(Error::config("serve.listen", NO_KEYS));
    }
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
