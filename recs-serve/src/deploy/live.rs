//! What a tenant's requests are answered with, swapped while they come.

use super::Split;
use crate::error::Result;
use crate::retriever::{Request, Retriever};
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Requests that are remembered, the latest.
const RECORDED: usize = 64;
/// Elements of all lists of one that is remembered.
const LONGEST_LISTS: usize = 100;
/// Between two that are remembered.
const RECORD_EVERY: Duration = Duration::from_millis(250);

/// Its versions are where they answer.
const HERE: u8 = 0;
/// They made room for others'.
const ASIDE: u8 = 1;
/// And somebody waits for them.
const CALLED_BACK: u8 = 2;

/// A loaded version, and how it does.
#[derive(Debug)]
pub struct Version {
    retriever: Arc<Retriever>,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Version {
    /// A version that has not answered yet.
    pub fn new(retriever: Arc<Retriever>) -> Self {
        Self { retriever, answered: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// The model.
    pub fn retriever(&self) -> &Arc<Retriever> {
        &self.retriever
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.retriever.metadata().model_version
    }

    /// Requests answered, and requests that it failed at though nothing was wrong with them.
    pub fn counts(&self) -> (u64, u64) {
        (self.answered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Answers, and counts a failure that is not the request's: an error of the model's, or a panic.
    ///
    /// # Errors
    /// Those of `answer`.
    pub fn answer<'v, T>(&'v self, answer: impl FnOnce(&'v Retriever) -> Result<T>) -> Result<T> {
        self.answer_within(Duration::MAX, answer)
    }

    /// As [`Version::answer`]; an answer that took longer than `limit` is a failure too: nobody waited for it.
    ///
    /// # Errors
    /// Those of `answer`.
    pub fn answer_within<'v, T>(
        &'v self,
        limit: Duration,
        answer: impl FnOnce(&'v Retriever) -> Result<T>,
    ) -> Result<T> {
        let (began, mut attempt) = (Instant::now(), Attempt { version: self, has_failed: true });
        let answered = answer(&self.retriever);
        let is_at_fault = answered.as_ref().is_err_and(|error| !error.is_of_request());
        attempt.has_failed = is_at_fault || began.elapsed() > limit;
        answered
    }

    /// Answers several requests at once; None where that fails, and then nothing is counted: each is to be answered alone.
    pub fn answer_together<'v, T>(
        &'v self,
        requests: usize,
        limit: Duration,
        answer: impl FnOnce(&'v Retriever) -> Result<T>,
    ) -> Option<T> {
        let began = Instant::now();
        let answered = answer(&self.retriever).ok()?;
        let counter = if began.elapsed() > limit { &self.failed } else { &self.answered };
        counter.fetch_add(requests as u64, Ordering::Relaxed);
        Some(answered)
    }
}

/// An answer in the making: counted whatever happens.
struct Attempt<'v> {
    version: &'v Version,
    has_failed: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let counter = if self.has_failed { &self.version.failed } else { &self.version.answered };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A version on trial, and whom it answers.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Which.
    pub version: Arc<Version>,
    /// Whom.
    pub split: Split,
}

/// On which side of a trial a customer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Of the version in production.
    Production,
    /// Of the one on trial.
    Canary,
}

/// The versions that answer at one moment. Immutable: a change is another one, swapped in.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// Answers everybody who is not in the trial. None: nobody is answered.
    pub production: Option<Arc<Version>>,
    /// On trial.
    pub canary: Option<Trial>,
    /// Answers beside production, unseen.
    pub shadow: Option<Arc<Version>>,
}

impl Side {
    /// As it stands in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Canary => "canary",
        }
    }
}

impl Serving {
    /// Only this.
    pub fn only(retriever: Arc<Retriever>) -> Self {
        Self { production: Some(Arc::new(Version::new(retriever))), ..Self::default() }
    }

    /// The version that answers a customer. The same customer gets the same one as long as the trial lasts.
    pub fn of(&self, customer_id: &str) -> Option<(&Arc<Version>, Side)> {
        match &self.canary {
            Some(trial) if trial.split.has(customer_id) => Some((&trial.version, Side::Canary)),
            _ => Some((self.production.as_ref()?, Side::Production)),
        }
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.versions().map(|version| version.retriever().bytes()).sum()
    }

    /// All of them.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        let canary = self.canary.as_ref().map(|trial| &trial.version);
        self.production.iter().chain(canary).chain(&self.shadow)
    }
}

