//! Tenants and their models.

use super::limit::{Limiter, TenantLimits};
use super::metrics::Metrics;
use super::observe::Traffic;
use super::slot::Slot;
use super::{Problem, ServeConfig};
use crate::deploy::{Live, Serving};
use crate::error::Result;
use crate::monitor::{Monitor, MonitorReport};
use crate::registry::Registry;
use crate::retriever::{Host, Retriever};
use arc_swap::ArcSwap;
use recs_core::tenant::TenantId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The tenants that a router serves, each with the model loaded for it. Cheap to clone; clones share everything.
///
/// Models are swapped under load: requests that began with the old one end with it, and it is freed with the last of them.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: Host,
    config: ServeConfig,
    tenants: ArcSwap<BTreeMap<TenantId, Arc<Slot>>>,
    metrics: Metrics,
    traffic: Traffic,
    /// The process is about to end.
    retired: AtomicBool,
}

impl AppState {
    /// No tenant but the default one, which has no model yet.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a limit out of range.
    pub fn new(host: Host, config: ServeConfig) -> Result<Self> {
        config.check()?;
        let (default, traffic) = (config.default_tenant.clone(), Traffic::new(&config));
        let (tenants, metrics) = (ArcSwap::default(), Metrics::default());
        let state = Self(Arc::new(Shared {
            host,
            config,
            tenants,
            metrics,
            traffic,
            retired: AtomicBool::new(false),
        }));
        default.iter().for_each(|tenant| state.add(tenant));
        Ok(state)
    }

    /// Makes a tenant known; until it has a model its routes answer 503. Does nothing for one that is known.
    pub fn add(&self, tenant: &TenantId) {
        self.0.tenants.rcu(|tenants| {
            let mut tenants = BTreeMap::clone(tenants);
            tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Slot::new(&self.0.config)));
            tenants
        });
    }

    /// A tenant's, who is added where not known: somebody else may remove it at the same moment.
    fn added(&self, tenant: &TenantId) -> Arc<Slot> {
        loop {
            if let Some(slot) = self.slot(tenant) {
                return slot;
            }
            self.add(tenant);
        }
    }

    /// Forgets a tenant and its model; its routes answer 404, and who follows its registry or watches it stops.
    pub fn remove(&self, tenant: &TenantId) {
        if let Some(slot) = self.slot(tenant) {
            slot.live.end();
        }
        self.0.tenants.rcu(|tenants| {
            let mut tenants = BTreeMap::clone(tenants);
            tenants.remove(tenant);
            tenants
        });
    }

    /// Serves `retriever` and nothing beside it from now on, and gives back what was in production before. Adds a tenant that is not known.
    pub fn swap(&self, tenant: &TenantId, retriever: Arc<Retriever>) -> Option<Arc<Retriever>> {
        let before = self.added(tenant).live.swap(Serving::only(retriever));
        before.production.as_ref().map(|version| Arc::clone(version.retriever()))
    }

    /// Where the versions of a tenant are swapped: what a [`Deployer`](crate::deploy::Deployer) is given. Adds a tenant that is
    /// not known.
    pub fn live(&self, tenant: &TenantId) -> Arc<Live> {
        Arc::clone(&self.added(tenant).live)
    }

    /// Lets keys with the role `manage` change what a tenant's servers serve. Adds a tenant that is not known.
    pub fn manage(&self, tenant: &TenantId, registry: Registry) {
        self.added(tenant).registry.store(Some(Arc::new(registry)));
    }

    /// Has a tenant's requests watched from now on, and its events taken. Adds a tenant that is not known.
    pub fn monitor(&self, tenant: &TenantId, monitor: Arc<Monitor>) {
        self.added(tenant).monitor.store(Some(monitor));
    }

    /// What the loaded versions of each tenant take.
    pub(super) fn model_bytes(&self) -> Vec<(TenantId, u64)> {
        let tenants = self.0.tenants.load();
        tenants.iter().map(|(tenant, slot)| (tenant.clone(), slot.live.serving().bytes())).collect()
    }

    /// What is known of the tenants that are watched.
    pub(super) fn reports(&self) -> Vec<(TenantId, MonitorReport)> {
        let tenants = self.0.tenants.load();
        let report = |(tenant, slot): (&TenantId, &Arc<Slot>)| {
            Some((tenant.clone(), slot.monitor.load().as_ref()?.report()))
        };
        tenants.iter().filter_map(report).collect()
    }

    /// The model that a tenant has in production: None for a tenant that is not known, `Some(None)` for one without a model.
    pub fn model(&self, tenant: &TenantId) -> Option<Option<Arc<Retriever>>> {
        let serving = self.slot(tenant)?.live.serving();
        Some(serving.production.as_ref().map(|version| Arc::clone(version.retriever())))
    }

    /// Limits what a tenant may ask from now on; counting begins anew. Adds a tenant that is not known.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for limits that contradict each other.
    pub fn limit(&self, tenant: &TenantId, limits: TenantLimits) -> Result<()> {
        let limiter = Arc::new(Limiter::new(limits)?);
        self.added(tenant).limiter.store(limiter);
        Ok(())
    }

    pub(super) fn slot(&self, tenant: &TenantId) -> Option<Arc<Slot>> {
        self.0.tenants.load().get(tenant).cloned()
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Counts a failure of something that runs beside the requests, by its name: `recs_background_failures`.
    pub fn background_failed(&self, job: &'static str) {
        self.0.metrics.background_failed(job);
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// The tenants known.
    pub fn tenants(&self) -> Vec<TenantId> {
        self.0.tenants.load().keys().cloned().collect()
    }

    /// Settings.
    pub fn config(&self) -> &ServeConfig {
        &self.0.config
    }

    /// Threads and clock.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Answers `/readyz` with 503 from now on, so that load balancers send nobody any more; everything else is answered as
    /// before. What a host does some seconds before it ends [`serve`](super::serve).
    pub fn retire(&self) {
        self.0.retired.store(true, Ordering::Relaxed);
    }

    /// True after [`AppState::retire`].
    pub fn is_retired(&self) -> bool {
        self.0.retired.load(Ordering::Relaxed)
    }

    /// True once the default tenant has a model, without a default tenant once any has; false again after
    /// [`AppState::retire`].
    pub fn is_ready(&self) -> bool {
        if self.is_retired() {
            return false;
        }
        let tenants = self.0.tenants.load();
        let has_model = |slot: &Arc<Slot>| slot.live.has_production();
        match &self.0.config.default_tenant {
            Some(tenant) => tenants.get(tenant).is_some_and(has_model),
            None => tenants.values().any(has_model),
        }
    }

    /// The time as RFC 3339, to the second.
    pub(super) fn now(&self) -> String {
        let now = jiff::Timestamp::from_second(self.0.host.clock.unix_seconds());
        now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
    }

    /// Runs a job that may wait for others, where nobody waits for its thread. Requests under way bound their number.
    pub(super) async fn run_waiting<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        tokio::task::spawn_blocking(job).await.map_err(|_| Problem::internal())?
    }

    /// Runs a job of a tenant on the workers, when it is its turn, and flattens its failure.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        job: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.0.host.workers.run(Some(tenant), job).await?
    }
}
