//! What is done every so often: to look at lists, to write, to compare with limits and to tell people.

use super::sides::Sides;
use super::{CHECKS, Monitor, locked};
use crate::error::{Error, Result};
use futures::future::join_all;
use recs_core::notify::{Alert, Notifier};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest way of an alert.
const PATIENCE: Duration = Duration::from_secs(30);
const GATHER_SECONDS: u64 = 1;

impl Monitor {
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

    /// Gathers, ships and checks until the tenant is removed. `failed` hears what went wrong; it is tried again.
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
}
