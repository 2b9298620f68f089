//! What a tenant's servers do, and whether it does them good.
//!
//! ```text
//! /recommend -> a sample -> served lists: coverage, personalisation, drift -> report, alerts -> Notifier
//!                      \--> predictions/served-{date}/*.parquet
//! /events    -> disk -> predictions/events-{date}/*.parquet -> how each version does by what customers did
//! ```
//!
//! | file | what |
//! |---|---|
//! | `traffic.rs` | volume, latencies and failures of the last hour |
//! | `cities.rs` | where customers are, beside where they were in training |
//! | `served.rs` | what the lists of a version are like; drift of inputs and scores against the training |
//! | `sides.rs` | the same of the version in production and of the one on trial |
//! | `alerts.rs` | [`AlertConfig`]: which of it people are told about |
//! | `prediction.rs`, `prediction_log.rs` | lists that were served, sampled, as Parquet |
//! | `mark.rs` | whether the store is there |
//! | `event.rs`, `event_log.rs`, `spool.rs` | [`Event`]s, none of which is lost once it is answered |
//! | `outcomes.rs` | [`Outcomes`]: versions compared by what customers did |

mod alerts;
mod cities;
mod event;
mod event_log;
mod mark;
mod outcomes;
mod prediction;
mod prediction_log;
mod served;
mod sides;
mod spool;
mod traffic;

pub use alerts::AlertConfig;
pub use event::{AskedWith, Event, JUDGED_LENGTH, Judged, Outcome};
pub use outcomes::{Outcomes, Rate, VersionOutcomes};
pub use prediction::Prediction;
pub use served::ServedReport;
pub use traffic::TrafficReport;

use crate::deploy::Live;
use crate::error::{Error, Result};
use crate::retriever::{Host, MAX_BATCH, Request};
use alerts::Alerts;
use event_log::EventLog;
use futures::future::join_all;
use mark::StoreMark;
use prediction_log::PredictionLog;
use recs_core::notify::{Alert, Notifier};
use recs_core::store::TenantRoot;
use recs_core::tenant::TenantId;
use serde::{Deserialize, Serialize};
use sides::Sides;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use traffic::{Traffic, TrafficWindow};

/// Tables of a day, see [`TenantRoot::day_table`].
const PREDICTIONS: &str = "served";
const EVENTS: &str = "events";
/// Sampled lists that wait to be looked at.
const MAX_PENDING: usize = 10_000;
/// Checks whose traffic is remembered: an hour of minutes.
const CHECKS: usize = 60;
/// Longest way of an alert.
const PATIENCE: Duration = Duration::from_secs(30);
const GATHER_SECONDS: u64 = 1;
/// Versions whose events are told apart here.
const MAX_KNOWN: usize = 64;

/// How a tenant is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Share of the lists that are looked at and kept, 0 to 1.
    pub sample: f64,
    /// But at most so many a second: a list of 100 products takes about 2 KiB in the table, so 10 a second all day are 1.7 GB. A day
    /// is a folder, `warehouse/predictions/served-{date}/`, that nothing else refers to: delete those that are old enough.
    pub max_a_second: u32,
    /// Between two times at which what was gathered is written.
    pub ship_seconds: u64,
    /// Between two checks of the limits.
    pub check_seconds: u64,
    /// Bytes of the lists that are held while the store does not answer: the latest. A list of 100 products takes about 5 KiB there.
    pub max_held_bytes: usize,
    /// Lists that coverage, personalisation and drift are told of.
    pub window_lists: usize,
    /// A folder on this machine's disk where events wait for the store; None: events are refused.
    pub spool: Option<PathBuf>,
    /// Events are refused while more wait there.
    pub max_spool_bytes: u64,
    /// Limits beyond which people are told.
    pub alerts: AlertConfig,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            sample: 1.0,
            max_a_second: 10,
            ship_seconds: 60,
            check_seconds: 60,
            max_held_bytes: 32 << 20,
            window_lists: 20_000,
            spool: None,
            max_spool_bytes: 1 << 30,
            alerts: AlertConfig::default(),
        }
    }
}

