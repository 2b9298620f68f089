//! One file a route.

pub(super) mod deployment;
pub(super) mod events;
pub(super) mod health;
pub(super) mod metrics;
pub(super) mod model_info;
pub(super) mod monitoring;
pub(super) mod recommend;
pub(super) mod similar;

use super::Problem;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

/// A body up to this size is parsed where it was read; its rules cannot be many.
const INLINE_BODY_BYTES: usize = 16 << 10;

/// The bytes of an answer.
///
/// # Errors
/// A 500 for what JSON cannot hold, which would be a defect.
fn to_json(answer: &impl Serialize) -> Result<Bytes, Problem> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|_| Problem::internal())
}

/// 200 with a JSON body.
pub(super) fn json_response(body: Bytes) -> Response {
    json_response_of(Body::from(body))
}

fn json_response_of(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// As [`json_response`], of a body in parts: they are sent one after the other, and never put together.
fn json_parts(parts: Vec<Bytes>) -> Response {
    json_response_of(Body::new(Parts(parts.into())))
}

/// A body whose length is known.
struct Parts(VecDeque<Bytes>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
