//! The thread behind a run: queue -> journal -> server.
//!
//! It owns a runtime of its own, so a host may be synchronous or run on any executor, and nothing of it shares a thread
//! with training. One task moves the queue into the journal, one the journal to the server, one the journals of earlier
//! runs: the first never waits for the other two.

use super::entry::Entry;
use super::journal::Journal;
use super::pace::{Ending, Pace, Patience, end_of};
use super::replay::{Folder, replay_folder};
use super::report::Tally;
use super::session::Session;
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{sleep, sleep_until};

/// Between two looks into the queue.
const GATHER: Duration = Duration::from_millis(20);
/// Entries moved by one write.
const MOVE_AT_ONCE: usize = 4096;

/// The run is over.
pub(super) struct Stop {
    pub(super) last: Vec<Entry>,
    pub(super) deadline: Duration,
}

/// Ends of the channels that a worker reads, and what it works with.
pub(super) struct Worker {
    pub(super) queue: mpsc::Receiver<Entry>,
    pub(super) stop: oneshot::Receiver<Stop>,
    pub(super) done: std_mpsc::Sender<()>,
    pub(super) session: Session,
    pub(super) pace: Pace,
    pub(super) earlier: Folder,
}

impl Worker {
    /// Starts the thread, and waits until it has its runtime.
    pub(super) fn start(self) -> Result<()> {
        let fault = |source| Error::Tracker { what: "the thread of MLflow tracking", source };
        let (ready, is_ready) = std_mpsc::channel();
        // The runtime is made, and dropped, over there: here may be a thread of another one, where it must not be dropped.
        let work = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Err(e) => drop(ready.send(Err(e))),
            Ok(runtime) => {
                drop(ready.send(Ok(())));
                runtime.block_on(self.run());
                // A name that is being looked up must not keep the process.
                runtime.shutdown_background();
            }
        };
        std::thread::Builder::new().name("recs-mlflow".into()).spawn(work).map_err(fault)?;
        let died = |_| std::io::Error::other("it stopped unexpectedly");
        is_ready.recv().map_err(died).flatten().map_err(fault)
    }

    async fn run(self) {
        let Self { mut queue, stop, done, mut session, pace, earlier } = self;
        let (ends, ending) = watch::channel(None);
        let wake = Notify::new();
        let (journal, tally) = (Arc::clone(&session.journal), Arc::clone(&session.tally));
        let keep = async {
            let deadline = keep(&mut queue, stop, &journal, &tally, &wake).await;
            ends.send_replace(Some(end_of(deadline)));
        };
        let send = pace.run(&mut session, &wake, ending.clone());
        let beside = Pace { patience: Patience::Beside, ..pace };
        let replay = replay_folder(&earlier, beside, ending.clone());
        tokio::select! {
            _ = async { tokio::join!(keep, send, replay) } => {}
            () = expired(ending) => {}
        }
        drop(session);
        drop(journal);
        let _ = done.send(());
    }
}

/// Moves the queue into the journal until the run is over; returns how long the rest may take.
async fn keep(
    queue: &mut mpsc::Receiver<Entry>,
    mut stop: oneshot::Receiver<Stop>,
    journal: &Mutex<Journal>,
    tally: &Tally,
    wake: &Notify,
) -> Duration {
    let mut entries = Vec::new();
    let stop = loop {
        tokio::select! {
            biased;
            stop = &mut stop => break stop.ok(),
            _ = queue.recv_many(&mut entries, MOVE_AT_ONCE) => append(journal, &entries, tally, wake),
        }
        if entries.len() < MOVE_AT_ONCE {
            // While nobody listens, an entry costs the job no wake-up of this thread.
            tokio::select! { biased; stop = &mut stop => break stop.ok(), () = sleep(GATHER) => {} }
        }
        entries.clear();
    };
    // What is there now: an observer that goes on talking must not keep the run from ending.
    entries.clear();
    entries.extend((0..queue.len()).map_while(|_| queue.try_recv().ok()));
    let (last, deadline) = stop.map_or((Vec::new(), Duration::ZERO), |stop| (stop.last, stop.deadline));
    entries.extend(last);
    append(journal, &entries, tally, wake);
    let synced = journal.lock().unwrap_or_else(PoisonError::into_inner).sync();
    if let Err(e) = synced {
        tally.warn(format!("the spool is not safe from a power cut: {e}"));
    }
    deadline
}

fn append(journal: &Mutex<Journal>, entries: &[Entry], tally: &Tally, wake: &Notify) {
    let appended = journal.lock().unwrap_or_else(PoisonError::into_inner).append(entries);
    let all = entries.len() as u64;
    match appended {
        Ok(kept) => tally.lose(all - kept as u64, || "the spool is full (mlflow.spool_bytes)".into()),
        Err(e) => tally.lose(all, || format!("the spool cannot be written: {e}")),
    }
    wake.notify_one();
}

async fn expired(mut ending: Ending) {
    let until = ending.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
