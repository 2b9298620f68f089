//! `recs deploy`: which versions serve.

use super::Context;
use crate::args::DeployCommand;
use crate::error::Result;
use crate::output::Report;
use recs_core::artifact::ModelArtifact;
use recs_serve::monitor::{Outcomes, Rate};
use recs_serve::registry::{By, Canary, Change, Deployment, Registry};
use serde_json::json;

pub(super) async fn run(context: &Context, command: &DeployCommand) -> Result<Report> {
    let registry = Registry::new(&context.root)?;
    let deployment = match command {
        DeployCommand::Status => registry.current().await?.1,
        DeployCommand::History { most } => return history(&registry, *most).await,
        DeployCommand::Outcomes { days } => return outcomes(context, *days).await,
        DeployCommand::Promote { version, why } => {
            let version = match version {
                Some(version) => version.clone(),
                None => ModelArtifact::latest_version(&context.root).await?,
            };
            registry.promote(&version, &by(why)).await?
        }
        DeployCommand::Rollback { from, why } => registry.rollback(from.as_deref(), &by(why)).await?,
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

async fn outcomes(context: &Context, days: u16) -> Result<Report> {
    let day = jiff::SignedDuration::from_hours(24);
    let today = jiff::Timestamp::now();
    let day = |ago: u16| (today - day * i32::from(ago)).to_string().chars().take(10).collect();
    let days: Vec<String> = (0..days).rev().map(day).collect();
    let versions = Outcomes::load(&context.root, &days).await?.report();
    let mut report = Report::default();
    let share = |rate: &Option<Rate>| match rate {
        Some(Rate { rate, low, high }) => {
            format!("{:.2} % ({:.2} to {:.2})", rate * 100.0, low * 100.0, high * 100.0)
        }
        None => "-".into(),
    };
    report.line(format!(
        "{:<24} {:>9} {:>9} {:>9}  {:<26} {:<26} {:<26}",
        "version",
        "shown",
        "clicked",
        "bought",
        "bought of shown",
        "clicked of shown",
        "Recall@10 of purchases"
    ));
    for (version, found) in &versions {
        let (bought, clicked) = (share(&found.purchase_rate), share(&found.click_rate));
        report.line(format!(
            "{version:<24} {:>9} {:>9} {:>9}  {bought:<26} {clicked:<26} {:<26}",
            found.shown,
            found.clicked,
            found.bought,
            share(&found.recall_at_10)
        ));
    }
    if versions.is_empty() {
        report.line("no events: servers take them by POST /events and bring them to the store every minute");
    }
    report.set("days", json!(days));
    report.set("versions", json!(versions));
    Ok(report)
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
