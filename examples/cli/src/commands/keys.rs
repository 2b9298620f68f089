//! `recs keys`: who may ask the server.

use super::Context;
use crate::args::{KeyRole, KeysCommand};
use crate::error::Result;
use crate::output::Report;
use recs_core::store::Store;
use recs_serve::http::{KeyLog, KeyRecord, Role};
use serde_json::json;

pub(super) async fn run(context: &Context, command: &KeysCommand) -> Result<Report> {
    match command {
        KeysCommand::Add { role, note } => add(context, role, note).await,
        KeysCommand::List => list(context).await,
        KeysCommand::Revoke { id } => revoke(context, id).await,
    }
}

/// The log of the tenant's keys.
fn of_tenant(context: &Context) -> Result<KeyLog> {
    Ok(KeyLog::of_tenant(&context.root)?)
}

/// The log of the keys that open what concerns all tenants.
pub(super) fn of_operator(store: &Store) -> Result<KeyLog> {
    Ok(KeyLog::of_operator(store)?)
}

async fn add(context: &Context, roles: &[KeyRole], note: &str) -> Result<Report> {
    let is_operators = roles.contains(&KeyRole::Operate);
    let tenant = (!is_operators).then(|| context.config.tenant.clone());
    let (record, key) = KeyRecord::generate(tenant, roles.iter().map(|&role| Role::from(role)), note)?;
    let log = if is_operators { of_operator(&context.config.store()?)? } else { of_tenant(context)? };
    log.add(&record).await?;
    let mut report = Report::default();
    report.line(key.reveal());
    report.line("Keep it now: only its hash is stored, nobody can show it again.");
    report.set("id", json!(record.id));
    report.set("key", json!(key.reveal()));
    Ok(report)
}

async fn list(context: &Context) -> Result<Report> {
    let mut keys = of_tenant(context)?.load().await?;
    keys.extend(of_operator(&context.config.store()?)?.load().await?);
    let mut report = Report::default();
    let roles =
        |key: &KeyRecord| key.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect::<Vec<_>>();
    for key in &keys {
        report.line(format!("{}  {:<16} {}", key.id, roles(key).join(", "), key.note));
    }
    let shown = |key: &KeyRecord| json!({"id": key.id, "roles": roles(key), "note": key.note});
    report.set("keys", json!(keys.iter().map(shown).collect::<Vec<_>>()));
    Ok(report)
}

async fn revoke(context: &Context, id: &str) -> Result<Report> {
    let operators = of_operator(&context.config.store()?)?;
    let is_operators = operators.load().await?.iter().any(|key| key.id == id);
    if is_operators {
        operators.revoke(id).await?
    } else {
        of_tenant(context)?.revoke(id).await?
    }
    let mut report = Report::default();
    report.line(format!("{id} opens nothing any more. Running servers look every 5 seconds; one whose store does not answer goes on with the keys it knew"));
    report.set("revoked", json!(id));
    Ok(report)
}