/// The place where a tenant's versions are swapped, and some of its requests are remembered to try new ones with.
///
/// A request that began with one version ends with it; a version is freed with the last of its requests.
#[derive(Debug)]
pub struct Live {
    serving: ArcSwap<Serving>,
    began: Instant,
    /// Milliseconds after `began` from which on the next request is remembered.
    record_from: AtomicU64,
    recorded: Mutex<VecDeque<Request>>,
    nudged: Notify,
    /// Microseconds after `began` at which it was asked last.
    used: AtomicU64,
    /// [`HERE`], [`ASIDE`] or [`CALLED_BACK`].
    place: AtomicU8,
    swapped: Notify,
    is_over: AtomicBool,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            serving: ArcSwap::default(),
            began: Instant::now(),
            record_from: AtomicU64::new(0),
            recorded: Mutex::default(),
            nudged: Notify::new(),
            used: AtomicU64::new(0),
            place: AtomicU8::new(HERE),
            swapped: Notify::new(),
            is_over: AtomicBool::new(false),
        }
    }
}

impl Live {
    /// What answers now.
    pub fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// True when some version is in production, or comes back when it is asked for.
    pub fn has_production(&self) -> bool {
        self.serving.load().production.is_some() || self.place.load(Ordering::SeqCst) != HERE
    }

    /// Answers with others from now on; gives back what answered before.
    pub fn swap(&self, serving: Serving) -> Arc<Serving> {
        let answers = serving.production.is_some();
        let before = self.serving.swap(Arc::new(serving));
        if answers {
            self.place.store(HERE, Ordering::SeqCst);
            self.swapped.notify_waiters();
        }
        before
    }

    /// Notes that it is asked: who was not for long makes room for others first.
    pub fn touch(&self) {
        self.used.store(self.began.elapsed().as_micros() as u64, Ordering::Relaxed);
    }

    /// When it was asked last; before that, when it began.
    pub(super) fn used(&self) -> Instant {
        self.began + Duration::from_micros(self.used.load(Ordering::Relaxed))
    }

    /// Answers with nothing until it is asked again. Requests under way end with what they began with.
    pub(super) fn put_aside(&self) {
        // In this order: who finds nothing finds the reason.
        self.place.store(ASIDE, Ordering::SeqCst);
        self.serving.swap(Arc::default());
    }

    /// True while its versions have made room for others': they come back when they are asked for.
    pub fn is_aside(&self) -> bool {
        self.place.load(Ordering::SeqCst) == ASIDE
    }

    /// True when somebody waits for versions that made room.
    pub(super) fn is_called_back(&self) -> bool {
        self.place.load(Ordering::SeqCst) == CALLED_BACK
    }

    /// Ends the waiting for versions that could not come back this time.
    pub(super) fn give_up(&self) {
        let _ = self.place.compare_exchange(CALLED_BACK, ASIDE, Ordering::SeqCst, Ordering::SeqCst);
        self.swapped.notify_waiters();
    }

    /// What answers now; versions that made room are loaded first, by whoever follows the registry: one try. Waits without an end
    /// while nobody follows it.
    pub async fn wake(&self) -> Arc<Serving> {
        let swapped = self.swapped.notified();
        tokio::pin!(swapped);
        // Before the look, so that no swap is missed.
        swapped.as_mut().enable();
        let called = self.place.compare_exchange(ASIDE, CALLED_BACK, Ordering::SeqCst, Ordering::SeqCst);
        let serving = self.serving();
        if serving.production.is_some() || called == Err(HERE) {
            return serving;
        }
        self.nudge();
        swapped.await;
        self.serving()
    }

    /// Serves nothing any more: who follows the registry for it, or watches it, stops.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.serving.swap(Arc::default());
        self.nudge();
        self.swapped.notify_waiters();
    }

    /// True after [`Live::end`].
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Has whoever follows the registry look at once.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    pub(super) async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// Remembers a request that came at `now`, a few a second.
    pub fn record(&self, request: &Request, now: Instant) {
        let at = now.saturating_duration_since(self.began).as_millis() as u64;
        let from = self.record_from.load(Ordering::Relaxed);
        let next = at + RECORD_EVERY.as_millis() as u64;
        let is_due = at >= from
            && self.record_from.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due && is_plain(request) {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.truncate(RECORDED - 1);
            recorded.push_front(request.clone());
        }
    }

    /// What was remembered, the latest first.
    pub fn recorded(&self) -> Vec<Request> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// True for a request that takes little memory: long lists are not remembered.
fn is_plain(request: &Request) -> bool {
    let lists =
        [Some(&request.exclude), request.allow.as_ref(), request.categories.as_ref(), Some(&request.pin)];
    lists.into_iter().flatten().map(Vec::len).sum::<usize>() + request.boost.len() <= LONGEST_LISTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_requests_a_second_are_remembered() {
        let live = Live::default();
        let request = |i: u64| Request { customer_id: i.to_string(), ..Request::default() };
        for i in 0..100_000 {
            live.record(&request(i), live.began + Duration::from_millis(i));
        }
        let recorded = live.recorded();
        assert_eq!((recorded.len(), recorded[0].customer_id.as_str()), (RECORDED, "99750"));
        assert_eq!(recorded[1].customer_id, "99500");
    }
}
