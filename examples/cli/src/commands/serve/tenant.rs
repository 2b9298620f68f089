//! One tenant of a server.

use super::{Context, LOOK, say};
use crate::args::ServeArgs;
use crate::config::NotifySettings;
use crate::error::{Error, Result};
use recs_core::artifact::ModelArtifact;
use recs_core::notify::{Mail, Notifier, Webhook, WebhookForm};
use recs_core::store::TenantRoot;
use recs_serve::deploy::{DeployConfig, Deployer, ModelMemory};
use recs_serve::http::AppState;
use recs_serve::monitor::{Monitor, MonitorConfig};
use recs_serve::retriever::Host;
use std::path::PathBuf;
use std::sync::Arc;

/// What it takes to serve a tenant.
pub(super) struct Serving<'a> {
    pub(super) context: &'a Context,
    pub(super) state: &'a AppState,
    pub(super) host: &'a Host,
    pub(super) memory: &'a ModelMemory,
    pub(super) root: &'a TenantRoot,
}

impl Serving<'_> {
    /// Serves the version that was asked for, and nothing else; otherwise what the registry says from now on, and the latest version
    /// until it says something: its name. Only the configuration's own tenant has to have one.
    pub(super) async fn deploy(&self, args: &ServeArgs) -> Result<String> {
        let (state, settings, tenant) = (self.state, &self.context.config.serve, self.root.tenant());
        state.limit(tenant, settings.limits.tenant())?;
        let config = deploy_config(self.context);
        let deployer = Deployer::new(self.root, state.live(tenant), self.host.clone(), config)?;
        let deployer = Arc::new(deployer.with_memory(self.memory.clone()));
        if let Some(version) = &args.model.model {
            deployer.serve(version).await?;
            return Ok(version.clone());
        }
        if let Err(error) = self.start(&deployer).await {
            if *tenant == self.context.config.tenant {
                return Err(error);
            }
            say(&format!("warning: no model of {tenant} is served yet: {error}"));
        }
        let serves = state.model(tenant).flatten().map(|model| model.metadata().model_version.clone());
        state.manage(tenant, deployer.registry().clone());
        let counted = state.clone();
        let failed = move |_: &recs_serve::Error| counted.background_failed("deployment");
        tokio::spawn(deployer.follow(LOOK, failed));
        Ok(serves.unwrap_or_default())
    }

    async fn start(&self, deployer: &Deployer) -> Result<()> {
        let live = self.state.live(self.root.tenant());
        match deployer.refresh().await {
            // A trial may be at fault: the follower tries it again, and says so.
            Err(error) if live.has_production() => {
                say(&format!("warning: not everything that the registry names is served: {error}"));
            }
            done => drop(done?),
        }
        if !live.has_production() {
            deployer.serve(&ModelArtifact::latest_version(self.root).await?).await?;
        }
        Ok(())
    }

    /// Keeps and counts what is served, takes events, and tells people.
    pub(super) fn watch(&self) -> Result<Arc<Monitor>> {
        let (tenant, settings) = (self.root.tenant(), &self.context.config.serve);
        let spool = folder(self.context, settings.monitor.spool.as_ref(), "XDG_STATE_HOME", ".local/state");
        let config = MonitorConfig { spool, ..settings.monitor.clone() };
        let (live, people) = (self.state.live(tenant), notifiers(&settings.notify)?);
        let monitor = Arc::new(Monitor::new(self.root, live, self.host.clone(), config, people)?);
        self.state.monitor(tenant, Arc::clone(&monitor));
        let counted = self.state.clone();
        tokio::spawn(Arc::clone(&monitor).follow(move |_| counted.background_failed("monitoring")));
        Ok(monitor)
    }
}

/// How versions are loaded.
pub(crate) fn deploy_config(context: &Context) -> DeployConfig {
    let settings = &context.config.serve;
    DeployConfig {
        gate: settings.gate.clone(),
        roll_back: settings.roll_back,
        watch_seconds: settings.watch_seconds,
        max_failures: settings.max_failures,
        index: settings.index.clone(),
        cache: cache(context),
        ..DeployConfig::default()
    }
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
            all.push(Arc::new(Webhook::new(super::super::http_client()?, &secret(name)?, form)?));
        }
    }
    if settings.mail_user.is_some() != settings.mail_password_env.is_some() {
        let reason = "mail_user and mail_password_env belong together: give both, or none where the server asks for none";
        return Err(Error::config("serve.notify", reason));
    }
    if let Some(mail) = &settings.mail {
        super::super::install_tls();
        let password = settings.mail_password_env.as_ref().map(secret).transpose()?;
        all.push(Arc::new(Mail::new(mail, settings.mail_user.clone().zip(password))?));
    }
    Ok(all)
}

/// Where versions are kept to be mapped.
pub(super) fn cache(context: &Context) -> Option<PathBuf> {
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
