//! Content type and bytes of a body.

use super::Problem;
use super::router::Served;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};

/// A body that is declared as plain JSON, within the configured limit; not yet parsed.
pub(super) struct JsonBytes(pub(super) Bytes);

impl FromRequest<Served> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, served: &Served) -> Result<Self, Problem> {
        check_declaration(request.headers())?;
        match Bytes::from_request(request, served).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::too_large(served.state.config().max_body_bytes))
            }
            Err(_) => Err(Problem::malformed("the body ended before its time")),
        }
    }
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
