//! Who may do what for which tenant.

use axum::http::HeaderMap;
use recs_core::tenant::TenantId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How requests are admitted.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Everybody may do everything. Only for a server that is bound to a loopback address, or behind a proxy that checks.
    Open,
    /// A gate decides for each request; [`ApiKeys`](super::ApiKeys) is one.
    Gate(Arc<dyn Gate>),
}

impl Auth {
    pub(super) fn asks_for_keys(&self) -> bool {
        matches!(self, Self::Gate(gate) if gate.asks_for_keys())
    }

    /// Whose key a request came with.
    pub(super) fn who(&self, headers: &HeaderMap) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Gate(gate) => gate.who(headers),
        }
    }

    /// Lets a request in that concerns all tenants.
    pub(super) fn admit_operator(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::Gate(gate) => gate.admit_operator(headers),
        }
    }
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ask for recommendations, send events, look at health and model.
    Predict,
    /// Deploy and roll back.
    Manage,
    /// Look at what concerns all tenants: `/metrics`.
    Operate,
}

/// A request before anything of a tenant is looked at.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct Ask<'r> {
    /// All headers.
    pub headers: &'r HeaderMap,
    /// The tenant in the path; None for the routes without one.
    pub tenant: Option<&'r TenantId>,
    /// The router's own tenant, if it has one.
    pub default: Option<&'r TenantId>,
    /// What the route does.
    pub role: Role,
}

impl<'r> Ask<'r> {
    /// A question; hosts need it to test a gate of theirs.
    pub fn new(
        headers: &'r HeaderMap,
        tenant: Option<&'r TenantId>,
        default: Option<&'r TenantId>,
        role: Role,
    ) -> Self {
        Self { headers, tenant, default, role }
    }
}

/// Decides which tenant a request may act for.
///
/// The host implements it; the router calls it once for each request to a tenant's routes, before anything of the tenant
/// is looked at. `/livez`, `/readyz` and `/openapi.json` without a tenant are not gated, so that probes need no key. An
/// implementation compares secrets in constant time, is quick (it runs on the async threads), and does not panic.
pub trait Gate: Send + Sync + std::fmt::Debug {
    /// The tenant to act for. For the routes without a tenant in the path that is the tenant of the key, or the router's own.
    ///
    /// # Errors
    /// [`Refusal`]; the client learns nothing else, least of all whether a tenant exists.
    fn admit(&self, ask: &Ask<'_>) -> Result<TenantId, Refusal>;

    /// Who an admitted request came from, in words without a secret: for the audit.
    fn who(&self, headers: &HeaderMap) -> Option<String> {
        let _ = headers;
        None
    }

    /// False while everybody is let in, key or not: what `/openapi.json` says.
    fn asks_for_keys(&self) -> bool {
        true
    }

    /// Lets a request in that concerns all tenants ([`Role::Operate`]). Nobody may unless an implementation says so.
    ///
    /// # Errors
    /// [`Refusal`].
    fn admit_operator(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let _ = headers;
        Err(Refusal::Unauthenticated)
    }
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No key, or one that nobody has: 401.
    Unauthenticated,
    /// The key is good, but not for this tenant: answered like a tenant that does not exist, 404.
    NotYours,
    /// The key is good for the tenant, but has not the role: 403.
    Forbidden,
}
