//! `/monitoring`: what is known of the tenant's traffic, lists and outcomes.

use super::super::Problem;
use super::super::tenant::Watched;
use super::{json_response, to_json};
use axum::response::Response;

pub(in super::super) async fn monitoring(Watched(monitor): Watched) -> Result<Response, Problem> {
    to_json(&monitor.report()).map(json_response)
}
