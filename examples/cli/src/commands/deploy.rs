//! `recs deploy`: which versions serve.

use super::Context;
use crate::args::DeployCommand;
use crate::error::Result;
use crate::output::Report;
use recs_core::artifact::ModelArtifact;
use recs_serve::registry::{By, Canary, Change, Deployment, Registry};
use serde_json::json;

pub(super) async fn run(context: &Context, command: &DeployCommand) -> Result<Report> {
    let registry = Registry::new(&context.root)?;
    let deployment = match command {
        DeployCommand::Status => registry.current().await?.1,
        DeployCommand::History { most } => return history(&registry, *most).await,
        DeployCommand::Promote { version, why } => {
            let version = match version {
                Some(version) => version.clone(),
                None => ModelArtifact::latest_version(&context.root).await?,
            };
            registry.promote(&version, &by(why)).await?
        }
        DeployCommand::Rollback { why } => registry.rollback(None, &by(why)).await?,
        DeployCommand::Canary { version: Some(version), share, why } => {
            let canary = Canary { version: version.clone(), share: *share };
            registry.canary(Some(canary), &by(why)).await?
        }
        DeployCommand::Canary { version: None, why, .. } => registry.canary(None, &by(why)).await?,
        DeployCommand::Shadow { version, why } => registry.shadow(version.as_deref(), &by(why)).await?,
    };
    Ok(report(&deployment))
}

fn by(why: &str) -> By {
    let who = std::env::var("USER").unwrap_or_else(|_| "command line".into());
    By { at: jiff::Timestamp::now().to_string(), who, why: why.into() }
}

fn report(deployment: &Deployment) -> Report {
    let mut report = Report::default();
    let named = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".into());
    report.line(format!("production  {}", named(&deployment.production)));
    if let Some(Canary { version, share }) = &deployment.canary {
        report.line(format!("canary      {version} for {:.1} % of the customers", share * 100.0));
    }
    if let Some(version) = &deployment.shadow {
        report.line(format!("shadow      {version}"));
    }
    report.line(format!("before      {}", deployment.previous.join(", ")));
    report.set("deployment", json!(deployment));
    report
}

async fn history(registry: &Registry, most: usize) -> Result<Report> {
    let mut report = Report::default();
    let changes = registry.history(most).await?;
    for Change { by, action, deployment } in &changes {
        let production = deployment.production.as_deref().unwrap_or("none");
        report.line(format!("{}  {:<12} {action:?} -> {production}  {}", by.at, by.who, by.why));
    }
    let shown = |change: &Change| {
        let By { at, who, why } = &change.by;
        json!({"at": at, "who": who, "why": why, "change": change.action, "deployment": change.deployment})
    };
    report.set("history", json!(changes.iter().map(shown).collect::<Vec<_>>()));
    Ok(report)
}
