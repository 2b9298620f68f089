//! `/health`, `/livez`, `/readyz`.

use super::super::Problem;
use super::super::router::Served;
use super::super::tenant::Admitted;
use super::{json_response, to_json};
use crate::retriever::MAX_BATCH;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Health<'a> {
    /// `healthy` with a model, `no_model` without; `asleep` while the model makes room for others and comes back when it is asked.
    status: &'static str,
    model_loaded: bool,
    model_version: Option<&'a str>,
    timestamp: String,
    max_batch_size: usize,
}

/// Always 200 for a tenant that exists: it tells, `/readyz` decides.
pub(in super::super) async fn health(served: State<Served>, tenant: Admitted) -> Result<Response, Problem> {
    let model = tenant.model();
    let version = model.as_ref().map(|version| version.name());
    let answer = Health {
        status: match version {
            Some(_) => "healthy",
            None if tenant.slot.live.has_production() => "asleep",
            None => "no_model",
        },
        model_loaded: version.is_some(),
        model_version: version,
        timestamp: served.state.now(),
        max_batch_size: MAX_BATCH,
    };
    to_json(&answer).map(json_response)
}

/// The process answers.
pub(in super::super) async fn livez() -> Result<Response, Problem> {
    to_json(&json!({"status": "alive"})).map(json_response)
}

/// There is a model to answer with.
pub(in super::super) async fn readyz(served: State<Served>) -> Result<Response, Problem> {
    match served.state.is_ready() {
        true => ready(),
        false if served.state.is_retired() => Err(Problem::ending()),
        false => Err(Problem::no_model()),
    }
}

/// The process answers, and the tenant exists.
pub(in super::super) async fn tenant_livez(_tenant: Admitted) -> Result<Response, Problem> {
    livez().await
}

/// The tenant has a model, or gets it back when it is asked: a balancer that sent nobody would have it sleep for ever.
pub(in super::super) async fn tenant_readyz(tenant: Admitted) -> Result<Response, Problem> {
    match tenant.slot.live.has_production() {
        true => ready(),
        false => Err(Problem::no_model()),
    }
}

fn ready() -> Result<Response, Problem> {
    to_json(&json!({"status": "ready"})).map(json_response)
}
