//! When the next request is made.

use super::client::Failure;
use super::session::{Session, Step};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

const FIRST_WAIT: Duration = Duration::from_millis(500);
/// What a deadline comes to that no clock can tell: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// When a session with trouble gives up for today; what it did not send stays on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// The run at hand: as long as the job lasts; at its end while there is hope.
    Live,
    /// An earlier run, beside the one at hand: until the job ends.
    Beside,
    /// An earlier run, on demand: while there is hope.
    Replay,
}

/// Set when nothing more comes: until when the rest may be sent.
pub(super) type Ending = watch::Receiver<Option<Instant>>;

/// When a deadline from now on is over.
pub(super) fn end_of(deadline: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(deadline).unwrap_or_else(|| now + FAR)
}

/// How fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) flush: Duration,
    pub(super) longest_wait: Duration,
    pub(super) patience: Patience,
}

impl Pace {
    /// Sends what comes until the run's end is sent, or there is nothing and nothing will come, or patience ends.
    pub(super) async fn run(self, session: &mut Session, wake: &Notify, mut ending: Ending) {
        let mut wait = FIRST_WAIT;
        loop {
            let is_ending = ending.borrow().is_some();
            let step = session.step().await;
            if step.is_ok() {
                session.tally.well_again();
                wait = FIRST_WAIT;
            }
            match step {
                Ok(Step::Ended) => return,
                Ok(Step::Idle) if is_ending => return,
                Ok(Step::Idle) => {
                    tokio::select! { () = wake.notified() => {} _ = ending.wait_for(Option::is_some) => {} }
                    pause(self.flush, &mut ending).await;
                }
                Ok(Step::Sent { is_all: true }) => pause(self.flush, &mut ending).await,
                Ok(Step::Sent { is_all: false }) => {}
                Err(failure) => {
                    session.tally.trouble(failure.reason());
                    if self.gives_up(&failure, is_ending) {
                        return;
                    }
                    wait = self.after(&failure, wait, &mut ending).await;
                }
            }
        }
    }

    fn gives_up(self, failure: &Failure, is_ending: bool) -> bool {
        let is_hopeless = !matches!(failure, Failure::Unreachable { .. });
        match self.patience {
            Patience::Live => is_hopeless && is_ending,
            Patience::Beside => is_hopeless || is_ending,
            Patience::Replay => is_hopeless,
        }
    }

    /// Waits after a failure; how long to wait after the next one.
    async fn after(self, failure: &Failure, wait: Duration, ending: &mut Ending) -> Duration {
        let asked = match failure {
            Failure::Unreachable { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => self.longest_wait,
        };
        if ending.borrow().is_some() {
            sleep(wait.max(asked)).await;
        } else {
            pause(wait.max(asked), ending).await;
            if ending.borrow().is_some() {
                return FIRST_WAIT;
            }
        }
        (wait * 2).min(self.longest_wait)
    }
}

/// Waits, but not at the end.
async fn pause(duration: Duration, ending: &mut Ending) {
    tokio::select! { () = sleep(duration) => {} _ = ending.wait_for(Option::is_some) => {} }
}
