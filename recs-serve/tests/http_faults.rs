//! Every fault of a body has its pointer.

use crate::http_client::{post, post_text};
use axum::http::StatusCode;
use recs_serve::http::{MAX_LIST, MAX_TEXT_CHARS};
use serde_json::{Value, json};

async fn faults(path: &str, body: Value) -> Vec<(String, String)> {
    let (status, json) = post(path, &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{json}");
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    json["errors"].as_array().unwrap().iter().map(|e| (text(&e["pointer"]), text(&e["detail"]))).collect()
}

async fn pointers(path: &str, body: Value) -> Vec<String> {
    faults(path, body).await.into_iter().map(|(pointer, _)| pointer).collect()
}

#[tokio::test]
async fn all_faults_of_a_request_are_listed() {
    let body = json!({
        "customer_id": 42, "revenue": -0.5, "timestamp": "now", "num_recommendations": 101, "exclude_purchased": "yes",
        "exclude": ["ok", 1, null], "allow": "all", "categories": {}, "available_only": 1, "category_cap": 0,
        "boost": {"a/b": "high", "c~d": 1e12}, "pin": [[]], "explain": 0, "colour": "red", "a~/b": null,
    });
    let expected = [
        ("/customer_id", "must be a text, is a number"),
        ("/city", "is required"),
        ("/revenue", "is -0.5, must be 0.0 to 3.4028234663852886e38"),
        ("/timestamp", "must be a whole number, is a text"),
        ("/num_recommendations", "is 101, must be 1 to 100"),
        ("/exclude_purchased", "must be true or false, is a text"),
        ("/exclude/1", "must be a text, is a number"),
        ("/exclude/2", "must be a text, is null"),
        ("/allow", "must be a list of texts, is a text"),
        ("/categories", "must be a list of texts, is an object"),
        ("/available_only", "must be true or false, is a number"),
        ("/category_cap", "is 0, must be 1 to 100"),
        ("/boost/a~1b", "must be a number, is a text"),
        ("/boost/c~0d", "is 1000000000000.0, must be -1000000000.0 to 1000000000.0"),
        ("/pin/0", "must be a text, is a list"),
        ("/explain", "must be true or false, is a number"),
        ("/a~0~1b", "is no member of this request"),
        ("/colour", "is no member of this request"),
    ];
    let found = faults("/recommend", body).await;
    assert_eq!(found, expected.map(|(p, d)| (p.to_owned(), d.to_owned())));
}

#[tokio::test]
async fn a_batch_is_all_or_nothing_with_pointers_into_it() {
    let good = json!({"customer_id": "c1", "city": "alpha", "revenue": 1});
    let body = json!({
        "requests": [good, {"customer_id": "c1", "city": "alpha"}, good, {"customer_id": "c1", "city": 3, "revenue": -1}, 7],
        "num_recommendations": 0, "more": 1,
    });
    let expected = [
        "/num_recommendations",
        "/requests/1/revenue",
        "/requests/3/city",
        "/requests/3/revenue",
        "/requests/4",
        "/more",
    ];
    assert_eq!(pointers("/recommend-batch", body).await, expected);
}

#[tokio::test]
async fn shapes_and_sizes_are_bounded() {
    let good = json!({"customer_id": "c1", "city": "alpha", "revenue": 1});
    for body in [json!([]), json!("text"), json!(null), json!(1)] {
        assert_eq!(pointers("/recommend", body.clone()).await, [""]);
        assert_eq!(pointers("/recommend-batch", body).await, [""]);
    }
    for requests in [json!([]), json!(vec![&good; 1001]), json!({}), json!(null)] {
        assert_eq!(pointers("/recommend-batch", json!({"requests": requests})).await, ["/requests"]);
    }
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    assert_eq!(
        post("/recommend", &with("customer_id", json!("x".repeat(MAX_TEXT_CHARS)))).await.0,
        StatusCode::OK
    );
    assert_eq!(
        pointers("/recommend", with("customer_id", json!("x".repeat(MAX_TEXT_CHARS + 1)))).await,
        ["/customer_id"]
    );
    assert_eq!(post("/recommend", &with("exclude", json!(vec!["x"; MAX_LIST]))).await.0, StatusCode::OK);
    assert_eq!(pointers("/recommend", with("exclude", json!(vec![1; MAX_LIST + 1]))).await, ["/exclude"]);
    let amounts: serde_json::Map<String, Value> = (0..=MAX_LIST).map(|i| (i.to_string(), json!(1))).collect();
    assert_eq!(pointers("/recommend", with("boost", json!(amounts))).await, ["/boost"]);
    assert_eq!(pointers("/recommend", with("exclude", json!(vec![1; MAX_LIST]))).await.len(), MAX_LIST);
}

#[tokio::test]
async fn numbers_are_read_as_json_means_them() {
    let ask = async |member: &str| {
        post_text("/recommend", format!(r#"{{"customer_id":"c1","city":"a",{member}}}"#)).await.0
    };
    for good in [
        r#""revenue":0"#,
        r#""revenue":-0.0"#,
        r#""revenue":1e3"#,
        r#""revenue":3.4e38"#,
        r#""revenue":1,"num_recommendations":10.0"#,
        r#""revenue":1,"timestamp":-5"#,
        r#""revenue":1,"timestamp":253402300799"#,
    ] {
        assert_eq!(ask(good).await, StatusCode::OK, "{good}");
    }
    for bad in [
        r#""revenue":3.5e38"#,
        r#""revenue":"1""#,
        r#""revenue":1,"num_recommendations":10.5"#,
        r#""revenue":1,"timestamp":1514764800000"#,
        r#""revenue":1,"timestamp":99999999999999999999"#,
    ] {
        assert_eq!(ask(bad).await, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
}
