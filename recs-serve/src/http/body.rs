//! Content type and bytes of a body.

use super::Problem;
use super::observe::Known;
use super::router::Served;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A body that is declared as plain JSON, within the configured limit; not yet parsed.
pub(super) struct JsonBytes(pub(super) Bytes);

impl FromRequest<Served> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, served: &Served) -> Result<Self, Problem> {
        check_declaration(request.headers())?;
        let known = request.extensions().get::<Arc<Known>>().cloned();
        let body = read(request.into_body(), served.state.config().max_body_bytes).await?;
        if let Some(known) = known {
            known.has_come.store(true, Ordering::Relaxed);
        }
        Ok(Self(body))
    }
}

/// All of a body of at most `most` bytes. Its parts are copied as they come: kept, a part of one byte would hold what it was read into.
async fn read(mut body: Body, most: usize) -> Result<Bytes, Problem> {
    let is_too_large = |bytes: usize| bytes > most;
    if is_too_large(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)) {
        return Err(Problem::too_large(most));
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::malformed("the body ended before its time"))?;
        // Trailers say nothing.
        let Ok(part) = frame.into_data() else { continue };
        if is_too_large(whole.len() + part.len()) {
            return Err(Problem::too_large(most));
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok(part);
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

fn check_declaration(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence =
        declared.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence != "application/json" && !(essence.starts_with("application/") && essence.ends_with("+json")) {
        return Err(Problem::media_type("send the header Content-Type: application/json"));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::media_type("compressed bodies are not read: send the JSON as it is"))
        }
        _ => Ok(()),
    }
}
