//! `/deployment`: what serves, who changed it, and changing it.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::change::{Asked, parse_change};
use super::super::router::Served;
use super::super::tenant::Managed;
use super::{json_response, to_json};
use crate::registry::{Action, By, Change, Deployment};
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

/// Lines of the audit in one answer.
const HISTORY: usize = 100;

#[derive(Serialize)]
struct Current<'a> {
    #[serde(flatten)]
    deployment: &'a Deployment,
    /// The versions that this server has loaded; behind the registry for some seconds after a change.
    loaded: Vec<&'a str>,
}

#[derive(Serialize)]
struct History<'a> {
    changes: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    at: &'a str,
    who: &'a str,
    why: &'a str,
    change: &'a Action,
    deployment: &'a Deployment,
}

/// What the registry says, and what this server has loaded.
pub(in super::super) async fn current(managed: Managed) -> Result<Response, Problem> {
    let (_, deployment) = managed.registry.current().await?;
    answer(&managed, &deployment)
}

/// The latest changes, the newest first.
pub(in super::super) async fn history(managed: Managed) -> Result<Response, Problem> {
    let changes = managed.registry.history(HISTORY).await?;
    to_json(&History { changes: changes.iter().map(line_of).collect() }).map(json_response)
}

fn line_of(change: &Change) -> Line<'_> {
    let Change { by, action, deployment } = change;
    Line { at: &by.at, who: &by.who, why: &by.why, change: action, deployment }
}

/// Changes the registry. This server follows at once, others within seconds.
pub(in super::super) async fn change(
    State(served): State<Served>,
    managed: Managed,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let (asked, why) = parse_change(&body)?;
    let (registry, by) = (&managed.registry, By { at: served.state.now(), who: managed.who.clone(), why });
    let deployment = match asked {
        Asked::Promote(version) => registry.promote(&version, &by).await,
        Asked::Rollback(from) => registry.rollback(from.as_deref(), &by).await,
        Asked::Canary(canary) => registry.canary(canary, &by).await,
        Asked::Shadow(version) => registry.shadow(version.as_deref(), &by).await,
    };
    let deployment = deployment?;
    managed.slot.live.nudge();
    answer(&managed, &deployment)
}

fn answer(managed: &Managed, deployment: &Deployment) -> Result<Response, Problem> {
    let serving = managed.slot.live.serving();
    let loaded = serving.versions().map(|version| version.name()).collect();
    to_json(&Current { deployment, loaded }).map(json_response)
}
