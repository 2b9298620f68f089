//! Keys, roles, limits, request ids and counters.

use crate::artifact::{NOW, artifact, host, product_id};
use crate::http_client::{assert_problem, post_request, send, state, tenant};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures::StreamExt;
use http_body_util::BodyExt;
use proptest::prelude::*;
use recs_serve::http::{ApiKeys, AppState, Auth, KeyRecord, Role, ServeConfig, TenantLimits, router};
use recs_serve::retriever::{Host, Retriever};
use recs_serve::workers::Workers;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::sync::Arc;
use tower::ServiceExt;

/// Keys of acme, of beta, of a tenant without a model, of one that is not served, and the operator's.
struct Keys {
    app: Router,
    keys: Vec<(&'static str, String)>,
}

fn keys() -> Keys {
    let (mut records, mut keys) = (Vec::new(), Vec::new());
    for name in ["acme", "beta", "new", "elsewhere"] {
        let (record, key) =
            KeyRecord::generate(Some(tenant(name)), [Role::Predict, Role::Manage], name).unwrap();
        records.push(record);
        keys.push((name, key.reveal().to_owned()));
    }
    let (record, key) = KeyRecord::generate(None, [Role::Operate], "operator").unwrap();
    records.push(record);
    keys.push(("operator", key.reveal().to_owned()));
    let gate = ApiKeys::new(&records).unwrap();
    Keys { app: router(state(), Auth::Gate(Arc::new(gate))), keys }
}

/// Every route: method, path behind the tenant's prefix, body.
fn routes() -> Vec<(Method, &'static str, String)> {
    let ask = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5, "timestamp": NOW});
    vec![
        (Method::GET, "/health", String::new()),
        (Method::GET, "/livez", String::new()),
        (Method::GET, "/readyz", String::new()),
        (Method::GET, "/model-info", String::new()),
        (Method::POST, "/recommend", ask.to_string()),
        (Method::POST, "/recommend-batch", json!({"requests": [ask]}).to_string()),
        (Method::POST, "/similar", json!({"product_id": product_id(3)}).to_string()),
        (Method::GET, "/deployment", String::new()),
        (Method::GET, "/deployment/history", String::new()),
        (Method::GET, "/monitoring", String::new()),
        (Method::POST, "/events", json!({"events": []}).to_string()),
        (Method::POST, "/deployment", json!({"action": "end_canary"}).to_string()),
    ]
}

