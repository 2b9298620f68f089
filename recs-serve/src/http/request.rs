//! JSON -> requests.
//!
//! Unknown members are refused, null counts as absent, depth is bounded by the parser (128).

use super::fields::{Faults, Members};
use crate::error::{Error, Result};
use crate::retriever::{DEFAULT_K, MAX_BATCH, MAX_BOOST, Request, TIMESTAMPS};
use serde_json::Value;
use std::ops::RangeInclusive;

/// Longest text of a request, in characters (Unicode scalar values).
pub const MAX_TEXT_CHARS: usize = 1024;
/// What a customer may have spent.
pub(super) const REVENUES: RangeInclusive<f64> = 0.0..=f32::MAX as f64;
/// Most elements of a list in a request.
pub const MAX_LIST: usize = 10_000;
/// Largest `num_recommendations`.
pub const MAX_RECOMMENDATIONS: i64 = 100;

/// Reads the body of `/recommend`.
///
/// # Errors
/// [`Error::Malformed`] when it is no JSON, [`Error::Request`] with every fault and its JSON pointer.
///
/// ```
/// use recs_serve::{Error, http::parse_request};
/// let faulty = br#"{"customer_id": "42", "revenue": -1, "colour": "red"}"#;
/// let Err(Error::Request { faults, .. }) = parse_request(faulty) else { panic!() };
/// let pointers: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
/// assert_eq!(pointers, ["/city", "/revenue", "/colour"]);
/// ```
pub fn parse_request(body: &[u8]) -> Result<Request> {
    let mut faults = Faults::default();
    let request = Members::new(parse(body)?, String::new(), &mut faults).and_then(|m| read(m, DEFAULT_K));
    finish(request, faults)
}

/// Reads the body of `/recommend-batch`. A request in it may have its own `num_recommendations`, which goes before that
/// of the batch.
///
/// # Errors
/// As [`parse_request`], pointers of requests beginning with `/requests/{i}`.
pub fn parse_batch(body: &[u8]) -> Result<Vec<Request>> {
    let mut faults = Faults::default();
    let requests = Members::new(parse(body)?, String::new(), &mut faults).and_then(read_batch);
    finish(requests, faults)
}

/// The body of `/similar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimilarRequest {
    /// To which product.
    pub product_id: String,
    /// Products wanted.
    pub k: usize,
}

/// Reads the body of `/similar`.
///
/// # Errors
/// As [`parse_request`].
pub fn parse_similar(body: &[u8]) -> Result<SimilarRequest> {
    let mut faults = Faults::default();
    let request = Members::new(parse(body)?, String::new(), &mut faults).and_then(|mut members| {
        let product_id = members.required_text("product_id", MAX_TEXT_CHARS);
        let k = recommendations(&mut members).unwrap_or(DEFAULT_K);
        members.finish();
        Some(SimilarRequest { product_id: product_id?, k })
    });
    finish(request, faults)
}

pub(super) fn parse(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).map_err(|e| Error::Malformed { reason: e.to_string() })
}

pub(super) fn finish<T>(read: Option<T>, faults: Faults) -> Result<T> {
    faults.into_result()?;
    // Whoever gives nothing has said why.
    read.ok_or(Error::Worker { doing: "reading a request" })
}

fn read_batch(mut members: Members<'_>) -> Option<Vec<Request>> {
    let k = recommendations(&mut members).unwrap_or(DEFAULT_K);
    let requests = list_of(&mut members, "requests", MAX_BATCH, |members| read(members, k));
    members.finish();
    requests
}

/// A member that is a list of 1 to `most` objects.
pub(super) fn list_of<T>(
    members: &mut Members<'_>,
    name: &str,
    most: usize,
    read: impl Fn(Members<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let list = members.require(name)?;
    let at = members.pointer(name);
    match list {
        Value::Array(list) if (1..=most).contains(&list.len()) => {
            let faults = &mut *members.faults;
            let one = |(i, value)| Members::new(value, format!("{at}/{i}"), faults).and_then(&read);
            // One that cannot be read has left a fault; the others are read all the same, so that all faults are found.
            Some(list.into_iter().enumerate().filter_map(one).collect())
        }
        Value::Array(list) => {
            members.faults.push(at, format!("has {} elements, allowed are 1 to {most}", list.len()));
            None
        }
        _ => {
            members.faults.push(at, format!("must be a list of {name}"));
            None
        }
    }
}

/// Reads every member even after a fault, so that all faults are found.
fn read(mut members: Members<'_>, default_k: usize) -> Option<Request> {
    let m = &mut members;
    let customer_id = m.required_text("customer_id", MAX_TEXT_CHARS);
    let city = m.required_text("city", MAX_TEXT_CHARS);
    let revenue = m.required_number("revenue", REVENUES);
    let boosts = -f64::from(MAX_BOOST)..=f64::from(MAX_BOOST);
    let request = Request {
        customer_id: customer_id.unwrap_or_default(),
        city,
        revenue: revenue.map(|x| x as f32),
        timestamp: m.integer("timestamp", TIMESTAMPS, " (Unix seconds)"),
        k: recommendations(m).unwrap_or(default_k),
        exclude_purchased: m.flag("exclude_purchased"),
        exclude: m.texts("exclude", MAX_LIST, MAX_TEXT_CHARS).unwrap_or_default(),
        allow: m.texts("allow", MAX_LIST, MAX_TEXT_CHARS),
        categories: m.texts("categories", MAX_LIST, MAX_TEXT_CHARS),
        available_only: m.flag("available_only"),
        category_cap: m.integer("category_cap", 1..=MAX_RECOMMENDATIONS, "").map(|cap| cap as usize),
        boost: m
            .amounts("boost", MAX_LIST, MAX_TEXT_CHARS, &boosts)
            .into_iter()
            .map(|(id, amount)| (id, amount as f32))
            .collect(),
        pin: m.texts("pin", MAX_LIST, MAX_TEXT_CHARS).unwrap_or_default(),
        explain: m.flag("explain"),
    };
    members.finish();
    Some(request)
}

fn recommendations(members: &mut Members<'_>) -> Option<usize> {
    members.integer("num_recommendations", 1..=MAX_RECOMMENDATIONS, "").map(|k| k as usize)
}
