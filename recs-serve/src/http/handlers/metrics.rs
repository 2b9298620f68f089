//! `/metrics`.

use super::super::Problem;
use super::super::router::Served;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Of all tenants, so only for the operator.
pub(in super::super) async fn metrics(
    State(served): State<Served>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    served.auth.admit_operator(&headers)?;
    let (models, reports) = (served.state.model_bytes(), served.state.reports());
    let mut response = served.state.metrics().text(&models, &reports).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}
