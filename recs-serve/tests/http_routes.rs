use crate::artifact::{NOW, PRODUCTS, artifact, host, product_id};
use crate::http_client::{app, get, post, post_request, send, state, tenant};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use recs_core::tenant::TenantId;
use recs_serve::http::{AppState, Ask, Auth, Gate, Refusal, ServeConfig, router};
use recs_serve::retriever::Retriever;
use serde_json::{Value, json};
use std::sync::Arc;

fn ask() -> Value {
    json!({"customer_id": "c3", "city": "alpha", "revenue": 49.5, "timestamp": NOW, "num_recommendations": 5})
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn health_tells_the_loaded_model() {
    let (status, body) = get("/health").await;
    let expected = json!({
        "status": "healthy", "model_loaded": true, "model_version": "v1", "timestamp": "2018-01-01T00:00:00Z",
        "max_batch_size": 1000,
    });
    assert_eq!((status, body), (StatusCode::OK, expected));
    let (status, body) = get("/v1/tenants/new/health").await;
    assert_eq!(
        (status, &body["status"], &body["model_loaded"]),
        (StatusCode::OK, &json!("no_model"), &json!(false))
    );
    assert_eq!(body["model_version"], Value::Null);
}

#[tokio::test]
async fn recommend_ranks_products_with_reasons() {
    let (status, body) = post("/recommend", &ask()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(members(&body), ["inference_time_ms", "model_version", "recommendations", "total_products"]);
    assert_eq!((&body["model_version"], &body["total_products"]), (&json!("v1"), &json!(PRODUCTS)));
    assert!(body["inference_time_ms"].as_f64().unwrap() > 0.0);
    let list = body["recommendations"].as_array().unwrap();
    assert_eq!(list.len(), 5);
    for (item, rank) in list.iter().zip(1..) {
        assert_eq!(members(item), ["product_id", "rank", "reason", "score"]);
        assert_eq!(item["rank"], rank);
        assert!(item["product_id"].is_string() && item["score"].is_f64());
        assert!(item["reason"] == "model" || item["reason"] == "repeat");
    }
}

#[tokio::test]
async fn only_three_members_are_required_and_null_is_absent() {
    let (status, body) = post("/recommend", &json!({"customer_id": "?", "city": "?", "revenue": 0})).await;
    assert_eq!((status, body["recommendations"].as_array().unwrap().len()), (StatusCode::OK, PRODUCTS));
    assert_eq!(body["recommendations"][0]["reason"], "popularity");
    assert_eq!(body["shortfall"]["asked"], 100);
    let nulls = json!({
        "customer_id": "?", "city": "?", "revenue": 0, "timestamp": null, "num_recommendations": null, "exclude": null,
        "allow": null, "boost": null, "category_cap": null, "explain": null,
    });
    let (status, same) = post("/recommend", &nulls).await;
    assert_eq!((status, &same["recommendations"]), (StatusCode::OK, &body["recommendations"]));
}

#[tokio::test]
async fn optional_members_reach_the_retriever() {
    let mut request = ask();
    request["exclude_purchased"] = json!(true);
    request["exclude"] = json!([product_id(1)]);
    request["allow"] = json!((0..30).map(product_id).collect::<Vec<_>>());
    request["categories"] = json!(["DAIRY", "FRUIT", "MEAT", "NONE"]);
    request["available_only"] = json!(true);
    request["category_cap"] = json!(2);
    request["boost"] = json!({product_id(5): 1000.0});
    request["pin"] = json!([product_id(6), product_id(59)]);
    request["explain"] = json!(true);
    let (status, body) = post("/recommend", &request).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let list = &body["recommendations"];
    assert_eq!((&list[0]["product_id"], &list[0]["reason"]), (&json!(product_id(6)), &json!("pinned")));
    assert_eq!(
        (&list[1]["product_id"], &list[1]["explain"]["boost"]),
        (&json!(product_id(5)), &json!(1000.0))
    );
    assert_eq!(body["explain"]["source"], "model");
    let ignored = json!([
        {"field": "categories", "value": "NONE", "why": "unknown"},
        {"field": "pin", "value": product_id(59), "why": "filtered"},
    ]);
    assert_eq!(body["explain"]["ignored"], ignored);
}

#[tokio::test]
async fn a_batch_answers_in_order() {
    let mut other = ask();
    (other["customer_id"], other["num_recommendations"]) = (json!("stranger"), json!(2));
    let mut third = ask();
    third.as_object_mut().unwrap().remove("num_recommendations");
    let (status, body) =
        post("/recommend-batch", &json!({"requests": [ask(), other, third], "num_recommendations": 7})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let expected = [
        "avg_inference_time_ms",
        "batch_size",
        "model_version",
        "processing_mode",
        "results",
        "total_inference_time_ms",
    ];
    assert_eq!(members(&body), expected);
    assert_eq!((&body["batch_size"], &body["processing_mode"]), (&json!(3), &json!("vectorised")));
    let lengths: Vec<usize> =
        (0..3).map(|i| body["results"][i]["recommendations"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [5, 2, 7], "a request's own number goes before the batch's");
    assert_eq!(body["results"][1]["customer_id"], "stranger");
    assert_eq!(body["results"][1]["recommendations"][0]["reason"], "features_only");
    let (total, each) =
        (body["total_inference_time_ms"].as_f64().unwrap(), body["avg_inference_time_ms"].as_f64().unwrap());
    assert!(total > 0.0 && (total - 3.0 * each).abs() < 1e-6);
    assert_eq!(body["results"][0]["inference_time_ms"], body["avg_inference_time_ms"]);
    let (_, single) = post("/recommend", &ask()).await;
    let products =
        |list: &Value| list.as_array().unwrap().iter().map(|i| i["product_id"].clone()).collect::<Vec<_>>();
    assert_eq!(products(&single["recommendations"]), products(&body["results"][0]["recommendations"]));
}

#[tokio::test]
async fn similar_products_come_ranked_without_the_product_itself() {
    let (status, body) =
        post("/similar", &json!({"product_id": product_id(7), "num_recommendations": 5})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(
        members(&body),
        ["inference_time_ms", "model_version", "product_id", "similar", "total_products"]
    );
    let similar = body["similar"].as_array().unwrap();
    assert_eq!(
        (similar.len(), &body["product_id"], &body["total_products"]),
        (5, &json!(product_id(7)), &json!(60))
    );
    let scores: Vec<f64> = similar.iter().map(|s| s["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && similar.iter().all(|s| s["product_id"] != product_id(7)));
    assert_eq!(similar.iter().map(|s| s["rank"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(
        post("/similar", &json!({"product_id": product_id(7)})).await.1["similar"].as_array().unwrap().len(),
        59
    );
    let (status, body) = post("/similar", &json!({"product_id": "nothing"})).await;
    assert_eq!((status, &body["type"]), (StatusCode::NOT_FOUND, &json!("urn:recs:problem:not-found")));
    let (status, body) = post("/similar", &json!({"product": product_id(7), "num_recommendations": 0})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let pointers: Vec<_> = body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].clone()).collect();
    assert_eq!(pointers, ["/product_id", "/num_recommendations", "/product"]);
}

#[tokio::test]
async fn model_info_tells_sizes_settings_and_results() {
    let (status, body) = get("/model-info").await;
    let expected = json!({
        "model_version": "v1",
        "vocabularies": {"num_users": 20, "num_products": 60, "num_cities": 3, "num_categories": 4, "num_subcategories": 1},
        "hyperparameters": {"epochs": 3},
        "performance_metrics": {"test_recall_5": 0.1, "test_recall_10": 0.2, "test_recall_50": 0.3, "test_recall_100": 0.4},
        "batch_capabilities": {"max_batch_size": 1000, "endpoints": ["/recommend-batch"]},
    });
    assert_eq!((status, body), (StatusCode::OK, expected));
}

#[tokio::test]
async fn every_route_exists_for_each_tenant() {
    for (path, version) in [("", "v1"), ("/v1/tenants/acme", "v1"), ("/v1/tenants/beta", "v2")] {
        for probe in ["livez", "readyz"] {
            assert_eq!(get(&format!("{path}/{probe}")).await.0, StatusCode::OK);
        }
        assert_eq!(get(&format!("{path}/health")).await.1["model_version"], version);
        assert_eq!(get(&format!("{path}/model-info")).await.1["model_version"], version);
        assert_eq!(post(&format!("{path}/recommend"), &ask()).await.1["model_version"], version);
        let batch = json!({"requests": [ask()]});
        assert_eq!(post(&format!("{path}/recommend-batch"), &batch).await.1["model_version"], version);
        let like = json!({"product_id": product_id(7)});
        assert_eq!(post(&format!("{path}/similar"), &like).await.1["model_version"], version);
    }
}

#[tokio::test]
async fn readiness_follows_the_model() {
    let config = ServeConfig { default_tenant: Some(tenant("acme")), ..ServeConfig::default() };
    let state = AppState::new(host(), config).unwrap();
    let ready = async |state: &AppState| {
        let probe = Request::get("/readyz").body(Body::empty()).unwrap();
        send(router(state.clone(), Auth::Open), probe).await.0.status().as_u16()
    };
    assert_eq!(ready(&state).await, 503);
    state.swap(&tenant("acme"), Arc::new(crate::artifact::retriever()));
    assert_eq!(ready(&state).await, 200);
    state.remove(&tenant("acme"));
    assert_eq!(ready(&state).await, 503);
}

/// Requests run while the model is swapped; each is answered by one of the two, wholly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_swapped_under_load() {
    let state = state();
    let next = |version: &str| Arc::new(Retriever::new(Arc::new(artifact(version)), host()).unwrap());
    let (even, odd) = (next("even"), next("odd"));
    let app = router(state.clone(), Auth::Open);
    let load = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let (response, body) = send(app.clone(), post_request("/recommend", ask().to_string())).await;
            assert_eq!(response.status(), StatusCode::OK);
            seen.insert(body["model_version"].as_str().unwrap().to_owned());
        }
        seen
    });
    let mut swaps = 0;
    while !load.is_finished() {
        let model = if swaps % 2 == 0 { &even } else { &odd };
        assert!(state.swap(&tenant("acme"), model.clone()).is_some());
        swaps += 1;
        tokio::task::yield_now().await;
    }
    let seen = load.await.unwrap();
    assert!(seen.contains("even") || seen.contains("odd"), "{swaps} swaps, {seen:?}");
}

/// The key is the tenant's name.
#[derive(Debug)]
struct Named;

impl Gate for Named {
    fn admit(&self, ask: &Ask<'_>) -> Result<TenantId, Refusal> {
        let key =
            ask.headers.get("authorization").and_then(|v| v.to_str().ok()).ok_or(Refusal::Unauthenticated)?;
        let own = TenantId::new(key).map_err(|_| Refusal::Unauthenticated)?;
        if ask.tenant.is_some_and(|asked| *asked != own) { Err(Refusal::NotYours) } else { Ok(own) }
    }
}

#[tokio::test]
async fn a_gate_decides_for_which_tenant() {
    let app = router(state(), Auth::Gate(Arc::new(Named)));
    let ask = async |path: &str, key: Option<&str>| {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        let (response, json) = send(app.clone(), request.body(Body::empty()).unwrap()).await;
        (response.status().as_u16(), json)
    };
    assert_eq!(ask("/model-info", None).await.0, 401);
    assert_eq!(ask("/livez", None).await.0, 200);
    assert_eq!(ask("/model-info", Some("beta")).await.1["model_version"], "v2", "the key's tenant");
    assert_eq!(ask("/v1/tenants/beta/health", Some("beta")).await.0, 200);
    let foreign = ask("/v1/tenants/acme/health", Some("beta")).await;
    let missing = ask("/v1/tenants/none/health", Some("beta")).await;
    assert_eq!(foreign, missing, "somebody else's tenant looks like none");
    assert_eq!(foreign.0, 404);
}

#[tokio::test]
async fn head_and_options_do_not_break() {
    let head = Request::head("/health").body(Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(app(), head).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
