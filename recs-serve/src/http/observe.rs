//! What happens around every request: an id, a span, counting, limits on number and time.

use super::router::Served;
use super::{Problem, ServeConfig};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::metrics::gauge::Gauge;
use recs_core::tenant::TenantId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id of a client is replaced.
const MAX_ID_BYTES: usize = 128;

/// Which tenant a request turned out to be for; filled by whoever admits it.
#[derive(Debug, Clone, Default)]
pub(super) struct ForTenant(pub(super) Arc<OnceLock<TenantId>>);

/// Numbers for requests without an id, and room for those under way.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Different for each process, so that ids do not come twice.
    first: u64,
    next: AtomicU64,
    room: Semaphore,
}

impl Traffic {
    pub(super) fn new(config: &ServeConfig) -> Self {
        let mut random = [0; 8];
        // Without random bytes ids count from 0: still different within the process.
        let _ = getrandom::fill(&mut random);
        let room = Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS));
        Self { first: u64::from_le_bytes(random), next: AtomicU64::new(0), room }
    }

    /// The client's id if it is plain text of reasonable length, a new one otherwise.
    fn id(&self, request: &Request) -> HeaderValue {
        let is_plain = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_graphic())
        };
        request.headers().get(REQUEST_ID).filter(is_plain).cloned().unwrap_or_else(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let text = format!("{:016x}-{number:x}", self.first);
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("none"))
        })
    }
}

/// One request more, until it is dropped: also when the client goes away before the answer.
struct UnderWay<'m>(&'m Gauge);

impl<'m> UnderWay<'m> {
    fn new(gauge: &'m Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Wraps every route.
pub(super) async fn observe(State(served): State<Served>, mut request: Request, next: Next) -> Response {
    let (started, state) = (Instant::now(), &served.state);
    let id = state.traffic().id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let tenant = ForTenant::default();
    request.extensions_mut().insert(tenant.clone());
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        route,
        tenant = tracing::field::Empty,
        status = tracing::field::Empty,
    );
    let under_way = UnderWay::new(&state.metrics().in_flight);
    let mut response = limited(state.config(), state.traffic(), request, next).instrument(span.clone()).await;
    drop(under_way);
    let tenant = tenant.0.get();
    if let Some(tenant) = tenant {
        span.record("tenant", tracing::field::display(tenant));
    }
    span.record("status", response.status().as_u16());
    state.metrics().answered(tenant, &route, response.status(), started.elapsed());
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Answers within the limits, or says that it cannot.
async fn limited(config: &ServeConfig, traffic: &Traffic, request: Request, next: Next) -> Response {
    // Nobody waits for room: a server that is too slow for its clients does not get faster by keeping them.
    let Ok(_room) = traffic.room.try_acquire() else { return Problem::overloaded().into_response() };
    let limit = Duration::from_millis(config.time_limit_ms);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timed_out(config.time_limit_ms).into_response(),
    }
}
