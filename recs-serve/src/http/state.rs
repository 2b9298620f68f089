//! Tenants and their models.

use super::Problem;
use super::held::Room;
use super::limit::{Limiter, TenantLimits};
use super::metrics::Metrics;
use super::observe::Traffic;
use super::together::Together;
use crate::deploy::{Live, Serving};
use crate::error::{Error, Result};
use crate::monitor::{Monitor, MonitorReport};
use crate::registry::Registry;
use crate::retriever::{Host, MAX_BATCH, Retriever};
use arc_swap::{ArcSwap, ArcSwapOption};
use recs_core::tenant::TenantId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How the router behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeConfig {
    /// Whose model the routes without a tenant serve; None: they answer 404.
    pub default_tenant: Option<TenantId>,
    /// Largest body, 1 KiB to 1 GiB. A batch of 1000 plain requests has about 150 KiB.
    pub max_body_bytes: usize,
    /// A single request is answered on the thread that read it when looking at the whole catalogue takes at most so many
    /// multiply-adds, and by the workers otherwise. The default stays below a millisecond: one byte each, about 25 in a
    /// nanosecond.
    pub inline_multiply_adds: usize,
    /// So many single requests at most are answered together when they come while others are answered, where that is less work:
    /// where an index reads more than a cache holds. 1: each alone.
    pub together: usize,
    /// Requests to models under way at a time, from admission until the answer has left; one more is answered 503 at once.
    /// Probes and `/metrics` are always answered.
    pub max_in_flight: usize,
    /// As many of them may be one tenant's, so that no tenant takes the room of all others.
    pub max_in_flight_of_tenant: usize,
    /// Bytes of answers that are made and not sent yet: one more is answered 503 instead, so that clients who do not read take no more
    /// memory than this. An answer that is larger by itself takes all of it.
    pub max_unsent_bytes: usize,
    /// As many of them may be one tenant's.
    pub max_unsent_bytes_of_tenant: usize,
    /// Milliseconds from the head of a request to the head of its answer, the body's way included; then 408, or 503 when the body had come.
    pub time_limit_ms: u64,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            default_tenant: None,
            max_body_bytes: 2 << 20,
            inline_multiply_adds: 16_000_000,
            together: 64,
            max_in_flight: 1024,
            max_in_flight_of_tenant: 256,
            max_unsent_bytes: 512 << 20,
            max_unsent_bytes_of_tenant: 128 << 20,
            time_limit_ms: 10_000,
        }
    }
}

impl ServeConfig {
    pub(super) fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }
}

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

/// What belongs to one tenant.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) live: Arc<Live>,
    /// Who watches it.
    pub(super) monitor: ArcSwapOption<Monitor>,
    /// For the routes that change what serves.
    pub(super) registry: ArcSwapOption<Registry>,
    pub(super) limiter: ArcSwap<Limiter>,
    /// For its requests under way.
    pub(super) room: Arc<Semaphore>,
    /// For its answers that are not sent yet.
    pub(super) unsent: Room,
    /// Requests that are answered together.
    pub(super) together: Together,
    shadowed: Mutex<Option<Instant>>,
}

impl Slot {
    fn new(config: &ServeConfig) -> Self {
        let room = config.max_in_flight_of_tenant.min(Semaphore::MAX_PERMITS);
        Self {
            live: Arc::default(),
            monitor: ArcSwapOption::default(),
            registry: ArcSwapOption::default(),
            limiter: ArcSwap::default(),
            room: Arc::new(Semaphore::new(room)),
            unsent: Room::new(config.max_unsent_bytes_of_tenant),
            together: Together::default(),
            shadowed: Mutex::new(None),
        }
    }
}

impl Slot {
    /// True while somebody else's request is under way, beside the one that asks.
    pub(super) fn is_shared(&self, config: &ServeConfig) -> bool {
        let most = config.max_in_flight_of_tenant.min(Semaphore::MAX_PERMITS);
        self.room.available_permits() + 1 < most
    }

    /// True once in `every`, for whoever asks first; somebody who asks at the same moment is told no.
    pub(super) fn shadow_is_due(&self, now: Instant, every: Duration) -> bool {
        let Ok(mut last) = self.shadowed.try_lock() else { return false };
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= every);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

impl AppState {
    /// No tenant but the default one, which has no model yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a limit out of range.
    pub fn new(host: Host, config: ServeConfig) -> Result<Self> {
        if !(1 << 10..=1 << 30).contains(&config.max_body_bytes) {
            let reason = format!("is {}, allowed are 1 KiB to 1 GiB", config.max_body_bytes);
            return Err(Error::config("serve.max_body_bytes", reason));
        }
        if !(1..=MAX_BATCH).contains(&config.together) {
            let reason = format!("is {}, allowed are 1 to {MAX_BATCH}", config.together);
            return Err(Error::config("serve.together", reason));
        }
        if [config.max_in_flight, config.max_in_flight_of_tenant].contains(&0) || config.time_limit_ms == 0 {
            let reason = "max_in_flight, max_in_flight_of_tenant and time_limit_ms must be at least 1";
            return Err(Error::config("serve", reason));
        }
        if [config.max_unsent_bytes, config.max_unsent_bytes_of_tenant].iter().any(|bytes| *bytes < 1 << 20) {
            return Err(Error::config(
                "serve",
                "max_unsent_bytes and max_unsent_bytes_of_tenant must be at least 1 MiB",
            ));
        }
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
        loop {
            if let Some(slot) = self.0.tenants.load().get(tenant) {
                let before = slot.live.swap(Serving::only(retriever));
                return before.production.as_ref().map(|version| Arc::clone(version.retriever()));
            }
            self.add(tenant);
        }
    }

    /// Where the versions of a tenant are swapped: what a [`Deployer`](crate::deploy::Deployer) is given. Adds a tenant that is
    /// not known.
    pub fn live(&self, tenant: &TenantId) -> Arc<Live> {
        loop {
            if let Some(slot) = self.slot(tenant) {
                return Arc::clone(&slot.live);
            }
            self.add(tenant);
        }
    }

    /// Lets keys with the role `manage` change what a tenant's servers serve. Adds a tenant that is not known.
    pub fn manage(&self, tenant: &TenantId, registry: Registry) {
        let registry = Arc::new(registry);
        loop {
            if let Some(slot) = self.slot(tenant) {
                return slot.registry.store(Some(registry));
            }
            self.add(tenant);
        }
    }

    /// Has a tenant's requests watched from now on, and its events taken. Adds a tenant that is not known.
    pub fn monitor(&self, tenant: &TenantId, monitor: Arc<Monitor>) {
        loop {
            if let Some(slot) = self.slot(tenant) {
                return slot.monitor.store(Some(monitor));
            }
            self.add(tenant);
        }
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
    /// [`Error::Config`] for limits that contradict each other.
    pub fn limit(&self, tenant: &TenantId, limits: TenantLimits) -> Result<()> {
        let limiter = Arc::new(Limiter::new(limits)?);
        loop {
            if let Some(slot) = self.slot(tenant) {
                slot.limiter.store(limiter);
                return Ok(());
            }
            self.add(tenant);
        }
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
