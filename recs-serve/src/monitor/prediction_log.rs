//! Lists that were served: sampled, gathered in memory, and written in the background.

use super::prediction::{Prediction, rows};
use crate::error::Result;
use crate::listed::to_parquet;
use crate::workers::Workers;
use recs_core::store::TenantRoot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Takes predictions of a tenant. What the store has not taken when the process is killed is lost; nobody ever waits.
#[derive(Debug)]
pub(super) struct PredictionLog {
    root: TenantRoot,
    workers: Workers,
    held: Mutex<VecDeque<Prediction>>,
    max_held: usize,
    /// Begins the names of this process's files.
    process: String,
    files: AtomicU64,
}

impl PredictionLog {
    pub(super) fn new(root: &TenantRoot, workers: &Workers, max_held: usize) -> Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|e| crate::Error::config("predictions", format!("no random bytes: {e}")))?;
        let process = format!("{:016x}", u64::from_le_bytes(random));
        Ok(Self {
            root: root.clone(),
            workers: workers.clone(),
            held: Mutex::default(),
            max_held,
            process,
            files: 0.into(),
        })
    }

    /// Keeps some; gives the number of older ones that were lost for want of room.
    pub(super) fn extend(&self, predictions: Vec<Prediction>) -> u64 {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(predictions);
        let lost = held.len().saturating_sub(self.max_held);
        held.drain(..lost);
        lost as u64
    }

    /// Before what came meanwhile.
    fn put_back(&self, predictions: Vec<Prediction>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.max_held.saturating_sub(held.len());
        predictions.into_iter().rev().take(room).for_each(|prediction| held.push_front(prediction));
    }

    pub(super) fn held(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Writes what is held; after a failure it is held on.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn ship(&self) -> Result<u64> {
        let taken: Vec<Prediction> =
            self.held.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let mut days: BTreeMap<String, Vec<Prediction>> = BTreeMap::new();
        for prediction in taken {
            days.entry(super::day_of(prediction.at_ms)).or_default().push(prediction);
        }
        let (mut shipped, mut failure) = (0, None);
        for (day, predictions) in days {
            let predictions = Arc::new(predictions);
            match self.write(&day, &predictions).await {
                Ok(()) => shipped += predictions.len() as u64,
                Err(error) => {
                    self.put_back(Arc::unwrap_or_clone(predictions));
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(shipped), Err)
    }

    async fn write(&self, day: &str, predictions: &Arc<Vec<Prediction>>) -> Result<()> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number:06}.parquet", self.process);
        let (table, of) = (self.root.day_table(super::PREDICTIONS, day)?, Arc::clone(predictions));
        let bytes = self.workers.aside("writing predictions", move || to_parquet(&rows(&of)?)).await?;
        Ok(table.add(&name, predictions.len() as u64, bytes).await?)
    }
}