/// What is known of a tenant's traffic and lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorReport {
    /// Requests of the last hour, or since the server began.
    pub traffic: TrafficReport,
    /// Sampled lists of the version in production; None before the first were looked at.
    pub served: Option<ServedReport>,
    /// And of the one on trial; None where there is none. No alerts are about these.
    pub canary: Option<ServedReport>,
    /// Sampled lists that were kept, since the server began.
    pub predictions_kept: u64,
    /// And that were lost for want of room: more came than could be looked at, or the store does not answer.
    pub predictions_lost: u64,
    /// Versions by what customers did, of the events that came to this server since it began; see [`Outcomes::load`] for all.
    pub outcomes: BTreeMap<String, VersionOutcomes>,
    /// Limits that are broken.
    pub alerts: Vec<Alert>,
}

/// Watches one tenant.
#[derive(Debug)]
pub struct Monitor {
    tenant: TenantId,
    live: Arc<Live>,
    host: Host,
    config: MonitorConfig,
    notifiers: Vec<Arc<dyn Notifier>>,
    began: Instant,
    traffic: Traffic,
    window: Mutex<TrafficWindow>,
    asked: AtomicU64,
    keys: RandomState,
    /// The last place in time that was taken, of `max_a_second` in each second.
    sampled: AtomicU64,
    pending: Mutex<Vec<Prediction>>,
    kept: AtomicU64,
    lost: AtomicU64,
    served: Mutex<Sides>,
    predictions: PredictionLog,
    events: Option<EventLog>,
    outcomes: Mutex<Outcomes>,
    alerts: tokio::sync::Mutex<Alerts>,
    firing: Mutex<Vec<Alert>>,
    /// Versions that served lately, the latest last: events may name others, which are not told apart here.
    known: Mutex<VecDeque<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `2026-01-31` of milliseconds since 1970, UTC.
fn day_of(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_string().chars().take(10).collect()
}

impl Monitor {
    /// Watches what `live` serves. Must be called in a tokio runtime; nothing is written or told before [`Monitor::follow`].
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range, [`recs_core::Error::Io`] for a spool that cannot be opened.
    pub fn new(
        root: &TenantRoot,
        live: Arc<Live>,
        host: Host,
        config: MonitorConfig,
        notifiers: Vec<Arc<dyn Notifier>>,
    ) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.sample) {
            return Err(Error::config("monitor.sample", format!("is {}, allowed are 0 to 1", config.sample)));
        }
        if config.ship_seconds == 0 || config.check_seconds == 0 {
            return Err(Error::config("monitor", "ship_seconds and check_seconds must be at least 1"));
        }
        if ((config.window_lists / 2) as u64) < config.alerts.min_lists {
            let reason = "must be at least twice alerts.min_lists: half a window is always known";
            return Err(Error::config("monitor.window_lists", reason));
        }
        let folder = config.spool.as_ref().map(|folder| folder.join(root.local_name()));
        let mark = Arc::new(StoreMark::new(root, folder.as_deref()));
        let with = (&host.workers, &mark);
        let open = |folder| EventLog::open(folder, root, with, config.max_spool_bytes);
        let events = folder.as_deref().map(open).transpose()?;
        let began = Instant::now();
        let (traffic, mut window) = (Traffic::default(), TrafficWindow::default());
        window.tick(&traffic, Duration::ZERO, CHECKS);
        Ok(Self {
            tenant: root.tenant().clone(),
            predictions: PredictionLog::new(root, with, config.max_held_bytes)?,
            live,
            host,
            config,
            began,
            traffic,
            window: Mutex::new(window),
            asked: AtomicU64::new(0),
            keys: RandomState::new(),
            sampled: AtomicU64::new(0),
            pending: Mutex::default(),
            kept: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            served: Mutex::default(),
            events,
            outcomes: Mutex::default(),
            alerts: tokio::sync::Mutex::new(Alerts::new(notifiers.len())),
            notifiers,
            firing: Mutex::default(),
            known: Mutex::default(),
        })
    }

    /// Counts a request; `took` of one for a single list.
    pub fn count(&self, has_failed: bool, took: Option<Duration>) {
        self.traffic.count(has_failed, took);
    }

    /// Whether the list that is being made is one of the sample: then hand it to [`Monitor::saw`]. Some nanoseconds.
    pub fn is_sampled(&self) -> bool {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        // Not every n-th: clients have their own rhythm.
        let is_drawn = self.config.sample >= 1.0
            || (self.keys.hash_one(number) as f64) < self.config.sample * u64::MAX as f64;
        is_drawn && self.has_place(self.began.elapsed())
    }

    /// Takes the place at this time: there are so many in a second, evenly, so that the first of a second count no more than others.
    fn has_place(&self, now: Duration) -> bool {
        let place = now.as_nanos() * u128::from(self.config.max_a_second) / 1_000_000_000 + 1;
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        self.config.max_a_second == u32::MAX || self.sampled.fetch_max(place, Ordering::Relaxed) < place
    }

    /// A number below `len`, another one each time: where to begin with a batch, whose first rows are often the same.
    pub fn any_of(&self, len: usize) -> usize {
        let drawn = self.keys.hash_one(("batch", self.asked.load(Ordering::Relaxed)));
        ((u128::from(drawn) * len as u128) >> 64) as usize
    }

    /// Takes a list of the sample; nobody waits.
    pub fn saw(&self, prediction: Prediction) {
        let mut pending = locked(&self.pending);
        match pending.len() < MAX_PENDING {
            true => pending.push(prediction),
            false => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Whether events are taken.
    pub fn takes_events(&self) -> bool {
        self.events.is_some()
    }

    /// Says of events whose list they are about, where the client did not, and asks every version that serves where it would have
    /// listed what was bought. A list for each purchase and version: run it on the workers.
    pub fn judge(&self, events: &mut [Event]) {
        let serving = self.live.serving();
        for event in events.iter_mut().filter(|event| event.model_version.is_none()) {
            event.model_version =
                serving.of(&event.customer_id).map(|(version, _)| version.name().to_owned());
        }
        let mut bought: Vec<&mut Event> =
            events.iter_mut().filter(|event| event.outcome == Outcome::Bought).collect();
        for events in bought.chunks_mut(MAX_BATCH) {
            let ask = |event: &&mut Event| Request {
                customer_id: event.customer_id.clone(),
                city: event.asked.city.clone(),
                revenue: event.asked.revenue,
                k: JUDGED_LENGTH,
                ..Request::default()
            };
            let requests: Vec<Request> = events.iter().map(ask).collect();
            for version in serving.versions() {
                // A version that cannot answer is not judged; others see to it that it does not serve for long.
                let judge = || version.retriever().recommend_batch(&requests);
                let Ok(Ok(lists)) = catch_unwind(AssertUnwindSafe(judge)) else { continue };
                for (event, list) in events.iter_mut().zip(lists) {
                    let at = list.items.iter().position(|item| item.product_id == event.product_id);
                    let rank = at.and_then(|at| u32::try_from(at + 1).ok());
                    event.judged.push(Judged { model_version: version.name().to_owned(), rank });
                }
            }
        }
    }

    /// Whether judging waits for others: see [`Retriever::waits`](crate::retriever::Retriever::waits).
    pub fn waits(&self) -> bool {
        self.live.serving().versions().any(|version| version.retriever().waits())
    }

    /// The name under which a version's events are counted here.
    fn known_as(&self, version: &str) -> String {
        let mut known = locked(&self.known);
        for serving in self.live.serving().versions() {
            if known.iter().all(|name| name != serving.name()) {
                known.push_back(serving.name().to_owned());
            }
        }
        while known.len() > MAX_KNOWN {
            known.pop_front();
        }
        if known.iter().any(|name| name == version) { version } else { outcomes::OTHERS }.to_owned()
    }

    /// Keeps events; when it returns they outlive this process and a loss of power.
    ///
    /// # Errors
    /// [`Error::Config`] without a spool, [`Error::Busy`] while there is no room, [`recs_core::Error::Io`].
    pub async fn keep(&self, events: &[Event]) -> Result<()> {
        let Some(log) = &self.events else {
            return Err(Error::config("monitor.spool", "events need a folder to wait in"));
        };
        log.append(events).await?;
        let mut outcomes = locked(&self.outcomes);
        for event in events {
            let model_version = event.model_version.as_ref().map(|version| self.known_as(version));
            outcomes.push(&Event { model_version, ..event.clone() });
        }
        Ok(())
    }

    /// What is known.
    pub fn report(&self) -> MonitorReport {
        let (served, canary) = locked(&self.served).reports();
        MonitorReport {
            traffic: locked(&self.window).report(),
            served,
            canary,
            predictions_kept: self.kept.load(Ordering::Relaxed),
            predictions_lost: self.lost.load(Ordering::Relaxed),
            outcomes: locked(&self.outcomes).report(),
            alerts: locked(&self.firing).clone(),
        }
    }

    /// Looks at the lists that were sampled since the last time, away from those who answer.
    ///
    /// # Errors
    /// Those of a version that cannot answer its own customers, who are asked again a minute later.
    pub async fn gather(self: &Arc<Self>) -> Result<()> {
        let pending = std::mem::take(&mut *locked(&self.pending));
        self.kept.fetch_add(pending.len() as u64, Ordering::Relaxed);
        let serving = self.live.serving();
        if serving.production.is_none() {
            // Known on until it is back.
            self.lost.fetch_add(self.predictions.extend(pending), Ordering::Relaxed);
            return Ok(());
        }
        let sides = locked(&self.served).are_of(&serving);
        if pending.is_empty() && sides == [true; 2] {
            return Ok(());
        }
        let monitor = Arc::clone(self);
        let look = move || {
            // Outside of the lock: others want to know what is known.
            let begun = Sides::begin(&serving, sides, monitor.config.window_lists);
            let done = locked(&monitor.served).look(&serving, begun, &pending);
            monitor.lost.fetch_add(monitor.predictions.extend(pending), Ordering::Relaxed);
            done
        };
        self.host.workers.aside("looking at what was served", look).await
    }

    /// Brings what was gathered to the store; what fails is tried again the next time.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn ship(&self) -> Result<()> {
        let predictions = self.predictions.ship().await;
        if let Some(events) = &self.events {
            events.ship().await?;
        }
        predictions.map(drop)
    }

    /// Ends a time of the traffic, compares what is known with the limits, and tells people what has changed. What could not be
    /// told is told the next time.
    ///
    /// # Errors
    /// [`recs_core::Error::Notify`].
    pub async fn check(&self) -> Result<()> {
        let traffic = {
            let mut window = locked(&self.window);
            window.tick(&self.traffic, self.began.elapsed(), CHECKS);
            window.latest(self.config.alerts.min_requests)
        };
        let served = locked(&self.served).reports().0;
        let now = jiff::Timestamp::from_second(self.host.clock.unix_seconds());
        let at = now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
        let mut alerts = self.alerts.lock().await;
        for alert in alerts.check(&self.config.alerts, (&self.tenant, &at), &traffic, served.as_ref()) {
            tracing::warn!(rule = alert.rule, state = ?alert.state, text = alert.text, tenant = %self.tenant, "alert");
        }
        *locked(&self.firing) = alerts.firing();
        let tell = async |(notifier, waiting): (&Arc<dyn Notifier>, &mut VecDeque<Alert>)| {
            while let Some(alert) = waiting.front() {
                let late = |_| {
                    let reason = format!("no answer within {PATIENCE:?}");
                    recs_core::Error::Notify { by: notifier.name().to_owned(), reason }
                };
                tokio::time::timeout(PATIENCE, notifier.notify(alert)).await.map_err(late).flatten()?;
                waiting.pop_front();
            }
            Ok::<_, Error>(())
        };
        // One that does not listen keeps nothing from the others.
        let told = join_all(self.notifiers.iter().zip(alerts.waiting()).map(tell)).await;
        told.into_iter().collect()
    }

    /// Gathers, ships and checks until the tenant is [removed](Live::end). `failed` hears what went wrong; it is tried again.
    pub async fn follow(self: Arc<Self>, failed: impl Fn(&Error) + Send + Sync) {
        let tell = |done: Result<()>| {
            if let Err(error) = done {
                tracing::error!(%error, tenant = %self.tenant, "monitoring");
                failed(&error);
            }
        };
        let pause = async |seconds: u64| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            !self.live.is_over()
        };
        let gathers = async {
            while pause(GATHER_SECONDS).await {
                tell(self.gather().await);
            }
        };
        let ships = async {
            while pause(self.config.ship_seconds).await {
                tell(self.ship().await);
            }
        };
        let checks = async {
            while pause(self.config.check_seconds).await {
                tell(self.check().await);
            }
        };
        // Side by side: a store that hangs must not keep people from being told.
        tokio::join!(gathers, ships, checks);
        tell(self.finish().await);
    }

    /// Brings everything to the store, before the process ends.
    ///
    /// # Errors
    /// As [`Monitor::ship`].
    pub async fn finish(self: &Arc<Self>) -> Result<()> {
        let gathered = self.gather().await;
        self.ship().await?;
        gathered
    }

    /// Lists that wait for the store.
    pub fn held(&self) -> usize {
        self.predictions.held()
    }
}
