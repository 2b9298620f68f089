//! Requests that come while others are answered, answered together.
//!
//! ```text
//! request -> waiting -> (whoever finds nobody at work has them all answered, and what came meanwhile, until none waits) -> answer
//! ```
//! Nobody waits for company: a request that comes alone is answered alone, as if this was not here. Under load as many are answered together as came
//! while the ones before were.

use super::Problem;
use super::router::Served;
use super::slot::Slot;
use super::tenant::Loaded;
use crate::deploy::{Side, Version};
use crate::retriever::{Recommendations, Request};
use axum::body::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// A request, and what is needed to answer it.
struct Waiting {
    request: Request,
    loaded: Loaded,
    done: oneshot::Sender<Result<Bytes, Problem>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody answers, and looks again before they stop.
    is_at_work: bool,
}

/// Those of one tenant that wait.
#[derive(Default)]
pub(super) struct Together(Mutex<Queue>);

impl std::fmt::Debug for Together {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Together").field("waiting", &self.queue().waiting.len()).finish()
    }
}

/// What turns a list into an answer.
pub(super) type Write =
    fn(&Served, &Loaded, &Request, (&Version, Side), &Recommendations<'_>, Instant) -> Result<Bytes, Problem>;

impl Together {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for whoever is to have them answered.
    fn push(&self, waiting: Waiting) -> bool {
        let mut queue = self.queue();
        queue.waiting.push(waiting);
        !std::mem::replace(&mut queue.is_at_work, true)
    }

    /// Those who wait, at most so many, in the order in which they came; none when there are none left, and then nobody is at work.
    fn take(&self, most: usize) -> Vec<Waiting> {
        let mut queue = self.queue();
        let rest = queue.waiting.len().min(most);
        let rest = queue.waiting.split_off(rest);
        let taken = std::mem::replace(&mut queue.waiting, rest);
        queue.is_at_work = !taken.is_empty();
        taken
    }
}

/// True for a request that has company, where that saves work.
pub(super) fn is_wanted(served: &Served, loaded: &Loaded) -> bool {
    let config = served.state.config();
    config.together > 1 && loaded.version.retriever().gains_together() && loaded.slot.is_shared(config)
}

/// Answers a request together with those that wait.
///
/// # Errors
/// Those of the request alone; 500 when answering panicked.
pub(super) async fn answer(
    served: &Served,
    loaded: Loaded,
    request: Request,
    write: Write,
) -> Result<Bytes, Problem> {
    let (done, answered) = oneshot::channel();
    let slot = Arc::clone(&loaded.slot);
    if slot.together.push(Waiting { request, loaded, done }) {
        // A task of its own: whoever asked may go away.
        tokio::spawn(work(served.clone(), slot, write));
    }
    answered.await.map_err(|_| Problem::internal())?
}

/// Answers until nobody waits.
async fn work(served: Served, slot: Arc<Slot>, write: Write) {
    let mut at_work = AtWork { slot, is_over: false };
    loop {
        let taken = at_work.slot.together.take(served.state.config().together);
        let Some(tenant) = taken.first().map(|waiting| waiting.loaded.tenant.clone()) else {
            // Others may be at work from now on.
            at_work.is_over = true;
            return;
        };
        let job = {
            let served = served.clone();
            move || {
                answer_all(&served, taken, write);
                Ok(())
            }
        };
        // After a panic those who waited see their channel closed.
        let _ = served.state.run(&tenant, job).await;
    }
}

/// A runtime that ends takes its tasks with it: whoever waits is told, and who comes next does not wait for them.
struct AtWork {
    slot: Arc<Slot>,
    is_over: bool,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if !self.is_over {
            *self.slot.together.queue() = Queue::default();
        }
    }
}

fn answer_all(served: &Served, mut taken: Vec<Waiting>, write: Write) {
    // Whoever went away needs no answer.
    taken.retain(|waiting| !waiting.done.is_closed());
    while let Some((version, side)) = taken.first().and_then(Waiting::of) {
        let is_same = |other: &Waiting| {
            other.of().is_some_and(|(other, at)| Arc::ptr_eq(&other, &version) && at == side)
        };
        let (group, others) = taken.into_iter().partition(is_same);
        taken = others;
        answer_group(served, group, (&version, side), write);
    }
}

impl Waiting {
    /// Who answers it.
    fn of(&self) -> Option<(Arc<Version>, Side)> {
        let (version, side) = self.loaded.serving.of(&self.request.customer_id)?;
        Some((Arc::clone(version), side))
    }
}

/// Requests of one version. Where they cannot be answered together each is answered alone: the fault of one is no other's.
fn answer_group(served: &Served, group: Vec<Waiting>, by: (&Version, Side), write: Write) {
    let started = Instant::now();
    let mut requests = Vec::with_capacity(group.len());
    let mut askers = Vec::with_capacity(group.len());
    for Waiting { request, loaded, done } in group {
        requests.push(request);
        askers.push((loaded, done));
    }
    let ((version, _), limit) = (by, served.state.config().time_limit());
    let all =
        || version.answer_together(requests.len(), limit, |retriever| retriever.recommend_batch(&requests));
    let found = match requests.len() {
        1 => None,
        _ => catch_unwind(AssertUnwindSafe(all)).ok().flatten(),
    };
    let mut found = found.map(Vec::into_iter);
    for (request, (loaded, done)) in requests.iter().zip(askers) {
        let answer = || match found.as_mut().and_then(Iterator::next) {
            Some(list) => write(served, &loaded, request, by, &list, started),
            None => {
                let list = version.answer_within(limit, |retriever| retriever.recommend(request))?;
                write(served, &loaded, request, by, &list, started)
            }
        };
        // Without an answer the channel closes, which is a 500.
        if let Ok(answer) = catch_unwind(AssertUnwindSafe(answer)) {
            let _ = done.send(answer);
        }
    }
}
