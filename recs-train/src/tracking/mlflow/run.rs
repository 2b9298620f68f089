//! A run as the job sees it.

use super::config::MlflowConfig;
use super::entry::{Entry, Outcome, now_ms};
use super::event_log::EventLog;
use super::head::{Head, Paths};
use super::host::MlflowHost;
use super::journal::Journal;
use super::names::{TAG_VALUE_CHARS, clean, cut};
use super::pace::{Pace, Patience};
use super::params::{PARAM_VALUE_CHARS, flatten};
use super::replay::Folder;
use super::report::{Report, STAGE, Tally};
use super::upload::Stores;
use super::worker::{Stop, Worker};
use crate::error::{Error, Result};
use recs_core::artifact::Digest;
use recs_core::observe::{Event, Observer};
use recs_core::store::Store;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Warnings that become tags; `events.jsonl` has the others too.
const WARNING_TAGS: u64 = 20;
/// Longest document; a line of the spool has room for it, whatever JSON makes of it.
const MAX_TEXT_BYTES: usize = 2 << 20;

/// A run in MLflow. As an [`Observer`] it keeps metrics, warnings and the seconds of stages.
///
/// Nothing here waits for the network or the disk: an entry goes into a bounded queue or is dropped and counted. Metrics
/// of the refit ([`Event::Phase`]) are named `refit/…`, since it counts its epochs from 1 as the run before it does.
/// Dropping a run without [`MlflowRun::finish`] ends it as failed and leaves the rest to the background thread.
pub struct MlflowRun {
    queue: mpsc::Sender<Entry>,
    tally: Arc<Tally>,
    stores: Arc<Stores>,
    pub(super) registered_model: Option<String>,
    is_refit: AtomicBool,
    warnings: AtomicU64,
    events: Mutex<EventLog>,
    stop: Mutex<Option<oneshot::Sender<Stop>>>,
    done: Mutex<std_mpsc::Receiver<()>>,
}

impl MlflowRun {
    /// Begins a run: makes its files in the spool folder and starts its thread. The server is asked nothing here; that it
    /// is dead is found out, and mended, in the background. Runs that earlier processes left in the same folder for
    /// the same server are sent too.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Spool`] when the folder cannot be written, [`Error::Tracker`] when no thread can be
    /// started.
    pub fn start(config: &MlflowConfig, host: MlflowHost) -> Result<Self> {
        config.validate()?;
        let warnings = Arc::clone(&host.warnings);
        let folder = Folder::new(config, host, true)?;
        let (key, head) = Head::new(config, &config.url()?);
        let paths = Paths::new(&folder.path, &key);
        let spool = |source| Error::Spool { path: folder.path.clone(), source };
        let journal = Journal::create(&paths.journal, config.spool_bytes).map_err(spool)?;
        head.write(&paths.head, true).map_err(spool)?;
        let tally = Arc::new(Tally::new(&key, paths.journal.clone(), warnings));
        let (queue, entries) = mpsc::channel(config.queue_entries);
        let (stop, stopped) = oneshot::channel();
        let (done, is_done) = std_mpsc::channel();
        let stores = Arc::clone(&folder.stores);
        Worker {
            queue: entries,
            stop: stopped,
            done,
            session: folder.open(&key, paths, head, journal, Arc::clone(&tally)),
            pace: Pace {
                flush: config.flush(),
                longest_wait: config.longest_wait(),
                patience: Patience::Live,
            },
            earlier: folder,
        }
        .start()?;
        Ok(Self {
            queue,
            tally,
            stores,
            registered_model: config.registered_model.clone(),
            is_refit: AtomicBool::new(false),
            warnings: AtomicU64::new(0),
            events: Mutex::default(),
            stop: Mutex::new(Some(stop)),
            done: Mutex::new(is_done),
        })
    }

    /// The server's name of the run, once it has it.
    pub fn run_id(&self) -> Option<String> {
        self.tally.run_id()
    }

    /// What became of the entries so far.
    pub fn report(&self) -> Report {
        self.tally.report()
    }

    /// A point of a curve, at this moment.
    pub fn log_metric(&self, name: &str, step: u64, value: f64) {
        self.offer(Entry::metric(name, step, value));
    }

    /// Every setting as a parameter: `loss.temperature`. Values beyond MLflow's 6000 characters are cut, with a warning.
    /// MLflow never changes a parameter: the same value again is nothing, another one is refused.
    ///
    /// # Errors
    /// [`Error::Config`] when the settings have no JSON form.
    pub fn log_params<T: Serialize>(&self, settings: &T) -> Result<()> {
        for (name, value) in flatten(settings)? {
            let value = self.cut("parameter", &name, value, PARAM_VALUE_CHARS);
            self.offer(Entry::Param { key: clean(&name).into_owned(), value });
        }
        Ok(())
    }

    /// A tag; a later value takes the place of an earlier one. Values beyond 5000 characters are cut, with a warning.
    pub fn set_tag(&self, name: &str, value: impl Into<String>) {
        let value = self.cut("tag", name, value.into(), TAG_VALUE_CHARS);
        self.offer(Entry::Tag { key: clean(name).into_owned(), value });
    }

