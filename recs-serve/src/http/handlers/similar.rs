//! `/similar`.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::request::{SimilarRequest, parse_similar};
use super::super::router::Served;
use super::super::tenant::Loaded;
use super::{INLINE_BODY_BYTES, json_response, milliseconds, to_json};
use crate::retriever::{Retriever, Similar};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Answer<'a> {
    product_id: &'a str,
    similar: &'a [Similar<'a>],
    model_version: &'a str,
    inference_time_ms: f64,
    total_products: usize,
}

/// Answers where it was read when that stays below a millisecond, and by the workers otherwise.
pub(in super::super) async fn similar(
    State(served): State<Served>,
    loaded: Loaded,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    // Two products for each candidate: with the vector, and with itself.
    let cost = loaded.retriever.search_cost().saturating_mul(2);
    let is_small = body.len() <= INLINE_BODY_BYTES && cost <= served.state.config().inline_multiply_adds;
    let state = served.state.clone();
    let job = move || {
        let request = parse_similar(&body)?;
        loaded.charge(&served, 1)?;
        answer(&loaded.retriever, &request)
    };
    if is_small { job() } else { state.run(job).await }.map(json_response)
}

fn answer(retriever: &Retriever, request: &SimilarRequest) -> Result<Bytes, Problem> {
    let started = Instant::now();
    let similar = retriever.similar(&request.product_id, request.k)?;
    to_json(&Answer {
        product_id: &request.product_id,
        similar: &similar,
        model_version: &retriever.metadata().model_version,
        inference_time_ms: milliseconds(started),
        total_products: retriever.products(),
    })
}
