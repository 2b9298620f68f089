//! One run's journal -> the server, in order.

use super::batch::fitting;
use super::client::{Client, Failure};
use super::entry::Entry;
use super::head::{Head, Paths, Progress};
use super::journal::{Journal, Line};
use super::report::Tally;
use super::upload::{Stores, parts, upload};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines looked at for one request.
const LOOK_AHEAD_LINES: usize = 1000;
const LOOK_AHEAD_BYTES: u64 = 1 << 20;

/// A run between its journal and the server.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) stores: Arc<Stores>,
    pub(super) key: String,
    pub(super) paths: Paths,
    pub(super) head: Head,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) tally: Arc<Tally>,
    /// The server was asked whether it has the run.
    pub(super) is_begun: bool,
}

/// What a step did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sent something; `is_all` when it was everything there was.
    Sent { is_all: bool },
    /// Found nothing to send.
    Idle,
    /// Sent the run's end; its files are gone.
    Ended,
}

impl Session {
    /// Sends the next request's worth of entries.
    pub(super) async fn step(&mut self) -> Result<Step, Failure> {
        self.begin().await?;
        let (from, disk) = (self.head.progress.offset, |e: std::io::Error| Failure::blocked(e.to_string()));
        let lines = self.journal().read(from, LOOK_AHEAD_LINES, LOOK_AHEAD_BYTES).map_err(disk)?;
        let Some(first) = lines.first() else { return Ok(Step::Idle) };
        let batched = fitting(lines.iter().map_while(|line| line.entry.as_ref()));
        let last = &lines[batched.max(1) - 1];
        let (end, is_end) = (last.end, matches!(first.entry, Some(Entry::End { .. })));
        let is_all = batched.max(1) == lines.len() && lines.len() < LOOK_AHEAD_LINES;
        if batched > 0 {
            self.send_batch(&lines[..batched]).await?;
        } else {
            self.send_single(first).await?;
        }
        self.head.progress.offset = end;
        if is_end {
            return Ok(self.ended());
        }
        self.save();
        self.shorten();
        Ok(Step::Sent { is_all })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds or makes the run on the server.
    async fn begin(&mut self) -> Result<(), Failure> {
        if self.is_begun {
            return Ok(());
        }
        if let Some(run_id) = self.head.progress.run_id.clone() {
            match self.client.check_active(&run_id).await {
                Err(e) if e.is_missing() => self.lost(&run_id)?,
                known => known?,
            }
        }
        if self.head.progress.run_id.is_none() {
            self.create().await.map_err(wants_a_person)?;
        }
        let progress = &self.head.progress;
        if let (Some(experiment), Some(run)) = (&progress.experiment_id, &progress.run_id) {
            self.tally.found(self.client.url(), experiment, run);
        }
        self.is_begun = true;
        Ok(())
    }

    async fn create(&mut self) -> Result<(), Failure> {
        let experiment = self.client.experiment(&self.head.experiment).await?;
        let run = self.client.start_run(&experiment, &self.key, &self.head).await?;
        let progress = &mut self.head.progress;
        progress.experiment_id = Some(experiment);
        (progress.run_id, progress.artifact_uri) = (Some(run.run_id), Some(run.artifact_uri));
        self.save();
        Ok(())
    }

    /// The server does not know the run: it is another server, or it lost its memory. When we still have everything, the
    /// run is made anew.
    fn lost(&mut self, run_id: &str) -> Result<(), Failure> {
        if self.head.progress.is_shortened {
            return Err(Failure::blocked(format!(
                "{} does not know run {run_id}, of which a part was sent: replay to the server that has it",
                self.client.url()
            )));
        }
        let lines = |from| self.journal().waiting(from).map_or(0, |waiting| waiting.lines);
        self.tally.offer(lines(0) - lines(self.head.progress.offset));
        self.head.progress = Progress::default();
        Ok(())
    }

    fn run_id(&self) -> &str {
        self.head.progress.run_id.as_deref().unwrap_or_default()
    }

    /// Sends a batch; when the server refuses it, its halves, until the entries at fault are alone.
    async fn send_batch(&self, lines: &[Line]) -> Result<(), Failure> {
        let entries: Vec<Entry> = lines.iter().filter_map(|line| line.entry.clone()).collect();
        let (mut todo, mut refused) = (vec![(0, entries.len())], Vec::new());
        while let Some((from, to)) = todo.pop() {
            match self.client.log_batch(self.run_id(), &entries[from..to]).await {
                Ok(()) => {}
                Err(failure @ Failure::Refused { .. }) => {
                    if to - from == entries.len() {
                        // Of a run that was deleted every entry is refused, and wanted again when it is restored.
                        self.client.check_active(self.run_id()).await.map_err(wants_a_person)?;
                    }
                    let middle = from.midpoint(to);
                    match to - from {
                        1 => refused.push((from, failure)),
                        _ => todo.extend([(middle, to), (from, middle)]),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        self.tally.send((entries.len() - refused.len()) as u64);
        for (at, failure) in refused {
            self.tally.refuse(&entries[at].describe(), failure.reason());
        }
        Ok(())
    }

    async fn send_single(&mut self, line: &Line) -> Result<(), Failure> {
        let Some(entry) = &line.entry else {
            self.tally.refuse("a line of the spool", "it is none of ours");
            return Ok(());
        };
        match self.send_entry(entry).await {
            Ok(()) => self.tally.send(1),
            Err(failure @ Failure::Refused { .. }) => {
                let is_file = matches!(entry, Entry::File { .. } | Entry::Text { .. });
                self.head.progress.lacks_files |= is_file;
                self.tally.refuse(&entry.describe(), failure.reason());
            }
            // It holds up everything after it, so people must know what it is.
            Err(failure) => return Err(failure.of(&entry.describe())),
        }
        Ok(())
    }

    async fn send_entry(&self, entry: &Entry) -> Result<(), Failure> {
        let artifacts = self.head.progress.artifact_uri.as_deref().unwrap_or_default();
        match entry {
            Entry::Text { path, text } => {
                let (to, body) = (parts(artifacts, path)?, Bytes::copy_from_slice(text.as_bytes()));
                self.client.put_artifact(&to, body.len() as u64, body.into()).await
            }
            Entry::File { store, file, path, digest } => {
                let to = parts(artifacts, path)?;
                upload(&self.client, &self.stores, (store, file, digest), &to).await
            }
            Entry::Register { model, folder, tags } => {
                if self.head.progress.lacks_files {
                    return Err(Failure::refused("files of the run are missing"));
                }
                let source = format!("{artifacts}/{folder}");
                self.client.register(model, &source, self.run_id(), tags).await.map(drop)
            }
            Entry::End { status, timestamp } => {
                self.client.end_run(self.run_id(), *status, *timestamp).await.map_err(wants_a_person)
            }
            Entry::Metric { .. } | Entry::Param { .. } | Entry::Tag { .. } => Ok(()),
        }
    }

    /// What cannot be kept is sent again after a restart, which changes nothing: so a full disk is no failure.
    fn save(&self) {
        if let Err(e) = self.head.write(&self.paths.head, false) {
            self.tally.warn(format!("{}: {e}", self.paths.head.display()));
        }
    }

    /// Forgets what is sent, now and then, so that the limit counts what the server does not have.
    fn shorten(&mut self) {
        let journal = Arc::clone(&self.journal);
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = self.head.progress.offset;
        if !journal.wants_shortening(sent) {
            return;
        }
        // In this order: dying in between sends everything again, and skips nothing.
        (self.head.progress.offset, self.head.progress.is_shortened) = (0, true);
        let shortened = self.head.write(&self.paths.head, false).and_then(|()| journal.forget(sent));
        if let Err(e) = shortened {
            self.head.progress.offset = sent;
            self.tally.warn(format!("{}: {e}", self.paths.journal.display()));
        }
    }

    fn ended(&self) -> Step {
        if let Err(e) = self.paths.remove() {
            self.tally.warn(format!("{}: {e}; delete it", self.paths.journal.display()));
        }
        Step::Ended
    }
}

/// Without the run nothing can be sent, so a refusal of the run itself must not use up its entries.
fn wants_a_person(failure: Failure) -> Failure {
    match failure {
        Failure::Refused { reason, .. } => Failure::Blocked { reason },
        other => other,
    }
}
