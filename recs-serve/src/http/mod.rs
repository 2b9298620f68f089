//! The HTTP face: a thin skin over retrievers, for one tenant or many.
//!
//! ```text
//! GET  /health /livez /readyz /model-info        POST /recommend /recommend-batch
//! the same under /v1/tenants/{tenant}/...        errors: RFC 9457 problem details
//! ```
//!
//! | file | what |
//! |---|---|
//! | `router.rs` | [`router`]: routes, limits, catching panics |
//! | `state.rs` | [`AppState`]: tenants and their models, swapped under load; [`ServeConfig`] |
//! | `auth.rs` | [`Auth`]: who may act for which tenant |
//! | `tenant.rs` | path and key -> the tenant's model |
//! | `body.rs` | content type and bytes of a body |
//! | `fields.rs` | readers of JSON members that collect every fault with its pointer |
//! | `request.rs` | [`parse_request`], [`parse_batch`]: JSON -> requests |
//! | `error.rs` | [`Problem`]: each failure with its status |
//! | `handlers/` | one file a route |

mod auth;
mod body;
mod error;
mod fields;
mod handlers;
mod request;
mod router;
mod state;
mod tenant;

pub use auth::{Auth, Gate, Refusal};
pub use error::Problem;
pub use request::{MAX_LIST, MAX_RECOMMENDATIONS, MAX_TEXT_BYTES, parse_batch, parse_request};
pub use router::router;
pub use state::{AppState, ServeConfig};
