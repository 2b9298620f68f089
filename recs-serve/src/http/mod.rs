//! The HTTP face: a thin skin over retrievers, for one tenant or many.
//!
//! ```text
//! GET  /health /livez /readyz /model-info /deployment /deployment/history /monitoring /metrics /openapi.json
//! POST /recommend /recommend-batch /similar /events /deployment
//! the same under /v1/tenants/{tenant}/...        errors: RFC 9457 problem details
//! ```
//!
//! | file | what |
//! |---|---|
//! | `router.rs` | [`router`]: routes, limits, catching panics |
//! | `config.rs` | [`ServeConfig`] |
//! | `state.rs`, `slot.rs` | [`AppState`]: tenants, and what belongs to each; models are swapped under load |
//! | `auth.rs` | [`Auth`], [`Gate`]: who may do what for which tenant |
//! | `json.rs` | lists of products as JSON |
//! | `keys.rs` | [`ApiKeys`]: a gate of random keys, kept as hashes |
//! | `key_log.rs` | [`KeyLog`]: records of keys in the store |
//! | `key_ring.rs` | [`KeyRing`]: the keys of several logs, followed while a server runs |
//! | `limit.rs` | [`TenantLimits`]: requests a second and lists a day |
//! | `observe.rs` | around every request: id, span, counting, limits on number and time |
//! | `metrics.rs` | what is counted, as Prometheus text |
//! | `metrics_watched.rs` | what monitors know, as such text |
//! | `openapi.rs` | what `/openapi.json` says |
//! | `server.rs`, `connection.rs` | [`serve`]: connections bounded, timed out and drained |
//! | `held.rs` | what a request holds until its answer has left |
//! | `events.rs` | JSON -> events |
//! | `shadow.rs` | a version that answers beside production, unseen |
//! | `together.rs` | requests that come at the same time, answered in less work |
//! | `tenant.rs` | path and key -> the tenant's model |
//! | `body.rs` | content type and bytes of a body |
//! | `fields.rs` | readers of JSON members that collect every fault with its pointer |
//! | `request.rs` | [`parse_request`], [`parse_batch`], [`parse_similar`]: JSON -> requests |
//! | `change.rs` | JSON -> a change of what serves |
//! | `error.rs` | [`Problem`]: each failure with its status |
//! | `handlers/` | one file a route |

mod auth;
mod body;
mod change;
mod config;
mod connection;
mod error;
mod events;
mod fields;
mod handlers;
mod held;
mod json;
mod key_log;
mod key_ring;
mod keys;
mod limit;
mod metrics;
mod metrics_watched;
mod observe;
mod openapi;
mod remembered_keys;
mod request;
mod router;
mod server;
mod shadow;
mod slot;
mod state;
mod tenant;
mod together;

pub use auth::{Ask, Auth, Gate, Refusal, Role};
#[cfg(feature = "testing")]
pub use change::check_change;
pub use config::ServeConfig;
pub use error::Problem;
pub use events::parse_events;
pub use key_log::KeyLog;
pub use key_ring::{KeyRing, WithoutKeys};
pub use keys::{ApiKeys, KeyRecord, NewKey};
pub use limit::TenantLimits;
pub use request::{
    MAX_LIST, MAX_RECOMMENDATIONS, MAX_TEXT_CHARS, SimilarRequest, parse_batch, parse_request, parse_similar,
};
pub use router::router;
pub use server::{ServerConfig, serve};
pub use state::AppState;
