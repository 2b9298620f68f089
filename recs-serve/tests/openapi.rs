//! `/openapi.json` describes the routes that there are. What it says about bodies and answers is tested by
//! `scripts/test openapi`, which asks a running server all that a generator can think of.

use crate::artifact::host;
use crate::deploy::{by, publish};
use crate::http_client::{get, send, state, tenant};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use recs_core::store::Store;
use recs_serve::http::{ApiKeys, AppState, Auth, KeyRecord, Role, ServerConfig, router, serve};
use recs_serve::monitor::{Monitor, MonitorConfig};
use recs_serve::registry::{Canary, Registry};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// As `state`, taking events of acme, whose store has versions: one in production, one on trial, one to change to.
async fn taking_all(folder: &Path) -> AppState {
    let (state, acme) = (state(), tenant("acme"));
    let root = Store::memory().tenant(&acme).unwrap();
    publish(&root, &["v1", "v2", "v3"]).await;
    let (registry, by) = (Registry::new(&root).unwrap(), by(""));
    for version in ["v1", "v2"] {
        registry.promote(version, &by).await.unwrap();
    }
    registry.canary(Some(Canary { version: "v3".into(), share: 0.5 }), &by).await.unwrap();
    state.manage(&acme, registry);
    let config = MonitorConfig { spool: Some(folder.to_owned()), ..MonitorConfig::default() };
    let monitor = Monitor::new(&root, state.live(&acme), host(), config, Vec::new()).unwrap();
    state.monitor(&acme, Arc::new(monitor));
    state
}

/// Everything that refers to something.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let folder = tempfile::tempdir().unwrap();
    let app = router(taking_all(folder.path()).await, Auth::Open);
    let (status, document) = get("/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (StatusCode::OK, &"3.1.0".into()));
    let paths = document["paths"].as_object().unwrap();
    // The routes as they stand in the code: a router cannot be asked for them.
    let code = include_str!("../src/http/router.rs");
    let routes: Vec<&str> =
        code.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(routes.len() > 10, "{routes:?}");
    // What a generator can ask for is described; the description, and the numbers for Prometheus, are neither.
    for route in routes.into_iter().filter(|route| !["/openapi.json", "/metrics"].contains(route)) {
        assert!(paths.contains_key(route), "{route} is not described");
    }
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let uri = path.replace("{tenant}", "acme");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&uri);
            let (response, answer) = send(app.clone(), request.body(Body::empty()).unwrap()).await;
            assert!(response.status() != StatusCode::NOT_FOUND, "{method} {path}: {answer}");
            let described = operation["responses"].as_object().unwrap();
            assert!(
                described.contains_key(response.status().as_str()),
                "{method} {path}: {}",
                response.status()
            );
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} is nowhere");
    }
}

#[tokio::test]
async fn keys_are_described_where_they_are_asked_for() {
    assert!(get("/openapi.json").await.1["components"]["securitySchemes"].is_null());
    let (record, _) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict], "").unwrap();
    let app = router(state(), Auth::Gate(Arc::new(ApiKeys::new(&[record]).unwrap())));
    let (response, document) = send(app, Request::get("/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "the description itself needs no key");
    assert_eq!(document["components"]["securitySchemes"]["header"]["name"], "X-API-Key");
    assert!(document["paths"]["/recommend"]["post"]["security"].is_array());
    assert!(document["paths"]["/livez"]["get"]["security"].is_null());
    assert!(document["paths"]["/v1/tenants/{tenant}/livez"]["get"]["security"].is_array());
}

/// Everything that a generator finds in the description is asked of a real server: with keys, and without.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs schemathesis: scripts/test openapi"]
async fn schemathesis_finds_nothing() {
    let program = std::env::var("RECS_TEST_SCHEMATHESIS").expect("RECS_TEST_SCHEMATHESIS is the program");
    let examples = std::env::var("RECS_TEST_EXAMPLES").unwrap_or_else(|_| "50".into());
    let (record, key) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict, Role::Manage], "").unwrap();
    let gate = Auth::Gate(Arc::new(ApiKeys::new(&[record]).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("schemathesis.toml");
    // 413 is a refusal as well: what is too long for a rule may be too long for the server.
    let refusals = "[400, 401, 403, 404, 405, 406, 408, 413, 415, 422, 429]";
    let text = format!(
        "[parameters]\ntenant = \"acme\"\n[checks]\nnegative_data_rejection.expected-statuses = {refusals}\n"
    );
    std::fs::write(&settings, text).unwrap();
    for (auth, header) in [(gate, Some(format!("X-API-Key: {}", key.reveal()))), (Auth::Open, None)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/openapi.json", listener.local_addr().unwrap());
        let app = router(taking_all(&folder.path().join("spool")).await, auth);
        let server = tokio::spawn(async move {
            serve(listener, app, &ServerConfig::default(), std::future::pending()).await
        });
        let mut command = std::process::Command::new(&program);
        command.arg("--config-file").arg(&settings).args([
            "run",
            &url,
            "--checks",
            "all",
            "--max-examples",
            &examples,
        ]);
        command.args(["--no-color", "--output-sanitize", "true"]).current_dir(folder.path());
        if let Some(header) = &header {
            command.args(["-H", header]);
        }
        let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let shown: String =
            String::from_utf8_lossy(&done.stdout).lines().map(|line| format!("{:.300}\n", line)).collect();
        assert!(
            done.status.success(),
            "with {header:?}:\n{shown}\n{}",
            String::from_utf8_lossy(&done.stderr)
        );
        server.abort();
    }
}
