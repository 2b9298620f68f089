//! `/similar`.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::request::{SimilarRequest, parse_similar};
use super::super::router::Served;
use super::super::tenant::Loaded;
use super::{INLINE_BODY_BYTES, json_response, milliseconds, to_json};
use crate::deploy::Version;
use crate::retriever::Similar;
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
    let cost = loaded.version.retriever().search_cost().saturating_mul(2);
    let is_small = body.len() <= INLINE_BODY_BYTES && cost <= served.state.config().inline_multiply_adds;
    let (state, tenant) = (served.state.clone(), loaded.tenant.clone());
    let waits = loaded.version.retriever().waits();
    let job = move || {
        let request = parse_similar(&body)?;
        loaded.charge(&served, 1)?;
        answer(&served, &loaded.version, &request)
    };
    match (waits, is_small) {
        (true, _) => state.run_waiting(job).await,
        (false, true) => job(),
        (false, false) => state.run(&tenant, job).await,
    }
    .map(json_response)
}

fn answer(served: &Served, version: &Version, request: &SimilarRequest) -> Result<Bytes, Problem> {
    let (started, retriever) = (Instant::now(), version.retriever());
    let similar = version.answer_within(served.state.config().time_limit(), |retriever| {
        retriever.similar(&request.product_id, request.k)
    })?;
    to_json(&Answer {
        product_id: &request.product_id,
        similar: &similar,
        model_version: version.name(),
        inference_time_ms: milliseconds(started),
        total_products: retriever.products(),
    })
}
