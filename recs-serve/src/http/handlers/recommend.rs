//! `/recommend` and `/recommend-batch`.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::request::{parse_batch, parse_request};
use super::super::router::Served;
use super::super::tenant::Loaded;
use super::{json_response, milliseconds, to_json};
use crate::retriever::{IgnoredValue, Item, Reason, Recommendations, Request, Retriever, Shortfall};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use std::time::Instant;

/// A body up to this size is parsed where it was read; its rules cannot be many.
const INLINE_BODY_BYTES: usize = 16 << 10;

#[derive(Serialize)]
struct Answer<'a> {
    recommendations: &'a [Item<'a>],
    model_version: &'a str,
    inference_time_ms: f64,
    total_products: usize,
    #[serde(flatten)]
    notes: Notes<'a>,
}

#[derive(Serialize)]
struct BatchAnswer<'a> {
    results: Vec<BatchResult<'a>>,
    batch_size: usize,
    total_inference_time_ms: f64,
    avg_inference_time_ms: f64,
    model_version: &'a str,
    processing_mode: &'static str,
}

#[derive(Serialize)]
struct BatchResult<'a> {
    customer_id: &'a str,
    recommendations: &'a [Item<'a>],
    /// The batch's time shared out evenly: all are answered together.
    inference_time_ms: f64,
    #[serde(flatten)]
    notes: Notes<'a>,
}

/// Present only where there is something to say.
#[derive(Serialize)]
struct Notes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shortfall: Option<&'a Shortfall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explanation<'a>>,
}

#[derive(Serialize)]
struct Explanation<'a> {
    source: Reason,
    ignored: &'a [IgnoredValue],
}

impl<'a> Notes<'a> {
    fn of(request: &Request, answer: &'a Recommendations<'a>) -> Self {
        let explanation = || Explanation { source: answer.source, ignored: &answer.ignored };
        Self { shortfall: answer.shortfall.as_ref(), explain: request.explain.then(explanation) }
    }
}

/// Answers where it was read when that stays below a millisecond, and by the workers otherwise.
pub(in super::super) async fn recommend(
    State(served): State<Served>,
    Loaded(retriever): Loaded,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let fits = retriever.search_cost() <= served.state.config().inline_multiply_adds;
    if body.len() > INLINE_BODY_BYTES || !fits {
        let job = move || answer(&retriever, &parse_request(&body)?);
        return served.state.run(job).await.map(json_response);
    }
    let request = parse_request(&body)?;
    if request.category_cap.is_some() {
        // A cap may follow the ranking to its end.
        return served.state.run(move || answer(&retriever, &request)).await.map(json_response);
    }
    answer(&retriever, &request).map(json_response)
}

/// Answers together, by the workers.
pub(in super::super) async fn recommend_batch(
    State(served): State<Served>,
    Loaded(retriever): Loaded,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    served.state.run(move || answer_batch(&retriever, &parse_batch(&body)?)).await.map(json_response)
}

fn answer(retriever: &Retriever, request: &Request) -> Result<Bytes, Problem> {
    let started = Instant::now();
    let found = retriever.recommend(request)?;
    to_json(&Answer {
        recommendations: &found.items,
        model_version: &retriever.metadata().model_version,
        inference_time_ms: milliseconds(started),
        total_products: retriever.products(),
        notes: Notes::of(request, &found),
    })
}

fn answer_batch(retriever: &Retriever, requests: &[Request]) -> Result<Bytes, Problem> {
    let started = Instant::now();
    let found = retriever.recommend_batch(requests)?;
    let total = milliseconds(started);
    let each = total / requests.len().max(1) as f64;
    let result = |(request, answer)| {
        let request: &Request = request;
        let answer: &Recommendations<'_> = answer;
        BatchResult {
            customer_id: &request.customer_id,
            recommendations: &answer.items,
            inference_time_ms: each,
            notes: Notes::of(request, answer),
        }
    };
    to_json(&BatchAnswer {
        results: requests.iter().zip(&found).map(result).collect(),
        batch_size: requests.len(),
        total_inference_time_ms: total,
        avg_inference_time_ms: each,
        model_version: &retriever.metadata().model_version,
        processing_mode: "vectorised",
    })
}
