//! `/similar`.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::request::{SimilarRequest, parse_similar};
use super::super::router::Served;
use super::super::tenant::Loaded;
use super::{json_response, milliseconds, to_json};
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
    let request = parse_similar(&body)?;
    loaded.charge(&served, 1)?;
    let retriever = loaded.retriever;
    // Two products for each candidate: with the vector, and with itself.
    let fits = retriever.search_cost().saturating_mul(2) <= served.state.config().inline_multiply_adds;
    if fits {
        return answer(&retriever, &request).map(json_response);
    }
    served.state.run(move || answer(&retriever, &request)).await.map(json_response)
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
