//! The description of the routes as OpenAPI 3.1, with the limits that the code enforces.

use super::change::ACTIONS;
use super::events::MAX_EVENTS;
use super::request::{MAX_LIST, MAX_RECOMMENDATIONS, MAX_TEXT_CHARS, REVENUES};
use crate::monitor::Outcome;
use crate::retriever::{DEFAULT_K, MAX_BATCH, MAX_BOOST, TIMESTAMPS};
use serde_json::{Map, Value, json};

/// A route under each tenant's prefix, and without it for the tenant of the key or the router's own.
struct Route {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answer: &'static str,
    /// Statuses of its problems beside those of every route.
    problems: &'static [u16],
}

/// Names that a version can have.
const VERSION: &str = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$";

const OF_POSTS: [u16; 7] = [400, 408, 413, 415, 422, 429, 503];

/// Of the routes that need the role `manage` and the store.
const OF_CHANGES: [u16; 2] = [409, 429];

const ROUTES: [Route; 12] = [
    Route::get("/health", "What is loaded", "Health", &[]),
    Route::get("/livez", "Does the process answer", "Status", &[]),
    Route::get("/readyz", "Is there a model to answer with", "Status", &[503]),
    Route::get("/model-info", "Sizes, settings and results of the model", "ModelInfo", &[429, 503]),
    Route::post("/recommend", "Products for one customer", "Request", "Answer"),
    Route::post("/recommend-batch", "Products for up to a thousand customers", "Batch", "BatchAnswer"),
    Route::post(
        "/similar",
        "Products like a product, by the version in production; no rules",
        "SimilarRequest",
        "SimilarAnswer",
    ),
    Route::post("/events", "What customers did with what they were shown", "Events", "Kept"),
    Route::get("/monitoring", "Traffic, lists, drift and outcomes", "Monitoring", &[429]),
    Route::get("/deployment", "Which versions serve", "Deployment", &[429]),
    Route::post("/deployment", "Change which versions serve", "Change", "Deployment"),
    Route::get("/deployment/history", "Who changed what serves", "History", &[429]),
];

impl Route {
    const fn get(
        path: &'static str,
        summary: &'static str,
        answer: &'static str,
        problems: &'static [u16],
    ) -> Self {
        Self { path, method: "get", summary, body: None, answer, problems }
    }

    const fn post(
        path: &'static str,
        summary: &'static str,
        body: &'static str,
        answer: &'static str,
    ) -> Self {
        Self { path, method: "post", summary, body: Some(body), answer, problems: &OF_POSTS }
    }

    fn operation(&self, is_prefixed: bool, has_keys: bool) -> Value {
        let is_open = !is_prefixed && matches!(self.path, "/livez" | "/readyz");
        let mut responses = Map::new();
        let content = json!({"application/json": {"schema": schema_named(self.answer)}});
        responses.insert(
            "200".into(),
            json!({"description": self.summary, "content": content, "headers": headers()}),
        );
        // A tenant that is not there, or a product; time and room run out on every route.
        let of_all = if is_open { &[408, 503][..] } else { &[401, 403, 404, 408, 503] };
        let of_change = if self.body == Some("Change") { &OF_CHANGES[..] } else { &[] };
        for status in of_all.iter().chain(self.problems).chain(of_change) {
            responses.insert(status.to_string(), problem());
        }
        let mut operation = json!({"summary": self.summary, "responses": responses});
        if let Some(body) = self.body {
            let content = json!({"application/json": {"schema": schema_named(body)}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        if is_prefixed {
            let tenant = json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"});
            operation["parameters"] =
                json!([{"name": "tenant", "in": "path", "required": true, "schema": tenant}]);
        }
        if has_keys && !is_open {
            operation["security"] = json!([{"header": []}, {"bearer": []}]);
        }
        operation
    }
}

/// The document. `has_keys`: requests need one.
pub(super) fn document(has_keys: bool) -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        for (path, is_prefixed) in
            [(route.path.to_owned(), false), (format!("/v1/tenants/{{tenant}}{}", route.path), true)]
        {
            let operations = paths.entry(path).or_insert_with(|| json!({}));
            operations[route.method] = route.operation(is_prefixed, has_keys);
        }
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "recs",
            "description": "Recommendations of two-tower models, with a reason for each product.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas()},
    });
    if has_keys {
        document["components"]["securitySchemes"] = json!({
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        });
    }
    document
}

