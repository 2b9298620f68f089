//! Events: kept on disk before they are answered, brought to the store in batches.

use super::event::{Event, rows};
use super::mark::StoreMark;
use super::spool::Spool;
use crate::error::{Error, Result};
use crate::listed::to_parquet;
use crate::workers::Workers;
use recs_core::store::TenantRoot;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Callers that may wait for the disk.
const MAX_WAITING: usize = 1024;
/// Written to the disk together at most.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// A file of this size is brought to the store without waiting.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Lines, and who waits for them to be kept.
struct Waiting {
    lines: Vec<u8>,
    kept: oneshot::Sender<Result<()>>,
}

/// Takes events of a tenant.
///
/// ```text
/// append -> one write and one fsync for all who wait -> answered        ship: files of lines -> events-{date}/*.parquet
/// ```
#[derive(Debug)]
pub(super) struct EventLog {
    waiting: mpsc::Sender<Waiting>,
    spool: Arc<Mutex<Spool>>,
    root: TenantRoot,
    workers: Workers,
    /// Bytes on disk, or on the way to it, that the store does not have; more are refused beyond `max_bytes`.
    held: Arc<AtomicU64>,
    max_bytes: u64,
    mark: Arc<StoreMark>,
    /// One at a time.
    shipping: Mutex<()>,
}

impl EventLog {
    /// Below `folder`, where processes may share a disk. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`].
    pub(super) fn open(
        folder: &Path,
        root: &TenantRoot,
        (workers, mark): (&Workers, &Arc<StoreMark>),
        max_bytes: u64,
    ) -> Result<Self> {
        let spool = Spool::open(folder)?;
        let held = Arc::new(AtomicU64::new(spool.bytes()));
        let spool = Arc::new(Mutex::new(spool));
        let (waiting, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(keep(receiver, Arc::clone(&spool), Arc::clone(&held)));
        let (root, workers, mark) = (root.clone(), workers.clone(), Arc::clone(mark));
        Ok(Self { waiting, spool, root, workers, held, max_bytes, mark, shipping: Mutex::new(()) })
    }

    /// Keeps events; when it returns, they outlive this process and a loss of power.
    ///
    /// # Errors
    /// [`recs_core::Error::Io`] when the disk refuses; [`Error::Busy`] when too much waits for the disk or the store.
    pub(super) async fn append(&self, events: &[Event]) -> Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event)
                .map_err(|e| recs_core::Error::document("events", e.to_string()))?;
            lines.push(b'\n');
        }
        let bytes = lines.len() as u64;
        if self.held.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.max_bytes {
            self.release(bytes);
            return Err(Error::Busy { what: "events that the store has not taken fill their place on disk" });
        }
        let (kept, wait) = oneshot::channel();
        if self.waiting.try_send(Waiting { lines, kept }).is_err() {
            self.release(bytes);
            return Err(Error::Busy { what: "too many events wait for the disk" });
        }
        wait.await.map_err(|_| Error::Worker { doing: "keeping events" })?
    }

    fn release(&self, bytes: u64) {
        let _ = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(bytes)));
    }

    /// Brings what is on disk to the store. What fails stays, for the next call, and keeps nothing else from its way.
    ///
    /// # Errors
    /// Those of the store, the first one.
    pub(super) async fn ship(&self) -> Result<u64> {
        let _one = self.shipping.lock().await;
        let sealed = {
            let mut spool = self.spool.lock().await;
            let before = spool.bytes();
            spool.take_over();
            self.held.fetch_add(spool.bytes().saturating_sub(before), Ordering::Relaxed);
            spool.seal();
            spool.sealed()?
        };
        if !sealed.is_empty() {
            self.mark.check().await?;
        }
        let (mut shipped, mut failure) = (0, None);
        for segment in sealed {
            match self.ship_one(&segment).await {
                Ok(count) => shipped += count,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(shipped), Err)
    }

    async fn ship_one(&self, segment: &Path) -> Result<u64> {
        let path = segment.to_path_buf();
        let read = move || {
            let bytes = std::fs::read(&path).map_err(|e| recs_core::Error::io(&path, e))?;
            let (events, damaged) = parse(&bytes);
            Ok((bytes.len() as u64, events, damaged))
        };
        let (size, events, damaged) = self.workers.aside("reading events", read).await?;
        let mut days: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        let count = events.len() as u64;
        for event in events {
            days.entry(super::day_of(event.received_ms)).or_default().push(event);
        }
        // Of a name that no other file has, so that a second time changes nothing.
        let name = segment.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        for (day, events) in days {
            let table = self.root.day_table(super::EVENTS, &day)?;
            let number = events.len() as u64;
            let bytes = self.workers.aside("writing events", move || to_parquet(&rows(&events)?)).await?;
            table.add(&format!("{name}.parquet"), number, bytes).await?;
            fail::fail_point!("events-added");
        }
        let spool = self.spool.lock().await;
        if damaged > 0 {
            tracing::error!(file = %segment.display(), damaged, "lines of events cannot be read; the file is put aside");
            spool.put_aside(segment)?;
        } else {
            spool.remove(segment)?;
        }
        self.release(size);
        Ok(count)
    }
}

/// The events of a file, and the number of its lines that are none. A last line without an end was never answered for.
fn parse(bytes: &[u8]) -> (Vec<Event>, usize) {
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(&[][..], |end| &bytes[..=end]);
    let (mut events, mut damaged) = (Vec::new(), 0);
    for line in whole.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(event) => events.push(event),
            Err(_) => damaged += 1,
        }
    }
    (events, damaged)
}

/// Writes for all who wait at once, until nobody can ask any more.
async fn keep(mut receiver: mpsc::Receiver<Waiting>, spool: Arc<Mutex<Spool>>, held: Arc<AtomicU64>) {
    while let Some(first) = receiver.recv().await {
        let (mut lines, mut waiting) = (first.lines, vec![first.kept]);
        while lines.len() < MAX_BATCH_BYTES {
            let Ok(next) = receiver.try_recv() else { break };
            lines.extend_from_slice(&next.lines);
            waiting.push(next.kept);
        }
        let (written, spool) = (lines.len() as u64, Arc::clone(&spool));
        let append = move || {
            let mut spool = spool.blocking_lock();
            spool.append(&lines)?;
            if spool.current_bytes() >= SEGMENT_BYTES {
                spool.seal();
            }
            Ok(())
        };
        let kept = match tokio::task::spawn_blocking(append).await {
            Ok(kept) => kept,
            Err(_) => Err(Error::Worker { doing: "keeping events" }),
        };
        if kept.is_err() {
            let _ = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some(held.saturating_sub(written))
            });
        }
        let reason = kept.err().map(|error| error.to_string());
        for waiter in waiting {
            let answer = match &reason {
                None => Ok(()),
                Some(reason) => {
                    Err(recs_core::Error::io("events", std::io::Error::other(reason.clone())).into())
                }
            };
            // Nobody may wait any more.
            let _ = waiter.send(answer);
        }
    }
}
