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
//! | `config.rs` | [`MonitorConfig`] |
//! | `rounds.rs` | what is done every so often: [`Monitor::follow`] |
//! | `judge.rs` | events as they come: [`Monitor::judge`] |
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
mod config;
mod event;
mod event_log;
mod judge;
mod mark;
mod outcomes;
mod prediction;
mod prediction_log;
mod rounds;
mod served;
mod sides;
mod spool;
mod traffic;

pub use alerts::AlertConfig;
pub use config::MonitorConfig;
pub use event::{AskedWith, Event, JUDGED_LENGTH, Judged, Outcome};
pub use outcomes::{Outcomes, Rate, VersionOutcomes};
pub use prediction::Prediction;
pub use served::ServedReport;
pub use traffic::TrafficReport;

use crate::deploy::Live;
use crate::error::Result;
use crate::retriever::Host;
use alerts::Alerts;
use event_log::EventLog;
use mark::StoreMark;
use prediction_log::PredictionLog;
use recs_core::notify::{Alert, Notifier};
use recs_core::store::TenantRoot;
use recs_core::tenant::TenantId;
use serde::Serialize;
use sides::Sides;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
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
    /// [`Config`](crate::Error::Config) for settings out of range, [`recs_core::Error::Io`] for a spool that cannot be opened.
    pub fn new(
        root: &TenantRoot,
        live: Arc<Live>,
        host: Host,
        config: MonitorConfig,
        notifiers: Vec<Arc<dyn Notifier>>,
    ) -> Result<Self> {
        config.check()?;
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

    /// Lists that wait for the store.
    pub fn held(&self) -> usize {
        self.predictions.held()
    }
}
