//! What happens around every request: an id, a span, counting, a limit on time; room for those that a tenant was admitted for.

use super::held::{Room, bytes_held, hold_until_sent};
use super::router::Served;
use super::slot::Slot;
use super::{Problem, ServeConfig};
use crate::monitor::Monitor;
use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::metrics::gauge::Gauge;
use recs_core::tenant::TenantId;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id of a client is replaced.
const MAX_ID_BYTES: usize = 128;

/// What becomes known of a request while it is answered, and is held until its answer has left.
#[derive(Debug)]
pub(super) struct Known {
    /// Filled by whoever admits it.
    pub(super) tenant: OnceLock<TenantId>,
    /// Its place among those under way: the server's, and the tenant's.
    room: OnceLock<[OwnedSemaphorePermit; 2]>,
    /// Whose answer it is, where room is counted.
    slot: OnceLock<Arc<Slot>>,
    /// Room for its answer: the server's, and the tenant's.
    unsent: OnceLock<[OwnedSemaphorePermit; 2]>,
    /// Filled where a model was asked for: who watches it.
    pub(super) monitor: OnceLock<Arc<Monitor>>,
    pub(super) id: HeaderValue,
    /// Of a single list: its time says how fast the server is.
    pub(super) is_single: AtomicBool,
    /// All of it is here: what takes long from now on is the server's time.
    pub(super) has_come: AtomicBool,
    started: Instant,
    is_counted: AtomicBool,
    in_flight: Gauge,
}

impl Known {
    fn new(in_flight: &Gauge, id: HeaderValue) -> Self {
        in_flight.inc();
        let (tenant, room, slot) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let (unsent, monitor) = (OnceLock::new(), OnceLock::new());
        let [is_single, has_come, is_counted] = std::array::from_fn(|_| AtomicBool::new(false));
        let (started, in_flight) = (Instant::now(), in_flight.clone());
        Self { tenant, room, slot, unsent, monitor, id, is_single, has_come, started, is_counted, in_flight }
    }
}

impl Known {
    /// Tells who watches, once.
    fn count(&self, has_failed: bool) {
        if let Some(monitor) = self.monitor.get()
            && !self.is_counted.swap(true, Ordering::Relaxed)
        {
            let is_single = self.is_single.load(Ordering::Relaxed);
            monitor.count(has_failed, is_single.then(|| self.started.elapsed()));
        }
    }
}

/// Also when the client goes away before the answer: who is too slow for its clients is to be seen.
impl Drop for Known {
    fn drop(&mut self) {
        self.count(false);
        self.in_flight.dec();
    }
}

/// Numbers for requests without an id, and room for those under way.
#[derive(Debug)]
pub(super) struct Traffic {
    next: AtomicU64,
    /// Keyed at random: ids of one client tell nothing of how many others there are.
    keys: [RandomState; 2],
    room: Arc<Semaphore>,
    unsent: Room,
}

impl Traffic {
    pub(super) fn new(config: &ServeConfig) -> Self {
        let room = Arc::new(Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS)));
        let unsent = Room::new(config.max_unsent_bytes);
        Self { next: AtomicU64::new(0), keys: Default::default(), room, unsent }
    }

    /// The client's id if it is plain text of reasonable length, a new one otherwise.
    fn id(&self, request: &Request) -> HeaderValue {
        let is_plain = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=MAX_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_graphic())
        };
        request.headers().get(REQUEST_ID).filter(is_plain).cloned().unwrap_or_else(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let [high, low] = self.keys.each_ref().map(|key| key.hash_one(number));
            let text = format!("{high:016x}{low:016x}");
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("none"))
        })
    }

    /// Takes a place among the requests under way, or says that there is none: nobody waits for room, because a server that is
    /// too slow for its clients does not get faster by keeping them.
    ///
    /// # Errors
    /// 503 when the server or the tenant has as many as it may.
    pub(super) fn take_room(&self, known: &Known, slot: &Arc<Slot>) -> Result<(), Problem> {
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_owned();
        let (Ok(tenants), Ok(own)) = (take(&slot.room), take(&self.room)) else {
            return Err(Problem::overloaded());
        };
        // A request is admitted once; a second place would be given back here.
        let _ = known.room.set([own, tenants]);
        let _ = known.slot.set(Arc::clone(slot));
        Ok(())
    }

    /// Gives the answer room until it is sent, or puts another in its place: who does not read is not to fill the memory.
    fn take_unsent(&self, known: &Known, version: Version, response: Response) -> Response {
        let (bytes, Some(slot)) = (bytes_held(&response, version), known.slot.get()) else { return response };
        if bytes == 0 {
            return response;
        }
        let (Some(tenants), Some(own)) = (slot.unsent.take(bytes), self.unsent.take(bytes)) else {
            return Problem::unread().into_response();
        };
        let _ = known.unsent.set([own, tenants]);
        response
    }
}

/// Wraps every route.
pub(super) async fn observe(State(served): State<Served>, mut request: Request, next: Next) -> Response {
    let (started, state, version) = (Instant::now(), &served.state, request.version());
    let id = state.traffic().id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let known = Arc::new(Known::new(&state.metrics().in_flight, id.clone()));
    // Nothing more to come.
    known.has_come.store(request.body().is_end_stream(), Ordering::Relaxed);
    request.extensions_mut().insert(Arc::clone(&known));
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        route,
        tenant = tracing::field::Empty,
        status = tracing::field::Empty,
    );
    let response = in_time(state.config(), request, next, &known).instrument(span.clone()).await;
    let mut response = state.traffic().take_unsent(&known, version, response);
    let tenant = known.tenant.get();
    if let Some(tenant) = tenant {
        span.record("tenant", tracing::field::display(tenant));
    }
    span.record("status", response.status().as_u16());
    let took = started.elapsed();
    state.metrics().answered(tenant, &route, response.status(), took);
    match response.status().is_client_error() {
        // Who asks what makes no sense, or too much, is no sign of how the server does.
        true => known.is_counted.store(true, Ordering::Relaxed),
        false => known.count(response.status().is_server_error()),
    }
    response.headers_mut().insert(REQUEST_ID, id);
    hold_until_sent(response, version, known)
}

/// Answers in time, or says that it cannot.
async fn in_time(config: &ServeConfig, request: Request, next: Next, known: &Known) -> Response {
    match tokio::time::timeout(config.time_limit(), next.run(request)).await {
        Ok(response) => response,
        Err(_) if known.has_come.load(Ordering::Relaxed) => {
            tracing::error!(limit_ms = config.time_limit_ms, "an answer took too long");
            Problem::too_slow(config.time_limit_ms).into_response()
        }
        Err(_) => Problem::timed_out(config.time_limit_ms).into_response(),
    }
}
