//! `/deployment`, trials over HTTP.

use crate::artifact::{artifact, host};
use crate::http_client::{assert_problem, post_request, send, tenant};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use recs_core::store::{Store, TenantRoot};
use recs_serve::deploy::{DeployConfig, Deployer, Serving, Split, Trial, Version};
use recs_serve::http::{ApiKeys, AppState, Auth, KeyRecord, Role, ServeConfig, router};
use recs_serve::registry::Registry;
use recs_serve::retriever::Retriever;
use serde_json::{Value, json};
use std::sync::Arc;

struct Acme {
    root: TenantRoot,
    state: AppState,
    app: Router,
}

async fn acme() -> Acme {
    let root = Store::memory().tenant(&tenant("acme")).unwrap();
    for version in ["v1", "v2", "v3"] {
        artifact(version).publish(&root, "2026-01-01T00:00:00Z").await.unwrap();
    }
    let config = ServeConfig { default_tenant: Some(tenant("acme")), ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    state.manage(&tenant("acme"), Registry::new(&root).unwrap());
    Acme { root, app: router(state.clone(), Auth::Open), state }
}

impl Acme {
    async fn change(&self, body: Value) -> (u16, Value) {
        let (response, json) = send(self.app.clone(), post_request("/deployment", body.to_string())).await;
        (response.status().as_u16(), json)
    }

    async fn get(&self, path: &str) -> Value {
        let (response, json) = send(self.app.clone(), Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{json}");
        json
    }
}

#[tokio::test]
async fn one_call_deploys_and_one_call_rolls_back() {
    let acme = acme().await;
    let live = acme.state.live(&tenant("acme"));
    let deployer = Deployer::new(&acme.root, live, host(), DeployConfig::default()).unwrap();
    assert_eq!(
        acme.get("/deployment").await,
        json!({"production": null, "canary": null, "shadow": null, "previous": [], "loaded": []})
    );
    assert_eq!(acme.change(json!({"action": "promote", "version": "v1", "why": "first"})).await.0, 200);
    let (status, after) = acme.change(json!({"action": "promote", "version": "v2"})).await;
    assert_eq!((status, &after["production"], &after["previous"]), (200, &json!("v2"), &json!(["v1"])));
    deployer.refresh().await.unwrap();
    assert_eq!(acme.get("/deployment").await["loaded"], json!(["v2"]));
    assert_eq!(acme.get("/health").await["model_version"], "v2");
    let (status, after) = acme.change(json!({"action": "rollback", "from": "v2", "why": "worse"})).await;
    assert_eq!((status, &after["production"]), (200, &json!("v1")));
    deployer.refresh().await.unwrap();
    assert_eq!(acme.get("/health").await["model_version"], "v1");
    let trial = json!({"action": "canary", "version": "v3", "share": 0.25});
    assert_eq!(acme.change(trial).await.1["canary"], json!({"version": "v3", "share": 0.25}));
    assert_eq!(acme.change(json!({"action": "shadow", "version": "v2"})).await.1["shadow"], "v2");
    assert_eq!(acme.change(json!({"action": "end_canary"})).await.1["canary"], Value::Null);
    assert_eq!(acme.change(json!({"action": "end_shadow"})).await.1["shadow"], Value::Null);
    let history = acme.get("/deployment/history").await;
    let lines = history["changes"].as_array().unwrap();
    assert_eq!(
        (lines.len(), &lines[6]["why"], &lines[4]["change"]["action"]),
        (7, &json!("first"), &json!("rollback"))
    );
    assert_eq!(lines[4]["who"], "somebody without a key");
}

#[tokio::test]
async fn what_cannot_be_changed_is_told_and_left() {
    let acme = acme().await;
    acme.change(json!({"action": "promote", "version": "v1"})).await;
    for (body, status, kind) in [
        (json!({"action": "promote", "version": "v1"}), 409, "conflict"),
        (json!({"action": "promote", "version": "v9"}), 409, "conflict"),
        (json!({"action": "rollback"}), 409, "conflict"),
        (json!({"action": "end_canary"}), 409, "conflict"),
        (json!({"action": "end_shadow"}), 409, "conflict"),
        (json!({"action": "rollback", "from": "v3"}), 409, "conflict"),
        (json!({"action": "canary", "version": "v1", "share": 0.5}), 409, "conflict"),
        (json!({"action": "canary", "version": "v2", "share": 0}), 422, "invalid-request"),
        (json!({"action": "canary", "version": "v2", "share": 1.5}), 422, "invalid-request"),
        (json!({"action": "canary", "version": "v2"}), 422, "invalid-request"),
        (json!({"action": "promote", "version": "../../beta/models/v1"}), 422, "invalid-request"),
        (json!({"action": "rollback", "from": ""}), 422, "invalid-request"),
        (json!({"action": "explode"}), 422, "invalid-request"),
        (json!({"version": "v2"}), 422, "invalid-request"),
        (json!({"action": "end_shadow", "version": "v2"}), 422, "invalid-request"),
    ] {
        let request = post_request("/deployment", body.to_string());
        let (response, problem) = send(acme.app.clone(), request).await;
        assert_problem(&response, &problem, status, kind);
    }
    assert_eq!(acme.get("/deployment/history").await["changes"].as_array().unwrap().len(), 1);
    // A host that serves what it was built with.
    let fixed = AppState::new(host(), ServeConfig::default()).unwrap();
    fixed.add(&tenant("acme"));
    let request = Request::get("/v1/tenants/acme/deployment").body(Body::empty()).unwrap();
    let (response, problem) = send(router(fixed, Auth::Open), request).await;
    assert_problem(&response, &problem, 404, "not-found");
}

#[tokio::test]
async fn changing_needs_a_role_and_the_key_is_on_record() {
    let acme = acme().await;
    let key = |roles: &[Role]| KeyRecord::generate(Some(tenant("acme")), roles.iter().copied(), "").unwrap();
    let ((asks, asking), (manages, managing)) = (key(&[Role::Predict]), key(&[Role::Manage]));
    let gate = ApiKeys::new(&[asks, manages.clone()]).unwrap();
    let app = router(acme.state.clone(), Auth::Gate(Arc::new(gate)));
    for (key, status) in [(Some(&asking), 403), (None, 401), (Some(&managing), 200)] {
        let mut request =
            post_request("/deployment", json!({"action": "promote", "version": "v1"}).to_string());
        if let Some(key) = key {
            request.headers_mut().insert("x-api-key", key.reveal().parse().unwrap());
        }
        assert_eq!(send(app.clone(), request).await.0.status(), status);
    }
    let history = acme.get("/deployment/history").await;
    assert_eq!(history["changes"][0]["who"], format!("key {}", manages.id));
}

#[tokio::test]
async fn a_trial_answers_its_customers_alone_and_in_batches() {
    let acme = acme().await;
    let version = |name: &str| {
        Arc::new(Version::new(Arc::new(Retriever::new(Arc::new(artifact(name)), host()).unwrap())))
    };
    let split = Split::new(0.5, "v2");
    let canary = Some(Trial { version: version("v2"), split: split.clone() });
    acme.state.live(&tenant("acme")).swap(Serving { production: Some(version("v1")), canary, shadow: None });
    let ask = |i: usize| json!({"customer_id": format!("c{i}"), "city": "alpha", "revenue": 49.5});
    let (mut on_trial, mut lists) = (0, Vec::new());
    for i in 0..20 {
        let request = post_request("/recommend", ask(i).to_string());
        let (_, mut answer) = send(acme.app.clone(), request).await;
        let is_tried = split.has(&format!("c{i}"));
        assert_eq!(answer["model_version"], if is_tried { "v2" } else { "v1" });
        on_trial += usize::from(is_tried);
        lists.push(answer["recommendations"].take());
    }
    assert!((1..20).contains(&on_trial));
    let batch = json!({"requests": (0..20).map(ask).collect::<Vec<_>>()}).to_string();
    let (_, answer) = send(acme.app.clone(), post_request("/recommend-batch", batch)).await;
    assert_eq!(answer["model_version"], "v1");
    for (i, result) in answer["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(result["customer_id"], format!("c{i}"));
        let ids = |list: &Value| {
            list.as_array().unwrap().iter().map(|item| item["product_id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&result["recommendations"]), ids(&lists[i]));
        let other = split.has(&format!("c{i}")).then(|| json!("v2"));
        assert_eq!(result.get("model_version"), other.as_ref());
    }
    let metrics = acme.app.clone();
    let response =
        tower::ServiceExt::oneshot(metrics, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    let body = http_body_util::BodyExt::collect(response.unwrap().into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let line =
        format!("recs_lists_total{{tenant=\"acme\",side=\"canary\",source=\"model\"}} {}", 2 * on_trial);
    assert!(text.contains(&line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn a_shadow_is_asked_and_compared_and_nobody_is_told() {
    let acme = acme().await;
    let version = |name: &str| {
        let retriever = Retriever::new(Arc::new(artifact(name)), host()).unwrap();
        Arc::new(Version::new(Arc::new(retriever)))
    };
    let (production, shadow) = (version("v1"), version("v3"));
    let serving = Serving { production: Some(production), canary: None, shadow: Some(Arc::clone(&shadow)) };
    acme.state.live(&tenant("acme")).swap(serving);
    let ask = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5, "num_recommendations": 20});
    for _ in 0..5 {
        let (_, answer) = send(acme.app.clone(), post_request("/recommend", ask.to_string())).await;
        assert_eq!(answer["model_version"], "v1");
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let batch = json!({"requests": [ask]}).to_string();
    assert_eq!(send(acme.app.clone(), post_request("/recommend-batch", batch)).await.0.status(), 200);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(acme.app.clone(), request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let (answered, failed) = shadow.counts();
    assert!((4..=6).contains(&answered) && failed == 0, "{answered} answered");
    // The same model: all products are in both lists.
    for line in [
        format!("recs_shadow_lists_total{{tenant=\"acme\",outcome=\"compared\"}} {answered}"),
        format!("recs_shadow_overlap_sum{{tenant=\"acme\"}} {answered}"),
        "recs_lists_total{tenant=\"acme\",side=\"production\",source=\"model\"} 6".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}
