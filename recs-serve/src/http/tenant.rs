//! Path and key -> the tenant's model.

use super::observe::Known;
use super::router::Served;
use super::slot::Slot;
use super::{Ask, Auth, Problem, Role};
use crate::deploy::{Serving, Side, Version};
use crate::monitor::{Monitor, Prediction};
use crate::registry::Registry;
use crate::retriever::{Recommendations, Request};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use recs_core::tenant::TenantId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An admitted tenant. Probes: not counted against its limits, and answered however much is under way.
pub(super) struct Admitted {
    pub(super) tenant: TenantId,
    pub(super) slot: Arc<Slot>,
}

/// An admitted tenant whose model answers; without one the route answers 503. Counted against its limits.
pub(super) struct Loaded {
    pub(super) tenant: TenantId,
    pub(super) slot: Arc<Slot>,
    pub(super) serving: Arc<Serving>,
    /// In production.
    pub(super) version: Arc<Version>,
    /// Who watches, and the request's id.
    pub(super) watched: Option<(Arc<Monitor>, HeaderValue)>,
}

/// A tenant whose key may change what its servers serve; where nothing can be changed the route answers 404.
pub(super) struct Managed {
    pub(super) slot: Arc<Slot>,
    pub(super) registry: Arc<Registry>,
    /// Whose key it is, for the audit.
    pub(super) who: String,
}

/// A tenant whose events are taken, whether it has a model or not. Counted against its limits.
pub(super) struct Taking {
    pub(super) tenant: TenantId,
    pub(super) monitor: Arc<Monitor>,
}

impl FromRequestParts<Served> for Taking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let Admitted { tenant, slot } = admitted(parts, served, Role::Predict).await?;
        slot.limiter.load().request()?;
        let monitor = slot.monitor.load_full().filter(|monitor| monitor.takes_events());
        let monitor = monitor.ok_or_else(Problem::no_events)?;
        let known = parts.extensions.get::<Arc<Known>>();
        if let Some(known) = known {
            let _ = known.monitor.set(Arc::clone(&monitor));
            served.state.traffic().take_room(known, &slot)?;
        }
        // Versions that made room are to judge, too.
        slot.live.touch();
        if slot.live.serving().production.is_none() {
            woken(&slot, known).await;
        }
        Ok(Self { tenant, monitor })
    }
}

/// A tenant whose key may look at how it does; where nobody watches the route answers 404.
pub(super) struct Watched(pub(super) Arc<Monitor>);

impl FromRequestParts<Served> for Watched {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let Admitted { slot, .. } = admitted(parts, served, Role::Manage).await?;
        slot.limiter.load().request()?;
        slot.monitor.load_full().map(Self).ok_or_else(Problem::unwatched)
    }
}

impl FromRequestParts<Served> for Managed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let Admitted { slot, .. } = admitted(parts, served, Role::Manage).await?;
        slot.limiter.load().request()?;
        if let Some(known) = parts.extensions.get::<Arc<Known>>() {
            served.state.traffic().take_room(known, &slot)?;
        }
        let registry = slot.registry.load_full().ok_or_else(Problem::unmanaged)?;
        let who = served.auth.who(&parts.headers).unwrap_or_else(|| "somebody without a key".into());
        Ok(Self { slot, registry, who })
    }
}

impl FromRequestParts<Served> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        admitted(parts, served, Role::Predict).await
    }
}

async fn admitted(parts: &mut Parts, served: &Served, role: Role) -> Result<Admitted, Problem> {
    let tenant = admit(parts, served, role).await?;
    let slot = served.state.slot(&tenant).ok_or_else(Problem::unknown_tenant)?;
    if let Some(known) = parts.extensions.get::<Arc<Known>>() {
        let _ = known.tenant.set(tenant.clone());
    }
    Ok(Admitted { tenant, slot })
}

impl Admitted {
    /// The model in production, if one is.
    pub(super) fn model(&self) -> Option<Arc<Version>> {
        self.slot.live.serving().production.clone()
    }
}

impl FromRequestParts<Served> for Loaded {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Problem> {
        let admitted = Admitted::from_request_parts(parts, served).await?;
        admitted.slot.limiter.load().request()?;
        let (mut watched, known) = (None, parts.extensions.get::<Arc<Known>>());
        if let Some(known) = known {
            if let Some(monitor) = admitted.slot.monitor.load_full() {
                let _ = known.monitor.set(Arc::clone(&monitor));
                let is_single = parts.uri.path().ends_with("/recommend");
                known.is_single.store(is_single, Ordering::Relaxed);
                watched = Some((monitor, known.id.clone()));
            }
            served.state.traffic().take_room(known, &admitted.slot)?;
        }
        let live = &admitted.slot.live;
        live.touch();
        let mut serving = live.serving();
        if serving.production.is_none() {
            serving = woken(&admitted.slot, known).await;
        }
        let version = serving.production.clone().ok_or_else(Problem::no_model)?;
        Ok(Self { tenant: admitted.tenant, slot: admitted.slot, serving, version, watched })
    }
}

/// What serves when versions that made room are back. That takes the server's time, although the body may still be on its way.
async fn woken(slot: &Slot, known: Option<&Arc<Known>>) -> Arc<Serving> {
    let had_come = known.map(|known| known.has_come.swap(true, Ordering::Relaxed));
    let serving = slot.live.wake().await;
    if let Some((known, had_come)) = known.zip(had_come) {
        known.has_come.store(had_come, Ordering::Relaxed);
    }
    serving
}

impl Loaded {
    /// Counts lists of products against the tenant's quota.
    ///
    /// # Errors
    /// 429 when they are more than are left today.
    pub(super) fn charge(&self, served: &Served, lists: usize) -> Result<(), Problem> {
        self.slot.limiter.load().lists(lists as u64, served.state.host().clock.unix_seconds())
    }
}

impl Loaded {
    /// Keeps a list if it is one of those that are looked at.
    pub(super) fn keep(
        &self,
        (version, side): (&Version, Side),
        request: &Request,
        answer: &Recommendations<'_>,
        (took, now): (Duration, i64),
    ) {
        let Some((monitor, id)) = self.watched.as_ref().filter(|(monitor, _)| monitor.is_sampled()) else {
            return;
        };
        let (at_ms, request_id) = (now.saturating_mul(1000), id.to_str().unwrap_or_default().to_owned());
        monitor.saw(Prediction {
            at_ms,
            request_id,
            took,
            ..Prediction::of((version, side), request, answer)
        });
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