    /// A document of at most 2 MiB as an artifact; it passes through the spool.
    ///
    /// # Errors
    /// [`Error::Config`] for a path that is not relative and plain, or a longer document.
    pub fn log_text(&self, path: &str, text: impl Into<String>) -> Result<()> {
        check_path(path)?;
        let text = text.into();
        if text.len() > MAX_TEXT_BYTES {
            let (len, at_most) = (text.len(), MAX_TEXT_BYTES);
            return Err(Error::config(
                "text",
                format!("{path} has {len} bytes, at most {at_most}: use log_file"),
            ));
        }
        self.offer(Entry::Text { path: path.into(), text });
        Ok(())
    }

    /// A file as an artifact under `path`, streamed in the background. The spool keeps where the file is, not its bytes:
    /// it must still be there, with this digest, when the server takes it, or it is refused.
    ///
    /// # Errors
    /// [`Error::Config`] for a path that is not relative and plain.
    pub fn log_file(&self, store: &Store, file: &str, path: &str, digest: &Digest) -> Result<()> {
        check_path(path)?;
        self.stores.know(store);
        let (store, file) = (store.url().to_owned(), file.to_owned());
        self.offer(Entry::File { store, file, path: path.into(), digest: digest.clone() });
        Ok(())
    }

    /// Ends the run. Waits until the server has everything, at most for `deadline`; the rest stays on disk for the next
    /// run or [`replay`](super::replay), and the report says so. While the server is well, runs of earlier processes are
    /// waited for too. A second call only reports.
    ///
    /// Blocks: in an async host call it from a blocking thread.
    pub fn finish(&self, outcome: Outcome, deadline: Duration) -> Report {
        // The worker stops a little earlier, so that its answer is in time.
        let for_worker = deadline.saturating_sub(Duration::from_millis(100)).max(deadline / 2);
        if self.stop(outcome, for_worker) {
            let _ = lock(&self.done).recv_timeout(deadline);
        }
        self.tally.report()
    }

    fn stop(&self, outcome: Outcome, deadline: Duration) -> bool {
        let Some(stop) = lock(&self.stop).take() else { return false };
        let events = std::mem::take(&mut *lock(&self.events)).finish();
        let events = events.map(|text| Entry::Text { path: "events.jsonl".into(), text });
        let end = Entry::End { status: outcome, timestamp: now_ms() };
        let last: Vec<Entry> = events.into_iter().chain([end]).collect();
        self.tally.offer(last.len() as u64);
        stop.send(Stop { last, deadline }).is_ok()
    }

    pub(super) fn offer(&self, entry: Entry) {
        self.tally.offer(1);
        if let Err(e) = self.queue.try_send(entry) {
            self.tally.lose(1, || match e {
                mpsc::error::TrySendError::Full(_) => "the queue is full (mlflow.queue_entries)".into(),
                mpsc::error::TrySendError::Closed(_) => "the run is finished".into(),
            });
        }
    }

    fn cut(&self, what: &str, name: &str, value: String, chars: usize) -> String {
        let (kept, was_cut) = cut(value, chars);
        if was_cut {
            self.tally.warn(format!("{what} {name} is cut to the {chars} characters that MLflow takes"));
        }
        kept
    }
}

impl Observer for MlflowRun {
    fn on_event(&self, event: &Event) {
        match event {
            Event::Metric { name, step, value } => {
                let name = if self.is_refit.load(Relaxed) {
                    Cow::Owned(format!("refit/{name}"))
                } else {
                    Cow::Borrowed(&**name)
                };
                self.offer(Entry::metric(&name, *step, *value));
            }
            Event::Trial { number, rung, score: Some(score), .. } => {
                self.offer(Entry::metric(&format!("rung_{rung}/score"), *number, *score));
            }
            Event::Phase { stage: "train", phase } => self.is_refit.store(*phase == "refit", Relaxed),
            Event::Warning { stage, message } if *stage != STAGE => {
                lock(&self.events).push(event);
                let n = self.warnings.fetch_add(1, Relaxed) + 1;
                if n <= WARNING_TAGS {
                    let (value, _) = cut(format!("{stage}: {message}"), TAG_VALUE_CHARS);
                    self.offer(Entry::Tag { key: format!("recs.warning.{n:02}"), value });
                }
            }
            Event::Finished { .. } => lock(&self.events).push(event),
            _ => {}
        }
    }
}

impl Drop for MlflowRun {
    fn drop(&mut self) {
        self.stop(Outcome::Failed, Duration::from_secs(30));
    }
}

impl fmt::Debug for MlflowRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MlflowRun").field("report", &self.tally.report()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check_path(path: &str) -> Result<()> {
    if !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return Ok(());
    }
    Err(Error::config(
        "path",
        format!("{path:?} is no plain relative path of an artifact, e.g. plots/loss.json"),
    ))
}