fn schema_named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn headers() -> Value {
    json!({"X-Request-Id": {"description": "The request's own, or a new one", "schema": {"type": "string"}}})
}

fn problem() -> Value {
    let content = json!({"application/problem+json": {"schema": schema_named("Problem")}});
    json!({"description": "See `type` and `detail`", "content": content, "headers": headers()})
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

/// What may also be null, which counts as absent.
fn optional(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn told(schema: &Value, description: &str) -> Value {
    let mut schema = schema.clone();
    schema["description"] = description.into();
    schema
}

fn schemas() -> Value {
    let mut all = Map::new();
    for (name, schema) in asked().into_iter().chain(answered()) {
        all.insert(name.into(), schema);
    }
    Value::Object(all)
}

fn asked() -> Vec<(&'static str, Value)> {
    let text = json!({"type": "string", "maxLength": MAX_TEXT_CHARS});
    let texts = optional(json!({"type": "array", "maxItems": MAX_LIST, "items": text}));
    let flag = optional(json!({"type": "boolean", "default": false}));
    let k = json!({"type": "integer", "minimum": 1, "maximum": MAX_RECOMMENDATIONS, "default": DEFAULT_K});
    let (first, last) = (TIMESTAMPS.start(), TIMESTAMPS.end());
    let amount = json!({"type": "number", "minimum": -MAX_BOOST, "maximum": MAX_BOOST});
    let request = json!({
        "customer_id": text,
        "city": text,
        "revenue": {"type": "number", "minimum": REVENUES.start(), "maximum": REVENUES.end()},
        "timestamp": optional(json!({"type": "integer", "minimum": first, "maximum": last, "description": "Unix seconds; now unless given"})),
        "num_recommendations": optional(k.clone()),
        "exclude_purchased": told(&flag, "leave out what the customer bought in training"),
        "exclude": told(&texts, "products that are not returned, pinned or not"),
        "allow": told(&texts, "only these products are returned; an empty list allows none"),
        "categories": told(&texts, "only products of these categories are returned"),
        "available_only": told(&flag, "only products that the catalogue has as available"),
        "category_cap": optional(json!({
            "type": "integer", "minimum": 1, "maximum": MAX_RECOMMENDATIONS,
            "description": "most products of a category in the list; pinned ones count first, those without a category do not",
        })),
        "boost": optional(json!({
            "type": "object", "maxProperties": MAX_LIST, "propertyNames": {"maxLength": MAX_TEXT_CHARS}, "additionalProperties": amount,
            "description": "product to what is added to its score: of the size of the scores in the answer, which differ from model to popularity",
        })),
        "pin": told(&texts, "first in the list, in this order, as far as the other rules allow them"),
        "explain": told(&flag, "with the parts of each score, what the list comes from, and what of the request was ignored"),
    });
    let requests =
        json!({"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": schema_named("Request")});
    vec![
        ("Events", object(&["events"], &json!({"events": events()}))),
        ("Change", json!({"oneOf": changes(&optional(text.clone()))})),
        ("Request", object(&["customer_id", "city", "revenue"], &request)),
        (
            "Batch",
            object(&["requests"], &json!({"requests": requests, "num_recommendations": optional(k.clone())})),
        ),
        (
            "SimilarRequest",
            object(&["product_id"], &json!({"product_id": text, "num_recommendations": optional(k)})),
        ),
    ]
}

fn events() -> Value {
    let text = json!({"type": "string", "maxLength": MAX_TEXT_CHARS});
    let (first, last) = (TIMESTAMPS.start(), TIMESTAMPS.end());
    let event = json!({
        "customer_id": text, "product_id": text, "outcome": {"enum": Outcome::ALL},
        "timestamp": optional(json!({
            "type": "integer", "minimum": first, "maximum": last, "description": "Unix seconds; now unless given",
        })),
        "model_version": optional(json!({
            "type": "string", "maxLength": MAX_TEXT_CHARS, "description": "as the answer with the list had it",
        })),
        "event_id": optional(json!({
            "type": "string", "maxLength": MAX_TEXT_CHARS, "description": "of the client's choice; with it an event that is sent again is counted once",
        })),
        "city": optional(json!({
            "type": "string", "maxLength": MAX_TEXT_CHARS, "description": "of the request for the list: with it, and revenue, versions are judged by that list",
        })),
        "revenue": optional(json!({"type": "number", "minimum": REVENUES.start(), "maximum": REVENUES.end()})),
        "request_id": optional(json!({
            "type": "string", "maxLength": MAX_TEXT_CHARS, "description": "X-Request-Id of the answer with the list",
        })),
    });
    let event = object(&["customer_id", "product_id", "outcome"], &event);
    json!({"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": event})
}

/// One for each action: what else it needs.
fn changes(why: &Value) -> Vec<Value> {
    let version = json!({"type": "string", "pattern": VERSION});
    let from = json!({"type": ["string", "null"], "pattern": VERSION, "description": "only if this is in production"});
    let share =
        json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1, "description": "of the customers"});
    let of_action = |action: &&str| {
        let mut members = json!({"action": {"const": action}, "why": why});
        let required: &[&str] = match *action {
            "promote" | "shadow" => &["action", "version"],
            "canary" => &["action", "version", "share"],
            _ => &["action"],
        };
        for (name, schema) in [("version", &version), ("share", &share)] {
            if required.contains(&name) {
                members[name] = schema.clone();
            }
        }
        if *action == "rollback" {
            members["from"] = from.clone();
        }
        object(required, &members)
    };
    ACTIONS.iter().map(of_action).collect()
}

