//! Failures as RFC 9457 problem details.

use super::Refusal;
use crate::error::{Error, Fault};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::num::NonZeroU32;

/// A failure and its status, sent as `application/problem+json`
/// ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
///
/// | status | type | when |
/// |---|---|---|
/// | 400 | `malformed-json` | the body is no JSON |
/// | 401 | `unauthenticated` | no API key, or a wrong one |
/// | 403 | `forbidden` | the key has not the role that the route needs |
/// | 404 | `not-found` | no such route, tenant or product |
/// | 405 | `method-not-allowed` | the route has other methods, listed in `Allow` |
/// | 408 | `timed-out` | sending took longer than the configured limit |
/// | 409 | `conflict` | what serves is not what the change is about: look again |
/// | 413 | `body-too-large` | the body exceeds the configured limit |
/// | 415 | `unsupported-media-type` | the body is not declared as plain JSON |
/// | 422 | `invalid-request`, `beyond-quota` | values break rules: each in `errors`, with its JSON pointer; more lists than the tenant has in a day |
/// | 429 | `rate-limited`, `quota-exhausted` | the tenant's limits; `Retry-After` says when to come back |
/// | 503 | `no-model`, `overloaded`, `too-slow`, `ending`, `store-unavailable` | the tenant has no model yet; too many requests are under way; answering took longer than the configured limit; the server is about to end; a change of what serves could not be written |
/// | 500 | `internal` | a defect of ours; nothing of it is told, it is logged |
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// `urn:recs:problem:` and the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words, the same each time.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// This occurrence, where it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Every fault of an invalid request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Seconds after which trying again makes sense, sent as `Retry-After`.
    #[serde(skip)]
    pub retry_after_s: Option<NonZeroU32>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let (kind, detail) = (format!("urn:recs:problem:{kind}"), detail.into());
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail,
            instance: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Says when to come back: a second from now at least.
    fn after(self, seconds: u64) -> Self {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
        Self { retry_after_s: NonZeroU32::new(seconds), ..self }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// The one answer for tenants that do not exist and those that are somebody else's.
    pub(super) fn unknown_tenant() -> Self {
        Self::not_found("there is no such tenant here")
    }

    /// Nothing to change: the host serves what it was built with.
    pub(super) fn unmanaged() -> Self {
        Self::not_found("this server does not follow a registry: nothing can be changed here")
    }

    /// Nobody watches what the host serves.
    pub(super) fn unwatched() -> Self {
        Self::not_found("this server does not watch what it serves")
    }

    /// Nobody keeps events here.
    pub(super) fn no_events() -> Self {
        Self::not_found("this server does not take events: it has no folder to keep them in")
    }

    fn conflict(detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }

    /// What answers need is in memory; this one needed the store.
    pub(super) fn store_unavailable() -> Self {
        let detail = "the store, or the disk, does not answer: look whether it was done, and try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "Store unavailable", detail).after(5)
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "this route has other methods: see the header Allow";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    pub(super) fn unauthenticated() -> Self {
        let detail = "send the API key that you were given";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not authenticated", detail)
    }

    pub(super) fn forbidden() -> Self {
        let detail = "the API key is good, but not for this: ask for one with the role that this route needs";
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-json", "Malformed body", detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the body exceeds {limit} bytes: send fewer requests at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large", detail)
    }

    pub(super) fn media_type(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            detail,
        )
    }

    pub(super) fn no_model() -> Self {
        let detail = "no model is loaded yet: try again later";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-model", "No model", detail);
        problem.after(5)
    }

    pub(super) fn ending() -> Self {
        let detail = "this server is about to end: another one answers";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "Ending", detail).after(5)
    }

    pub(super) fn rate_limited(retry_after_s: u64) -> Self {
        let detail = "more requests than this tenant may send: wait as long as Retry-After says";
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", detail);
        problem.after(retry_after_s)
    }

    pub(super) fn quota_exhausted(left: u64, retry_after_s: u64) -> Self {
        let detail = format!(
            "{left} lists of products are left of this tenant's today: the next day begins after Retry-After"
        );
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "quota-exhausted", "Quota exhausted", detail);
        problem.after(retry_after_s)
    }

    /// No waiting helps: more than a whole day's.
    pub(super) fn beyond_quota(lists: u64, limit: u64) -> Self {
        let detail = format!(
            "the request wants {lists} lists of products, this tenant has {limit} a day: send fewer at once"
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "beyond-quota", "Beyond the quota", detail)
    }

    pub(super) fn overloaded() -> Self {
        let detail = "as many requests are under way as the server takes at a time: try again";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail);
        problem.after(1)
    }

    pub(super) fn unread() -> Self {
        let detail =
            "answers that were not read yet take as much memory as they may: read them, then try again";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail);
        problem.after(1)
    }

    pub(super) fn timed_out(limit_ms: u64) -> Self {
        let detail = format!("the request took longer than {limit_ms} ms to be sent: send less at once");
        Self::new(StatusCode::REQUEST_TIMEOUT, "timed-out", "Timed out", detail)
    }

    pub(super) fn too_slow(limit_ms: u64) -> Self {
        let detail =
            format!("the server took longer than {limit_ms} ms to answer: ask for less at once, or later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-slow", "Too slow", detail).after(1)
    }

    pub(super) fn internal() -> Self {
        let detail = "the server failed to answer; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
    }

    fn invalid(errors: Vec<Fault>, unlisted: usize) -> Self {
        let detail = match (errors.len(), unlisted) {
            (1, 0) => "1 value breaks the rules of this route".to_owned(),
            (n, 0) => format!("{n} values break the rules of this route"),
            (n, more) => {
                format!("{} values break the rules of this route, the first {n} are listed", n + more)
            }
        };
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "Invalid request", detail);
        problem.errors = errors;
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated => Self::unauthenticated(),
            Refusal::NotYours => Self::unknown_tenant(),
            Refusal::Forbidden => Self::forbidden(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Request { faults, unlisted } => Self::invalid(faults, unlisted),
            Error::Malformed { reason } => Self::malformed(reason),
            Error::UnknownProduct { product_id } => {
                Self::not_found(format!("product {product_id:?} is not in the catalogue"))
            }
            Error::Registry { reason } => Self::conflict(reason),
            Error::Busy { .. } => Self::overloaded(),
            error @ Error::Remote { .. } => {
                tracing::error!(%error, "a remote index does not answer");
                Self::store_unavailable()
            }
            // What has to be there is not: a disk that was taken away.
            Error::Core(error @ (recs_core::Error::Store { .. } | recs_core::Error::NotFound { .. })) => {
                tracing::error!(%error, "the store does not answer");
                Self::store_unavailable()
            }
            other => {
                tracing::error!(error = %other, "a request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Texts and numbers only: nothing here that JSON cannot hold.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.get()));
        }
        response
    }
}
