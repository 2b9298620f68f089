//! Who may act for which tenant.

use axum::http::HeaderMap;
use recs_core::tenant::TenantId;
use std::sync::Arc;

/// How requests are admitted.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Everybody may do everything. Only for a server that is bound to a loopback address, or behind a proxy that checks.
    Open,
    /// A gate decides for each request.
    Gate(Arc<dyn Gate>),
}

/// Decides which tenant a request may act for.
///
/// The host implements it; the router calls it once for each request to a tenant's routes, before anything of the tenant
/// is looked at. `/livez` and `/readyz` without a tenant are not gated, so that probes need no key. An implementation
/// compares secrets in constant time, is quick (it runs on the async threads), and does not panic.
pub trait Gate: Send + Sync + std::fmt::Debug {
    /// The tenant to act for. `asked` is the tenant in the path; None for the routes without one, where the answer is the
    /// tenant of the key, or `default`, the router's own.
    ///
    /// # Errors
    /// [`Refusal`]; the client learns nothing else, least of all whether a tenant exists.
    fn admit(
        &self,
        headers: &HeaderMap,
        asked: Option<&TenantId>,
        default: Option<&TenantId>,
    ) -> Result<TenantId, Refusal>;
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No key, or one that nobody has: 401.
    Unauthenticated,
    /// The key is good, but not for this: answered like a tenant that does not exist, 404.
    NotYours,
}
