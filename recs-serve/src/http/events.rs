//! The body of `/events`.

use super::fields::{Faults, Members};
use super::request::{MAX_TEXT_CHARS, REVENUES, finish, list_of, parse};
use crate::error::Result;
use crate::monitor::{AskedWith, Event, Outcome};
use crate::retriever::TIMESTAMPS;

/// Events of one request.
pub(super) const MAX_EVENTS: usize = 1000;

/// Reads the body of `/events`, which comes at `now`, in Unix seconds.
///
/// # Errors
/// As [`parse_request`](super::parse_request).
pub fn parse_events(body: &[u8], now: i64) -> Result<Vec<Event>> {
    let mut faults = Faults::default();
    let events = Members::new(parse(body)?, String::new(), &mut faults).and_then(|mut members| {
        let events = list_of(&mut members, "events", MAX_EVENTS, |members| read(members, now));
        members.finish();
        events
    });
    finish(events, faults)
}

fn read(mut members: Members<'_>, now: i64) -> Option<Event> {
    let m = &mut members;
    let customer_id = m.required_text("customer_id", MAX_TEXT_CHARS);
    let product_id = m.required_text("product_id", MAX_TEXT_CHARS);
    let outcome = m.required_text("outcome", MAX_TEXT_CHARS).and_then(|name| {
        let outcome = Outcome::parse(&name);
        if outcome.is_none() {
            let names = Outcome::ALL.map(Outcome::name).join(", ");
            m.refuse("outcome", format!("must be one of {names}"));
        }
        outcome
    });
    let timestamp = m.integer("timestamp", TIMESTAMPS, " (Unix seconds)").unwrap_or(now);
    let model_version = m.optional_text("model_version", MAX_TEXT_CHARS);
    let request_id = m.optional_text("request_id", MAX_TEXT_CHARS);
    let event_id = m.optional_text("event_id", MAX_TEXT_CHARS);
    let city = m.optional_text("city", MAX_TEXT_CHARS);
    let revenue = m.optional_number("revenue", REVENUES).map(|x| x as f32);
    members.finish();
    Some(Event {
        at_ms: timestamp.saturating_mul(1000),
        received_ms: now.saturating_mul(1000),
        customer_id: customer_id?,
        product_id: product_id?,
        outcome: outcome?,
        is_told: model_version.is_some(),
        model_version,
        request_id,
        event_id,
        asked: AskedWith { city, revenue },
        judged: Vec::new(),
    })
}