fn answered() -> Vec<(&'static str, Value)> {
    let (text, number, whole) =
        (json!({"type": "string"}), json!({"type": "number"}), json!({"type": "integer", "minimum": 0}));
    let reasons = ["model", "features_only", "segment", "popularity", "pinned", "repeat"];
    let sources = &reasons[..4];
    let parts = json!({
        "source": {"enum": sources}, "base": number, "repeat": number, "boost": number, "popularity": whole, "bought": whole,
    });
    let parts = object(&["source", "base", "repeat", "boost", "popularity", "bought"], &parts);
    let item = json!({
        "product_id": text, "score": number, "rank": {"type": "integer", "minimum": 1}, "reason": {"enum": reasons},
        "explain": parts,
    });
    let items = json!({
        "type": "array", "maxItems": MAX_RECOMMENDATIONS,
        "items": object(&["product_id", "score", "rank", "reason"], &item),
    });
    let ignored = json!({"field": text, "value": text, "why": {"enum": ["unknown", "filtered", "no_room", "repeated"]}});
    let ignored = json!({"type": "array", "items": object(&["field", "value", "why"], &ignored)});
    let explain = object(&["source", "ignored"], &json!({"source": {"enum": sources}, "ignored": ignored}));
    let shortfall = json!({"asked": whole, "passed": whole, "detail": text});
    let shortfall = object(&["asked", "passed", "detail"], &shortfall);
    let answer = json!({
        "recommendations": items, "model_version": text, "inference_time_ms": number, "total_products": whole,
        "shortfall": shortfall, "explain": explain,
    });
    let result = json!({
        "customer_id": text, "recommendations": items, "inference_time_ms": number, "shortfall": shortfall, "explain": explain,
        "model_version": {"type": "string", "description": "where a version on trial answered instead of the batch's"},
    });
    let result = object(&["customer_id", "recommendations", "inference_time_ms"], &result);
    let batch = json!({
        "results": {"type": "array", "items": result}, "batch_size": whole, "total_inference_time_ms": number,
        "avg_inference_time_ms": number, "model_version": text, "processing_mode": {"const": "vectorised"},
    });
    let batch_members = [
        "results",
        "batch_size",
        "total_inference_time_ms",
        "avg_inference_time_ms",
        "model_version",
        "processing_mode",
    ];
    let similar = json!({"product_id": text, "score": number, "rank": {"type": "integer", "minimum": 1}});
    let similar = json!({"type": "array", "items": object(&["product_id", "score", "rank"], &similar)});
    let similar_answer = json!({
        "product_id": text, "similar": similar, "model_version": text, "inference_time_ms": number, "total_products": whole,
    });
    let similar_members = ["product_id", "similar", "model_version", "inference_time_ms", "total_products"];
    let answer_members = ["recommendations", "model_version", "inference_time_ms", "total_products"];
    let mut all = vec![
        ("Answer", object(&answer_members, &answer)),
        ("BatchAnswer", object(&batch_members, &batch)),
        ("SimilarAnswer", object(&similar_members, &similar_answer)),
    ];
    all.extend(described());
    all
}

