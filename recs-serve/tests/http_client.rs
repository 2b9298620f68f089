//! Asks a router without a network.

use crate::artifact::{artifact, host};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use recs_core::store::Store;
use recs_core::tenant::TenantId;
use recs_serve::http::{AppState, Auth, ServeConfig, router};
use recs_serve::monitor::{Monitor, MonitorConfig};
use recs_serve::registry::Registry;
use recs_serve::retriever::Retriever;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// `acme` (the default) and `beta` have models v1 and v2, `new` has none.
pub(crate) fn state() -> AppState {
    let config = ServeConfig { default_tenant: Some(tenant("acme")), ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    for (name, version) in [("acme", "v1"), ("beta", "v2")] {
        let retriever = Retriever::new(Arc::new(artifact(version)), host()).unwrap();
        assert!(state.swap(&tenant(name), Arc::new(retriever)).is_none());
    }
    state.add(&tenant("new"));
    let root = Store::memory().tenant(&tenant("acme")).unwrap();
    state.manage(&tenant("acme"), Registry::new(&root).unwrap());
    for name in ["acme", "beta"] {
        let root = Store::memory().tenant(&tenant(name)).unwrap();
        let (live, config) = (state.live(&tenant(name)), MonitorConfig::default());
        let monitor = Monitor::new(&root, live, host(), config, Vec::new()).unwrap();
        state.monitor(&tenant(name), Arc::new(monitor));
    }
    state
}

pub(crate) fn app() -> Router {
    static APP: std::sync::OnceLock<AppState> = std::sync::OnceLock::new();
    router(APP.get_or_init(state).clone(), Auth::Open)
}

pub(crate) async fn send(app: Router, request: Request<Body>) -> (Response<()>, Value) {
    let response = app.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = || String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", text()));
    (Response::from_parts(parts, ()), json)
}

pub(crate) async fn get(path: &str) -> (StatusCode, Value) {
    let (response, json) = send(app(), Request::get(path).body(Body::empty()).unwrap()).await;
    (response.status(), json)
}

pub(crate) fn post_request(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request =
        Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, "application/json");
    request.body(body.into()).unwrap()
}

pub(crate) async fn post(path: &str, body: &Value) -> (StatusCode, Value) {
    post_text(path, body.to_string()).await
}

pub(crate) async fn post_text(path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let (response, json) = send(app(), post_request(path, body)).await;
    (response.status(), json)
}

/// Checks the members that every problem has, and its content type.
pub(crate) fn assert_problem(response: &Response<()>, json: &Value, status: u16, kind: &str) {
    assert_eq!(response.status().as_u16(), status, "{json}");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(json["type"], format!("urn:recs:problem:{kind}"));
    assert_eq!(json["status"], status);
    assert!(json["title"].is_string() && json["detail"].is_string(), "{json}");
}
