//! Routes, limits, and catching panics.

use super::handlers::{
    deployment, events, health, json_response, metrics, model_info, monitoring, recommend, similar,
};
use super::{AppState, Auth, Problem};
use super::{observe, openapi};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use std::any::Any;
use tower_http::catch_panic::CatchPanicLayer;

/// What handlers see.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) state: AppState,
    pub(super) auth: Auth,
}

/// The routes of [`http`](super), to be served alone or merged into a host's own router.
///
/// Bodies, requests under way and the time of each are bounded by [`ServeConfig`](super::ServeConfig), a panic becomes a 500,
/// and every failure is a problem document, unknown routes and methods too. Every answer has an `X-Request-Id`, the client's or
/// a new one, which the span `request` has as well; `/metrics` counts. The runtime that serves it needs tokio's timer
/// (`enable_time`).
pub fn router(state: AppState, auth: Auth) -> Router {
    let descriptions = [false, true].map(|keys| Bytes::from(openapi::document(keys).to_string()));
    let describe = async move |State(served): State<Served>| {
        json_response(descriptions[usize::from(served.auth.asks_for_keys())].clone())
    };
    let served = Served { state, auth };
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(describe))
        .merge(tenant_routes())
        .nest("/v1/tenants/{tenant}", tenant_routes().merge(tenant_probes()))
        .fallback(async || Problem::not_found("there is no such route"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(served.clone(), observe::observe))
        .with_state(served)
}

fn tenant_routes() -> Router<Served> {
    Router::new()
        .route("/health", get(health::health))
        .route("/model-info", get(model_info::model_info))
        .route("/recommend", post(recommend::recommend))
        .route("/recommend-batch", post(recommend::recommend_batch))
        .route("/similar", post(similar::similar))
        .route("/events", post(events::events))
        .route("/monitoring", get(monitoring::monitoring))
        .route("/deployment", get(deployment::current).post(deployment::change))
        .route("/deployment/history", get(deployment::history))
}

fn tenant_probes() -> Router<Served> {
    Router::new().route("/livez", get(health::tenant_livez)).route("/readyz", get(health::tenant_readyz))
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over by value")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
    tracing::error!(panic = text, "a handler panicked");
    Problem::internal().into_response()
}