fn monitoring() -> Value {
    let (text, number, whole) =
        (json!({"type": "string"}), json!({"type": "number"}), json!({"type": "integer", "minimum": 0}));
    let maybe = json!({"type": ["number", "null"]});
    let of_members = |members: &Value| {
        let names: Vec<&str> =
            members.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        object(&names, members)
    };
    let map_of = |value: &Value| json!({"type": "object", "additionalProperties": value});
    let traffic = of_members(&json!({
        "seconds": number, "requests": whole, "failed": whole, "error_rate": number, "p50_ms": maybe, "p95_ms": maybe,
        "p99_ms": maybe,
    }));
    let served = of_members(&json!({
        "model_version": text, "lists": whole, "sources": map_of(&whole), "short": whole, "coverage": maybe,
        "personalisation": maybe, "input_drift": map_of(&number), "score_drift": maybe,
    }));
    let served = json!({"anyOf": [served, {"type": "null"}]});
    let rate = of_members(&json!({"rate": number, "low": number, "high": number}));
    let rate = json!({"anyOf": [rate, {"type": "null"}]});
    let outcomes = of_members(&json!({
        "shown": whole, "clicked": whole, "bought": whole, "click_rate": rate, "purchase_rate": rate, "judged": whole,
        "recall_at_10": rate, "recall_at_100": rate,
    }));
    let alert = of_members(&json!({
        "tenant": text, "rule": text, "state": {"enum": ["firing", "resolved"]}, "value": number, "limit": number, "text": text,
        "at": text,
    }));
    of_members(&json!({
        "traffic": traffic, "served": served, "canary": served, "predictions_kept": whole,
        "predictions_lost": whole, "outcomes": map_of(&outcomes), "alerts": {"type": "array", "items": alert},
    }))
}

fn described() -> Vec<(&'static str, Value)> {
    let (text, whole) = (json!({"type": "string"}), json!({"type": "integer", "minimum": 0}));
    let health = json!({
        "status": {"enum": ["healthy", "asleep", "no_model"]}, "model_loaded": {"type": "boolean"}, "model_version": {"type": ["string", "null"]},
        "timestamp": {"type": "string", "format": "date-time"}, "max_batch_size": whole,
    });
    let sizes = ["num_users", "num_products", "num_cities", "num_categories", "num_subcategories"];
    let sizes: Map<String, Value> = sizes.iter().map(|name| ((*name).to_owned(), whole.clone())).collect();
    let capabilities = json!({"max_batch_size": whole, "endpoints": {"type": "array", "items": text}});
    let info = json!({
        "model_version": text, "vocabularies": {"type": "object", "properties": sizes}, "hyperparameters": {"type": "object"},
        "performance_metrics": {"type": ["object", "null"]},
        "batch_capabilities": object(&["max_batch_size", "endpoints"], &capabilities),
    });
    let version = json!({"type": ["string", "null"]});
    let canary = object(&["version", "share"], &json!({"version": text, "share": {"type": "number"}}));
    let mut deployment = json!({
        "production": version, "canary": {"anyOf": [canary, {"type": "null"}]}, "shadow": version,
        "previous": {"type": "array", "items": text},
    });
    let deployed = object(&["production", "canary", "shadow", "previous"], &deployment);
    let line =
        json!({"at": text, "who": text, "why": text, "change": {"type": "object"}, "deployment": deployed});
    let line = object(&["at", "who", "why", "change", "deployment"], &line);
    let history = object(&["changes"], &json!({"changes": {"type": "array", "items": line}}));
    deployment["loaded"] = json!({"type": "array", "items": text});
    let deployment = object(&["production", "canary", "shadow", "previous", "loaded"], &deployment);
    let fault = object(&["pointer", "detail"], &json!({"pointer": text, "detail": text}));
    let problem = json!({
        "type": text, "title": text, "status": whole, "detail": text, "instance": text,
        "errors": {"type": "array", "items": fault},
    });
    let info_members =
        ["model_version", "vocabularies", "hyperparameters", "performance_metrics", "batch_capabilities"];
    vec![
        (
            "Health",
            object(&["status", "model_loaded", "model_version", "timestamp", "max_batch_size"], &health),
        ),
        ("ModelInfo", object(&info_members, &info)),
        ("Deployment", deployment),
        ("History", history),
        ("Kept", object(&["kept"], &json!({"kept": whole}))),
        ("Monitoring", monitoring()),
        ("Status", object(&["status"], &json!({"status": text}))),
        ("Problem", object(&["type", "title", "status", "detail"], &problem)),
    ]
}
