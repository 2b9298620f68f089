//! `/events`.

use super::super::Problem;
use super::super::body::JsonBytes;
use super::super::events::parse_events;
use super::super::router::Served;
use super::super::tenant::Taking;
use super::{json_response, to_json};
use crate::error::Error;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Kept {
    kept: usize,
}

/// Reads and judges events by the workers; answers when they cannot be lost any more.
pub(in super::super) async fn events(
    State(served): State<Served>,
    Taking { tenant, monitor }: Taking,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let (state, judge) = (served.state.clone(), Arc::clone(&monitor));
    let read = move || {
        let mut events = parse_events(&body, served.state.host().clock.unix_seconds())?;
        judge.judge(&mut events);
        Ok(events)
    };
    let events = match monitor.waits() {
        true => state.run_waiting(read).await?,
        false => state.run(&tenant, read).await?,
    };
    match monitor.keep(&events).await {
        Err(Error::Core(error @ recs_core::Error::Io { .. })) => {
            tracing::error!(%error, "events cannot be kept");
            Err(Problem::store_unavailable())
        }
        kept => {
            kept?;
            to_json(&Kept { kept: events.len() }).map(json_response)
        }
    }
}
