//! Path and key -> the tenant's model.

use super::router::Served;
use super::{Ask, Auth, Problem, Role};
use crate::retriever::Retriever;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use recs_core::tenant::TenantId;
use std::sync::Arc;

/// An admitted tenant and its model, if one is loaded.
pub(super) struct Admitted(pub(super) Option<Arc<Retriever>>);

/// The model of an admitted tenant; without one the route answers 503.
pub(super) struct Loaded(pub(super) Arc<Retriever>);

impl FromRequestParts<Served> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let tenant = admit(parts, served, Role::Predict).await?;
        served.state.model(&tenant).map(Self).ok_or_else(Problem::unknown_tenant)
    }
}

impl FromRequestParts<Served> for Loaded {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let Admitted(model) = Admitted::from_request_parts(parts, served).await?;
        model.map(Self).ok_or_else(Problem::no_model)
    }
}

/// Asks the gate.
async fn admit(parts: &mut Parts, served: &Served, role: Role) -> Result<TenantId, Problem> {
    let asked = asked(parts, served).await?;
    let default = served.state.config().default_tenant.as_ref();
    let ask = Ask { headers: &parts.headers, tenant: asked.as_ref(), default, role };
    let tenant = match &served.auth {
        Auth::Open => ask.tenant.or(default).cloned().ok_or_else(Problem::unknown_tenant)?,
        Auth::Gate(gate) => gate.admit(&ask)?,
    };
    // Whatever the gate says: a path names the tenant whose model answers.
    if asked.is_some_and(|asked| asked != tenant) {
        return Err(Problem::unknown_tenant());
    }
    Ok(tenant)
}

/// The tenant in the path; a name that no tenant can have is a tenant that does not exist.
async fn asked(parts: &mut Parts, served: &Served) -> Result<Option<TenantId>, Problem> {
    let params =
        RawPathParams::from_request_parts(parts, served).await.map_err(|_| Problem::unknown_tenant())?;
    let name = params.iter().find(|(name, _)| *name == "tenant").map(|(_, value)| TenantId::new(value));
    name.transpose().map_err(|_| Problem::unknown_tenant())
}
