//! Lists that were served: sampled, gathered in memory, and written in the background.

use super::mark::StoreMark;
use super::prediction::{Prediction, rows};
use crate::error::Result;
use crate::listed::to_parquet;
use crate::workers::Workers;
use recs_core::store::TenantRoot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Predictions of a day under the name of the file that they are to be in, which stays theirs however often writing is tried.
#[derive(Debug, Clone)]
struct Batch {
    day: String,
    file: String,
    rows: Arc<Vec<Prediction>>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// Not yet in a batch.
    fresh: VecDeque<Prediction>,
    /// Being written, or to be tried again, the oldest first.
    batches: VecDeque<Batch>,
    /// Of all of them.
    bytes: usize,
}

impl Held {
    fn len(&self) -> usize {
        self.fresh.len() + self.batches.iter().map(|batch| batch.rows.len()).sum::<usize>()
    }

    /// Drops the oldest until what is left takes no more than `most`; gives their number.
    fn shrink(&mut self, most: usize) -> u64 {
        let mut lost = 0;
        while self.bytes > most {
            if let Some(batch) = self.batches.pop_front() {
                (self.bytes, lost) = (self.bytes - batch.bytes, lost + batch.rows.len() as u64);
            } else if let Some(prediction) = self.fresh.pop_front() {
                (self.bytes, lost) = (self.bytes - prediction.bytes(), lost + 1);
            } else {
                break;
            }
        }
        lost
    }
}

/// Takes predictions of a tenant. What the store has not taken when the process is killed is lost; nobody ever waits.
#[derive(Debug)]
pub(super) struct PredictionLog {
    root: TenantRoot,
    mark: Arc<StoreMark>,
    workers: Workers,
    held: Mutex<Held>,
    max_held_bytes: usize,
    /// Begins the names of this process's files.
    process: String,
    files: AtomicU64,
    /// One writer at a time.
    writing: tokio::sync::Mutex<()>,
}

impl PredictionLog {
    pub(super) fn new(
        root: &TenantRoot,
        (workers, mark): (&Workers, &Arc<StoreMark>),
        max_held_bytes: usize,
    ) -> Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|e| crate::Error::config("predictions", format!("no random bytes: {e}")))?;
        let process = format!("{:016x}", u64::from_le_bytes(random));
        let (root, workers, held) = (root.clone(), workers.clone(), Mutex::default());
        Ok(Self {
            root,
            mark: Arc::clone(mark),
            workers,
            held,
            max_held_bytes,
            process,
            files: 0.into(),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    fn held_now(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps some; gives the number of older ones that were lost for want of room.
    pub(super) fn extend(&self, predictions: Vec<Prediction>) -> u64 {
        let mut held = self.held_now();
        held.bytes += predictions.iter().map(Prediction::bytes).sum::<usize>();
        held.fresh.extend(predictions);
        held.shrink(self.max_held_bytes)
    }

    pub(super) fn held(&self) -> usize {
        self.held_now().len()
    }

    /// Writes what is held; after a failure it is held on.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn ship(&self) -> Result<u64> {
        let _one = self.writing.lock().await;
        self.cut();
        if self.held() > 0 {
            self.mark.check().await?;
        }
        let mut shipped = 0;
        loop {
            let Some(batch) = self.held_now().batches.front().cloned() else { return Ok(shipped) };
            let (table, rows_of) =
                (self.root.day_table(super::PREDICTIONS, &batch.day)?, Arc::clone(&batch.rows));
            let made = move || to_parquet(&rows(&rows_of)?);
            let bytes = self.workers.aside("writing predictions", made).await?;
            table.add(&batch.file, batch.rows.len() as u64, bytes).await?;
            shipped += batch.rows.len() as u64;
            let mut held = self.held_now();
            // Unless it had to go meanwhile.
            if held.batches.front().is_some_and(|first| first.file == batch.file) {
                held.batches.pop_front();
                held.bytes -= batch.bytes;
            }
        }
    }

    /// Makes batches of what came since the last time.
    fn cut(&self) {
        let mut held = self.held_now();
        let mut days: BTreeMap<String, Vec<Prediction>> = BTreeMap::new();
        for prediction in std::mem::take(&mut held.fresh) {
            days.entry(super::day_of(prediction.at_ms)).or_default().push(prediction);
        }
        for (day, rows) in days {
            let number = self.files.fetch_add(1, Ordering::Relaxed);
            let file = format!("{}-{number:06}.parquet", self.process);
            let bytes = rows.iter().map(Prediction::bytes).sum();
            held.batches.push_back(Batch { day, file, rows: Arc::new(rows), bytes });
        }
    }
}
