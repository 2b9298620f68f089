//! Runs that the server does not have whole, from an earlier process or an earlier outage.

use super::client::Client;
use super::config::MlflowConfig;
use super::entry::{Entry, Outcome, ms};
use super::head::{Head, Paths, keys};
use super::host::MlflowHost;
use super::journal::Journal;
use super::pace::{Ending, Pace, Patience, end_of};
use super::report::{Report, STAGE, Tally};
use super::session::Session;
use super::upload::Stores;
use crate::error::{Error, Result};
use recs_core::observe::{Event, Observer};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

/// An empty file that is older belongs to nobody.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A spool folder and the server that its runs go to.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) limit: u64,
    pub(super) client: Client,
    pub(super) stores: Arc<Stores>,
    pub(super) warnings: Arc<dyn Observer>,
    /// Leaves runs alone that were begun for another server.
    pub(super) only_own: bool,
}

/// Sends what earlier runs left in `config.spool_dir` to `config.tracking_uri`, oldest run first; one report a run. A run
/// whose process died without ending it is ended as [`Outcome::Killed`] at the time of its last entry. Runs that another
/// process is at are left alone. Blocks, at most for `deadline`: in an async host call it from a blocking thread.
///
/// Runs go to `config.tracking_uri` whatever server they were begun for. One that another server has in part is made anew
/// if its file still holds the whole run, and left alone with a problem in its report otherwise.
///
/// # Errors
/// [`Error::Config`], [`Error::Spool`] when the folder cannot be read, [`Error::Tracker`]. A server that does not answer
/// is no error but a problem in the reports.
pub fn replay(config: &MlflowConfig, host: MlflowHost, deadline: Duration) -> Result<Vec<Report>> {
    config.validate()?;
    let folder = Folder::new(config, host, false)?;
    let pace =
        Pace { flush: config.flush(), longest_wait: config.longest_wait(), patience: Patience::Replay };
    // A thread of its own: a runtime must not be started inside another one.
    let work = move || -> std::io::Result<Vec<Report>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let reports = runtime.block_on(replay_until(&folder, pace, deadline));
        runtime.shutdown_background();
        Ok(reports)
    };
    let fault = |source| Error::Tracker { what: "the thread of the replay", source };
    let thread = std::thread::Builder::new().name("recs-mlflow".into()).spawn(work).map_err(fault)?;
    let died = |_| fault(std::io::Error::other("it stopped unexpectedly"));
    thread.join().map_err(died)?.map_err(fault)
}

async fn replay_until(folder: &Folder, pace: Pace, deadline: Duration) -> Vec<Report> {
    let until = end_of(deadline);
    let (_ends, ending) = watch::channel(None);
    let mut reports = Vec::new();
    for key in folder.keys() {
        // Opened also when there is no time left, to count what waits.
        if let Some(mut session) = folder.session(&key) {
            let _ = timeout_at(until, send(&mut session, pace, ending.clone())).await;
            reports.push(session.tally.report());
        }
    }
    reports
}

/// Sends every run of the folder that has no owner.
pub(super) async fn replay_folder(folder: &Folder, pace: Pace, ending: Ending) {
    for key in folder.keys() {
        if let Some(mut session) = folder.session(&key) {
            send(&mut session, pace, ending.clone()).await;
        }
    }
}

async fn send(session: &mut Session, pace: Pace, ending: Ending) {
    pace.run(session, &Notify::new(), ending).await;
}

impl Folder {
    pub(super) fn new(config: &MlflowConfig, host: MlflowHost, only_own: bool) -> Result<Self> {
        let path = config.spool_dir.clone();
        std::fs::create_dir_all(&path).map_err(|source| Error::Spool { path: path.clone(), source })?;
        Ok(Self {
            path,
            limit: config.spool_bytes,
            client: Client::new(config, host.http)?,
            stores: Arc::new(Stores::new(host.store_options)),
            warnings: host.warnings,
            only_own,
        })
    }

    fn keys(&self) -> Vec<String> {
        keys(&self.path).unwrap_or_else(|e| {
            self.warn(&self.path, &e);
            Vec::new()
        })
    }

    fn warn(&self, path: &Path, e: &std::io::Error) {
        let message = format!("{}: {e}; what is in it is not sent", path.display());
        self.warnings.on_event(&Event::Warning { stage: STAGE, message });
    }

    /// A run that nobody is at.
    fn session(&self, key: &str) -> Option<Session> {
        self.take(key).unwrap_or_else(|e| {
            self.warn(&Paths::new(&self.path, key).journal, &e);
            None
        })
    }

    fn take(&self, key: &str) -> std::io::Result<Option<Session>> {
        let paths = Paths::new(&self.path, key);
        // Opening a journal cuts off half a line: the head says beforehand that it is one of ours.
        let Some(_) = found(Head::read(&paths.head))? else {
            return self.without_head(&paths).map(|()| None);
        };
        let Some(changed) = found(last_change(&paths.journal))? else { return Ok(None) };
        let Some(mut journal) = found(Journal::open(&paths.journal, self.limit))?.flatten() else {
            return Ok(None);
        };
        // Another process may have sent a part in between, or all.
        let Some(head) = found(Head::read(&paths.head))? else { return Ok(None) };
        if self.only_own && head.tracking_uri != self.client.url() {
            return Ok(None);
        }
        let mut waiting = journal.waiting(head.progress.offset)?;
        if !waiting.ended {
            let timestamp = ms(changed).max(head.start_time);
            journal.append(&[Entry::End { status: Outcome::Killed, timestamp }])?;
            waiting.lines += 1;
        }
        let tally = Tally::new(key, paths.journal.clone(), Arc::clone(&self.warnings));
        tally.offer(waiting.lines);
        Ok(Some(self.open(key, paths, head, journal, Arc::new(tally))))
    }

    /// The process died before the run began, unless it is just beginning.
    fn without_head(&self, paths: &Paths) -> std::io::Result<()> {
        let Some(file) = found(std::fs::metadata(&paths.journal))? else { return Ok(()) };
        let is_old = file.modified()?.elapsed().is_ok_and(|age| age > ABANDONED);
        if file.len() > 0 || !is_old {
            return Ok(());
        }
        // Nobody who is at it may lose it.
        let journal = found(Journal::open(&paths.journal, self.limit))?.flatten();
        if journal.as_ref().is_some_and(|journal| journal.len() == 0) && !paths.head.exists() {
            found(std::fs::remove_file(&paths.journal))?;
        }
        Ok(())
    }

    /// A session of a run in this folder.
    pub(super) fn open(
        &self,
        key: &str,
        paths: Paths,
        head: Head,
        journal: Journal,
        tally: Arc<Tally>,
    ) -> Session {
        Session {
            client: self.client.clone(),
            stores: Arc::clone(&self.stores),
            key: key.into(),
            paths,
            head,
            journal: Arc::new(Mutex::new(journal)),
            tally,
            is_begun: false,
        }
    }
}

/// None for what another process took away meanwhile.
fn found<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn last_change(path: &Path) -> std::io::Result<SystemTime> {
    std::fs::metadata(path)?.modified()
}