async fn call(
    app: &Router,
    method: &Method,
    path: &str,
    key: Option<&str>,
    body: &str,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let response = app.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whoever has a key of one tenant is told the same about every other: of one that is served, of one that is not, and of
    /// one that nobody ever heard of.
    #[test]
    fn a_key_tells_nothing_of_other_tenants(
        key in 0usize..5,
        route in 0usize..12,
        other in prop_oneof![Just("acme".to_owned()), Just("beta".to_owned()), Just("new".to_owned()), "[a-z0-9]{1,8}", "\\PC{1,6}"],
    ) {
        thread_local!(static KEYS: (Keys, tokio::runtime::Runtime) = (keys(), tokio::runtime::Runtime::new().unwrap()));
        KEYS.with(|(keys, runtime)| {
            let (own, key) = &keys.keys[key];
            let (method, path, body) = &routes()[route];
            let escaped: String = other.bytes().map(|b| format!("%{b:02x}")).collect();
            let at = |name: &str| runtime.block_on(call(&keys.app, method, &format!("/v1/tenants/{name}{path}"), Some(key), body));
            let (status, headers, answer) = at(&escaped);
            if other == *own && *own != "elsewhere" {
                prop_assert_ne!(status, StatusCode::UNAUTHORIZED);
                return Ok(());
            }
            let (nobody_status, nobody_headers, nobodys) = at("no-such-tenant-at-all");
            prop_assert_eq!(status, StatusCode::NOT_FOUND);
            prop_assert_eq!((status, &answer), (nobody_status, &nobodys));
            let names = |headers: &HeaderMap| headers.keys().map(ToString::to_string).collect::<Vec<_>>();
            prop_assert_eq!(names(&headers), names(&nobody_headers));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_key_is_asked_for_everywhere_but_at_the_probes() {
    let Keys { app, keys } = keys();
    for (method, path, body) in routes() {
        let is_probe = matches!(path, "/livez" | "/readyz");
        for wrong in [None, Some("recs_0000_1111"), Some("")] {
            let (status, headers, _) = call(&app, &method, path, wrong, &body).await;
            assert_eq!(status == StatusCode::UNAUTHORIZED, !is_probe, "{path}");
            assert_eq!(headers.contains_key("www-authenticate"), !is_probe);
            let prefixed = call(&app, &method, &format!("/v1/tenants/acme{path}"), wrong, &body).await;
            assert_eq!(prefixed.0, StatusCode::UNAUTHORIZED, "{path} of acme");
        }
        let (status, _, _) = call(&app, &method, path, Some(&keys[0].1), &body).await;
        let expected = match (&method, path) {
            // There is no trial to end.
            (&Method::POST, "/deployment") => 409,
            // And no folder for events.
            (_, "/events") => 404,
            _ => 200,
        };
        assert_eq!(status, expected, "{path} with acme's key");
    }
}

#[tokio::test]
async fn counters_are_the_operators() {
    let Keys { app, keys } = keys();
    let (_, path, body) = routes().swap_remove(4);
    for _ in 0..3 {
        assert_eq!(call(&app, &Method::POST, path, Some(&keys[1].1), &body).await.0, StatusCode::OK);
    }
    call(&app, &Method::GET, "/v1/tenants/made-up/health", Some(&keys[1].1), "").await;
    for (name, key) in &keys {
        let (status, headers, text) = call(&app, &Method::GET, "/metrics", Some(key), "").await;
        if *name != "operator" {
            assert_eq!(status, StatusCode::FORBIDDEN);
            continue;
        }
        assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        let text = String::from_utf8(text).unwrap();
        for line in [
            "recs_http_requests_total{tenant=\"beta\",route=\"/recommend\",status=\"200\"} 3",
            "recs_http_request_duration_seconds_count{tenant=\"beta\",route=\"/recommend\"} 3",
            "recs_lists_total{tenant=\"beta\",side=\"production\",source=\"model\"} 3",
            "recs_http_requests_in_flight 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("made-up"), "what clients write makes no series");
    }
    assert_eq!(call(&app, &Method::GET, "/metrics", None, "").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn limits_hold_for_one_tenant_and_say_when_to_come_back() {
    let state = state();
    let (one, app) = (NonZeroU32::new(1), router(state.clone(), Auth::Open));
    let limits = TenantLimits { requests_per_second: one, burst: NonZeroU32::new(2), lists_per_day: None };
    state.limit(&tenant("acme"), limits).unwrap();
    let (_, path, body) = routes().swap_remove(4);
    let ask = async |prefix: &str| call(&app, &Method::POST, &format!("{prefix}{path}"), None, &body).await;
    assert_eq!((ask("").await.0, ask("/v1/tenants/acme").await.0), (StatusCode::OK, StatusCode::OK));
    let (status, headers, text) = ask("").await;
    assert_eq!((status, &headers["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()));
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap()["type"], "urn:recs:problem:rate-limited");
    assert_eq!(
        call(&app, &Method::GET, "/health", None, "").await.0,
        StatusCode::OK,
        "probes are not limited"
    );
    assert_eq!(ask("/v1/tenants/beta").await.0, StatusCode::OK);

    state.limit(&tenant("acme"), TenantLimits { lists_per_day: Some(5), ..TenantLimits::default() }).unwrap();
    let batch = |n: usize| {
        let ask: Value = serde_json::from_str(&body).unwrap();
        post_request("/recommend-batch", json!({"requests": vec![ask; n]}).to_string())
    };
    assert_eq!(send(app.clone(), batch(4)).await.0.status(), StatusCode::OK);
    let (response, problem) = send(app.clone(), batch(2)).await;
    assert_problem(&response, &problem, 429, "quota-exhausted");
    assert!(problem["detail"].as_str().unwrap().starts_with("1 lists"));
    assert_eq!((ask("").await.0, ask("").await.0), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(ask("/v1/tenants/beta").await.0, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_has_an_id() {
    let app = router(state(), Auth::Open);
    let id = async |path: &str, given: Option<&[u8]>| {
        let mut request = Request::get(path);
        if let Some(given) = given {
            request = request.header("x-request-id", given);
        }
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        response.headers()["x-request-id"].as_bytes().to_vec()
    };
    assert_eq!(id("/health", Some(b"trace-7")).await, b"trace-7");
    let (first, second) = (id("/health", None).await, id("/no-such-route", None).await);
    assert_ne!(first, second);
    for odd in [&b""[..], b"with space", &[0xff, 0xfe], &[b'x'; 129]] {
        assert_ne!(id("/health", Some(odd)).await, odd);
    }
}

/// A body that never comes.
struct Never;

impl axum::body::HttpBody for Never {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_under_way() {
    let config = ServeConfig { time_limit_ms: 300, max_in_flight: 1, ..ServeConfig::default() };
    let state =
        AppState::new(host(), ServeConfig { default_tenant: Some(tenant("acme")), ..config }).unwrap();
    let retriever = Retriever::new(Arc::new(artifact("v1")), host()).unwrap();
    state.swap(&tenant("acme"), Arc::new(retriever));
    let app = router(state, Auth::Open);
    let hanging = || {
        let request = Request::post("/recommend").header("content-type", "application/json");
        app.clone().oneshot(request.body(Body::new(Never)).unwrap())
    };
    let gone = tokio::time::timeout(std::time::Duration::from_millis(50), hanging()).await;
    assert!(gone.is_err(), "nothing can be answered yet");
    let (status, _, text) = call(&app, &Method::GET, "/metrics", None, "").await;
    assert_eq!(status, StatusCode::OK, "the one place is free again");
    assert!(String::from_utf8(text).unwrap().contains("recs_http_requests_in_flight 1"));

    // While one is under way there is no room for another but a probe, and it ends by itself.
    let (slow, (early, probe)) = tokio::join!(hanging(), async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let early = call(&app, &Method::GET, "/model-info", None, "").await;
        (early, call(&app, &Method::GET, "/health", None, "").await.0)
    });
    assert_eq!(probe, StatusCode::OK);
    assert_eq!((early.0, early.1["retry-after"].as_bytes()), (StatusCode::SERVICE_UNAVAILABLE, &b"1"[..]));
    let problem: Value = serde_json::from_slice(&early.2).unwrap();
    assert_eq!(problem["type"], "urn:recs:problem:overloaded");
    assert_eq!(slow.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_tenant_fills_its_own_room_only() {
    let config = ServeConfig { max_in_flight_of_tenant: 1, ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    for name in ["acme", "beta"] {
        let retriever = Retriever::new(Arc::new(artifact("v1")), host()).unwrap();
        state.swap(&tenant(name), Arc::new(retriever));
    }
    let app = router(state, Auth::Open);
    let request = Request::post("/v1/tenants/acme/recommend").header("content-type", "application/json");
    let hanging = tokio::spawn(app.clone().oneshot(request.body(Body::new(Never)).unwrap()));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let info = async |name: &str| {
        call(&app, &Method::GET, &format!("/v1/tenants/{name}/model-info"), None, "").await.0
    };
    assert_eq!((info("acme").await, info("beta").await), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    hanging.abort();
    assert!(hanging.await.is_err());
    assert_eq!(info("acme").await, StatusCode::OK, "its place is free again");
}

#[tokio::test]
async fn a_tenant_with_many_batches_waits_for_them_itself() {
    let host = Host { workers: Workers::new(1).unwrap(), ..host() };
    let state = AppState::new(host.clone(), ServeConfig::default()).unwrap();
    for name in ["acme", "beta"] {
        state.swap(&tenant(name), Arc::new(Retriever::new(Arc::new(artifact("v1")), host.clone()).unwrap()));
    }
    let app = router(state, Auth::Open);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let mut busy = Box::pin(host.workers.run(None, move || wait.recv()));
    assert!(futures::poll!(&mut busy).is_pending());
    let batch = json!({"requests": [{"customer_id": "c3", "city": "alpha", "revenue": 49.5}]}).to_string();
    let mut asked: Vec<_> = ["acme"; 8]
        .into_iter()
        .chain(["beta"])
        .map(|name| {
            let (app, batch, path) = (&app, &batch, format!("/v1/tenants/{name}/recommend-batch"));
            Box::pin(async move { (name, call(app, &Method::POST, &path, None, batch).await.0) })
        })
        .collect();
    for ask in &mut asked {
        assert!(futures::poll!(ask).is_pending());
    }
    go.send(()).unwrap();
    let mut asked: futures::stream::FuturesUnordered<_> = asked.into_iter().collect();
    let mut order = Vec::new();
    while let Some((name, status)) = asked.next().await {
        assert_eq!(status, StatusCode::OK);
        order.push(name);
    }
    assert_eq!((order.len(), order.iter().position(|name| *name == "beta")), (9, Some(1)));
}

#[tokio::test]
async fn a_place_is_kept_until_a_large_answer_has_left() {
    let config = ServeConfig { max_in_flight: 1, default_tenant: Some(tenant("acme")), ..Default::default() };
    let state = AppState::new(host(), config).unwrap();
    state.swap(&tenant("acme"), Arc::new(Retriever::new(Arc::new(artifact("v1")), host()).unwrap()));
    let app = router(state, Auth::Open);
    let ask = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5});
    let batch = post_request("/recommend-batch", json!({"requests": vec![ask; 300]}).to_string());
    let answer = app.clone().oneshot(batch).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let info = async || call(&app, &Method::GET, "/model-info", None, "").await.0;
    assert_eq!(info().await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.into_body().collect().await.unwrap().to_bytes().len() > 16 << 10);
    assert_eq!(info().await, StatusCode::OK);
}

#[tokio::test]
async fn answers_that_nobody_reads_fill_their_own_room_only() {
    let config = ServeConfig { max_unsent_bytes_of_tenant: 1 << 20, ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    for name in ["acme", "beta"] {
        state.swap(&tenant(name), Arc::new(Retriever::new(Arc::new(artifact("v1")), host()).unwrap()));
    }
    let app = router(state, Auth::Open);
    let ask = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5});
    let batch = async |name: &str, lists: usize| {
        let body = json!({"requests": vec![ask.clone(); lists], "num_recommendations": 60}).to_string();
        app.clone().oneshot(post_request(&format!("/v1/tenants/{name}/recommend-batch"), body)).await.unwrap()
    };
    // More than the room by itself: it takes all of it.
    let unread = batch("acme", 400).await;
    assert_eq!(unread.status(), StatusCode::OK);
    let refused = batch("acme", 10).await;
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!(
        (batch("acme", 1).await.status(), batch("beta", 10).await.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    assert!(unread.into_body().collect().await.unwrap().to_bytes().len() > 1 << 20);
    assert_eq!(batch("acme", 10).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_is_about_to_end_answers_but_is_not_ready() {
    let state = state();
    let app = router(state.clone(), Auth::Open);
    assert!(state.is_ready() && !state.is_retired());
    state.retire();
    let (response, problem) = send(app.clone(), Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_problem(&response, &problem, 503, "ending");
    let (_, path, body) = routes().swap_remove(4);
    assert_eq!(call(&app, &Method::POST, path, None, &body).await.0, StatusCode::OK);
    assert_eq!(call(&app, &Method::GET, "/livez", None, "").await.0, StatusCode::OK);
}
