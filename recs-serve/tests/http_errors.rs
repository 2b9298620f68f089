//! Every status that is not 200, and that bad input never makes a 500.

use crate::artifact::{PRODUCTS, host, product_id, retriever};
use crate::http_client::{app, assert_problem, post, post_request, send, state, tenant};
use axum::body::Body;
use axum::http::{Request, Response, header};
use proptest::prelude::*;
use recs_core::tenant::TenantId;
use recs_serve::http::{AppState, Ask, Auth, Gate, Refusal, ServeConfig, router};
use serde_json::{Value, json};
use std::sync::Arc;

async fn ask(request: Request<Body>) -> (Response<()>, Value) {
    send(app(), request).await
}

fn empty(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

fn good() -> Value {
    json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5})
}

#[tokio::test]
async fn unknown_routes_and_tenants_are_404() {
    let paths =
        ["/", "/nothing", "/recommend/", "/v1/tenants", "/v1/tenants/acme", "/v1/tenants/acme/nothing"];
    let tenants = [
        "/v1/tenants/none/health",
        "/v1/tenants/A%20b/health",
        "/v1/tenants/%FF/health",
        "/v1/tenants/../health",
    ];
    for path in paths.iter().chain(&tenants) {
        let (response, json) = ask(empty("GET", path)).await;
        assert_problem(&response, &json, 404, "not-found");
    }
    for route in ["recommend", "recommend-batch"] {
        let (response, json) =
            ask(post_request(&format!("/v1/tenants/none/{route}"), good().to_string())).await;
        assert_problem(&response, &json, 404, "not-found");
    }
}

#[tokio::test]
async fn without_a_default_tenant_only_tenant_routes_answer() {
    let state = AppState::new(host(), ServeConfig::default()).unwrap();
    let app = router(state.clone(), Auth::Open);
    let (response, json) = send(app.clone(), empty("GET", "/health")).await;
    assert_problem(&response, &json, 404, "not-found");
    state.swap(&tenant("acme"), Arc::new(retriever()));
    assert_eq!(send(app.clone(), empty("GET", "/v1/tenants/acme/health")).await.0.status(), 200);
    assert_eq!(send(app, empty("GET", "/readyz")).await.0.status(), 200);
}

#[tokio::test]
async fn wrong_methods_are_405_and_name_the_right_ones() {
    for (method, path, allow) in [
        ("GET", "/recommend", "POST"),
        ("DELETE", "/v1/tenants/acme/recommend-batch", "POST"),
        ("POST", "/health", "GET,HEAD"),
        ("PUT", "/v1/tenants/acme/model-info", "GET,HEAD"),
        ("POST", "/livez", "GET,HEAD"),
    ] {
        let (response, json) = ask(empty(method, path)).await;
        assert_problem(&response, &json, 405, "method-not-allowed");
        assert_eq!(response.headers()[header::ALLOW], allow, "{method} {path}");
    }
}

