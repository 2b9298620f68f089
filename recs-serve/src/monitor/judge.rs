//! Events as they come: which version they are about, and where every version would have listed what was bought.

use super::{Event, JUDGED_LENGTH, Judged, Monitor, Outcome, locked, outcomes};
use crate::error::{Error, Result};
use crate::retriever::{MAX_BATCH, Request};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Versions whose events are told apart here.
const MAX_KNOWN: usize = 64;

impl Monitor {
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
}
