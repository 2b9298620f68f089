//! One file a route.

pub(super) mod health;
pub(super) mod model_info;
pub(super) mod recommend;
pub(super) mod similar;

use super::Problem;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use std::time::Instant;

/// The bytes of an answer.
///
/// # Errors
/// A 500 for what JSON cannot hold, which would be a defect.
fn to_json(answer: &impl Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|_| Problem::internal())
}

/// 200 with a JSON body.
fn json_response(body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