#[tokio::test]
async fn without_a_model_the_answer_is_503() {
    for path in ["/v1/tenants/new/recommend", "/v1/tenants/new/recommend-batch"] {
        let (response, json) = ask(post_request(path, good().to_string())).await;
        assert_problem(&response, &json, 503, "no-model");
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
    for path in ["/v1/tenants/new/model-info", "/v1/tenants/new/readyz"] {
        let (response, json) = ask(empty("GET", path)).await;
        assert_problem(&response, &json, 503, "no-model");
    }
}

#[tokio::test]
async fn what_is_no_json_is_400() {
    let deep = "[".repeat(100_000);
    let bodies: [&[u8]; 8] =
        [b"", b"{", b"{\"a\": 1e999}", b"\xff", b"{} {}", b"nul", b"{\"a\":\"\\ud800\"}", deep.as_bytes()];
    for body in bodies {
        for path in ["/recommend", "/recommend-batch"] {
            let (response, json) = ask(post_request(path, body.to_vec())).await;
            assert_problem(&response, &json, 400, "malformed-json");
        }
    }
}

#[tokio::test]
async fn other_content_types_are_415() {
    let with = |name: header::HeaderName, value: &str| {
        let mut request = post_request("/recommend", good().to_string());
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application", ""] {
        let (response, json) = ask(with(header::CONTENT_TYPE, kind)).await;
        assert_problem(&response, &json, 415, "unsupported-media-type");
    }
    let (response, json) = ask(with(header::CONTENT_ENCODING, "gzip")).await;
    assert_problem(&response, &json, 415, "unsupported-media-type");
    let mut without = post_request("/recommend", good().to_string());
    without.headers_mut().remove(header::CONTENT_TYPE);
    let (response, json) = ask(without).await;
    assert_problem(&response, &json, 415, "unsupported-media-type");
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.shop+json"] {
        assert_eq!(ask(with(header::CONTENT_TYPE, kind)).await.0.status(), 200, "{kind}");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_413() {
    let config =
        ServeConfig { default_tenant: Some(tenant("acme")), max_body_bytes: 2000, ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    state.swap(&tenant("acme"), Arc::new(retriever()));
    let app = router(state, Auth::Open);
    let padded = |bytes: usize| format!("{}{}", good(), " ".repeat(bytes - good().to_string().len()));
    for path in ["/recommend", "/v1/tenants/acme/recommend-batch"] {
        let (response, json) = send(app.clone(), post_request(path, padded(2001))).await;
        assert_problem(&response, &json, 413, "body-too-large");
        // With a declared length too.
        let mut declared = post_request(path, padded(5000));
        declared.headers_mut().insert(header::CONTENT_LENGTH, 5000.into());
        let (response, json) = send(app.clone(), declared).await;
        assert_problem(&response, &json, 413, "body-too-large");
    }
    assert_eq!(send(app, post_request("/recommend", padded(2000))).await.0.status(), 200);
    for bad in [0, 1 << 40] {
        let config = ServeConfig { max_body_bytes: bad, ..ServeConfig::default() };
        assert!(AppState::new(host(), config).is_err());
    }
}

/// A gate with a defect.
#[derive(Debug)]
struct Broken;

impl Gate for Broken {
    fn admit(&self, _: &Ask<'_>) -> Result<TenantId, Refusal> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let app = router(state(), Auth::Gate(Arc::new(Broken)));
    let (response, json) = send(app, post_request("/recommend", good().to_string())).await;
    assert_problem(&response, &json, 500, "internal");
    assert!(!json.to_string().contains("on purpose"));
}

#[tokio::test]
async fn workers_answer_what_is_too_large_to_answer_in_place() {
    let config = ServeConfig {
        default_tenant: Some(tenant("acme")),
        inline_multiply_adds: 0,
        ..ServeConfig::default()
    };
    let state = AppState::new(host(), config).unwrap();
    state.swap(&tenant("acme"), Arc::new(retriever()));
    let workers = router(state, Auth::Open);
    let here = ask(post_request("/recommend", good().to_string())).await.1;
    let there = send(workers.clone(), post_request("/recommend", good().to_string())).await.1;
    assert_eq!(here["recommendations"], there["recommendations"]);
    let (response, json) = send(workers, post_request("/recommend", "{}")).await;
    assert_problem(&response, &json, 422, "invalid-request");
}

#[tokio::test]
async fn a_thousand_requests_fit_into_the_default_limit() {
    let one = json!({
        "customer_id": "c".repeat(100), "city": "alpha", "revenue": 12345.67, "timestamp": 1_514_764_800,
        "exclude": (0..PRODUCTS).map(product_id).collect::<Vec<_>>(), "num_recommendations": 100,
    });
    let body = json!({"requests": vec![one; 1000]});
    let (response, json) = ask(post_request("/recommend-batch", body.to_string())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(json["results"].as_array().unwrap().len(), 1000);
}

/// Replaces, removes and adds members and elements of a document, at random.
fn mutate(value: &mut Value, choices: &mut impl Iterator<Item = u32>) {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(-1e300),
        json!(0.5),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(""),
        json!("c3"),
        json!("\u{0}\u{10ffff}/~"),
        json!("x".repeat(2000)),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!({"": {"": []}}),
        json!([1, "a", {}]),
        json!({"1005": "x"}),
        json!(3.4e38),
        json!(1e-320),
    ];
    let Some(choice) = choices.next() else { return };
    match value {
        _ if choice % 4 == 0 => *value = odd[(choice / 4) as usize % odd.len()].clone(),
        Value::Object(members) if choice % 16 == 1 => {
            members.insert(format!("k{choice}"), odd[(choice / 16) as usize % odd.len()].clone());
        }
        Value::Object(members) if !members.is_empty() => {
            let key = members.keys().nth((choice / 4) as usize % members.len()).unwrap().clone();
            if choice % 16 == 2 {
                members.remove(&key);
            } else {
                mutate(&mut members[&key], choices);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = (choice / 4) as usize % list.len();
            mutate(&mut list[at], choices);
        }
        other => *other = odd[(choice / 4) as usize % odd.len()].clone(),
    }
}

fn full() -> Value {
    json!({
        "customer_id": "c3", "city": "alpha", "revenue": 49.5, "timestamp": 1_514_764_800, "num_recommendations": 5,
        "exclude_purchased": true, "exclude": ["1001", "?"], "allow": ["1002", "1003", "1004"], "categories": ["DAIRY", "MEAT"],
        "available_only": true, "category_cap": 2, "boost": {"1003": 0.5, "1004": -2}, "pin": ["1004", "1002"], "explain": true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn mutated_requests_are_answered_or_refused_with_pointers(choices in proptest::collection::vec(any::<u32>(), 1..12), batch in any::<bool>()) {
        let mut body = if batch { json!({"requests": [full(), good(), full()], "num_recommendations": 9}) } else { full() };
        let mut choices = choices.into_iter().peekable();
        while choices.peek().is_some() {
            mutate(&mut body, &mut choices);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let path = if batch { "/recommend-batch" } else { "/recommend" };
        let (response, json) = runtime.block_on(ask(post_request(path, body.to_string())));
        match response.status().as_u16() {
            200 => prop_assert!(json.get("errors").is_none()),
            422 => {
                let errors = json["errors"].as_array().unwrap();
                prop_assert!(!errors.is_empty());
                for error in errors {
                    // A pointer leads to the value, or to the object that lacks it.
                    let pointer = error["pointer"].as_str().unwrap();
                    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                    prop_assert!(body.pointer(pointer).or_else(|| body.pointer(parent)).is_some(), "{} in {}", pointer, body);
                }
            }
            status => prop_assert!(false, "status {} for {}", status, body),
        }
    }

    #[test]
    fn arbitrary_bytes_are_400_or_422(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (response, json) = runtime.block_on(ask(post_request("/recommend", bytes)));
        prop_assert!([400, 422].contains(&response.status().as_u16()), "{}", json);
    }
}

#[tokio::test]
async fn states_share_what_they_hold() {
    let state = state();
    let clone = state.clone();
    clone.remove(&tenant("beta"));
    assert_eq!(state.tenants(), [tenant("acme"), tenant("new")]);
    assert!(state.model(&tenant("beta")).is_none() && state.model(&tenant("new")).unwrap().is_none());
}

/// A body that comes in parts of one byte.
fn in_crumbs(text: String) -> Body {
    let bytes = text.into_bytes().into_iter().map(|byte| Ok::<_, std::io::Error>(vec![byte]));
    Body::from_stream(futures::stream::iter(bytes))
}

#[tokio::test]
async fn bodies_in_crumbs_are_put_together_up_to_the_limit() {
    let request = json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5, "num_recommendations": 3});
    let (status, whole) = post("/recommend", &request).await;
    let (response, crumbs) = send(app(), post_request("/recommend", in_crumbs(request.to_string()))).await;
    assert_eq!((status, &whole["recommendations"]), (response.status(), &crumbs["recommendations"]));
    let mut long = request.to_string();
    long.push_str(&" ".repeat(3 << 20));
    let (response, problem) = send(app(), post_request("/recommend", in_crumbs(long.clone()))).await;
    assert_problem(&response, &problem, 413, "body-too-large");
    let (response, problem) = send(app(), post_request("/recommend", long)).await;
    assert_problem(&response, &problem, 413, "body-too-large");
}
