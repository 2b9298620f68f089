//! Rows to shards, all or nothing.

use super::config::DatasetConfig;
use super::input::DatasetInput;
use super::metadata::{FOLDER, Origin};
use super::shard::{Job, Piece, Span};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, RecordBatch};
use bytes::Bytes;
use futures::TryStreamExt;
use recs_core::artifact::Digest;
use recs_core::dataset::{DatasetMetadata, METADATA_FILE, ShardInfo};
use recs_core::example::RowWriter;
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::Schema;
use recs_core::store::{Publication, Store};
use recs_core::tfrecord::{ShardPlan, shard_name};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

const STAGE: &str = "dataset";

/// Unit in which waiting bytes are counted.
const UNIT_BYTES: usize = 1024;

/// Least time between two progress events.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Writes `input` as a dataset into `store` (the folder of one run, see
/// [`TenantRoot::dataset`](recs_core::store::TenantRoot::dataset)).
///
/// Rows go to the shards in contiguous runs and are encoded and compressed in blocking threads, several shards at a
/// time; equal rows, schema and configuration give equal bytes. `metadata.json`, with a SHA-256 of every shard, is
/// created last. A run that fails or is cancelled deletes its shards and leaves no `metadata.json`.
///
/// # Errors
/// [`Error::Config`]; [`Error::ColumnType`], [`Error::MissingColumn`] and [`Error::Value`] naming row and column;
/// [`Error::CountChanged`] when other rows come than were counted; those of the rows' stream; those of the store, among
/// them that the folder holds a dataset already; cancellation.
pub async fn write_dataset(
    store: &Store,
    mut input: DatasetInput,
    schema: &Schema,
    config: &DatasetConfig,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<DatasetMetadata> {
    config.validate()?;
    schema.validate()?;
    let started = Instant::now();
    observer.on_event(&Event::Started { stage: STAGE, total: Some(input.total_rows), unit: "rows" });
    let origin = Origin::of(&mut input);
    let mut publication = Publication::begin(store.clone(), METADATA_FILE).await?;
    let (shards, span) = match write_shards(&mut publication, input, schema, config, observer, cancel).await {
        Ok(written) => written,
        Err(error) => {
            publication.abort().await;
            return Err(error);
        }
    };
    let metadata = origin.describe(schema, shards, span);
    publication.commit(Bytes::from(metadata.to_json()?)).await?;
    observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
    Ok(metadata)
}

async fn write_shards(
    publication: &mut Publication,
    input: DatasetInput,
    schema: &Schema,
    config: &DatasetConfig,
    observer: &dyn Observer,
    cancel: &CancelToken,
) -> Result<(Vec<ShardInfo>, Span)> {
    let mut feeder = Feeder::new(publication, &input, schema, config, cancel)?;
    let fed = feeder.feed_all(input, observer).await;
    feeder.finish(fed).await
}

/// What a finished shard is.
type Done = recs_core::Result<(usize, Span, Digest)>;

/// Cuts the stream of rows into shards and hands them to their threads.
struct Feeder {
    store: Store,
    job: Arc<Job>,
    plan: ShardPlan,
    /// Bytes that may wait, in units.
    budget: Arc<Semaphore>,
    budget_units: usize,
    workers: usize,
    running: JoinSet<Done>,
    done: Vec<Option<(Span, Digest)>>,
    /// The shard that is being fed.
    current: Option<(usize, mpsc::UnboundedSender<Piece>)>,
    next_shard: usize,
    fed_rows: u64,
}

impl Feeder {
    fn new(
        publication: &mut Publication,
        input: &DatasetInput,
        schema: &Schema,
        config: &DatasetConfig,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let plan = ShardPlan::new(input.total_rows, config.shards)?;
        for shard in 0..plan.shards() {
            publication.expect(&path(shard, plan));
        }
        let budget_units = config.max_buffered_bytes / UNIT_BYTES;
        Ok(Self {
            store: publication.store().clone(),
            job: Arc::new(Job {
                name: input.name.clone(),
                schema: schema.clone(),
                rows: RowWriter::new(schema),
                gzip_level: config.gzip_level,
                cancel: cancel.clone(),
                failure: Mutex::new(None),
            }),
            plan,
            budget: Arc::new(Semaphore::new(budget_units)),
            budget_units,
            workers: config.workers(),
            running: JoinSet::new(),
            done: (0..plan.shards()).map(|_| None).collect(),
            current: None,
            next_shard: 0,
            fed_rows: 0,
        })
    }

    async fn feed_all(&mut self, mut input: DatasetInput, observer: &dyn Observer) -> Result<()> {
        let mut reported = Instant::now();
        while let Some(batch) = input.rows.batches.try_next().await? {
            self.job.cancel.check()?;
            self.feed(batch).await?;
            if reported.elapsed() >= REPORT_EVERY {
                observer.on_event(&Event::Progress { stage: STAGE, done: self.fed_rows });
                reported = Instant::now();
            }
        }
        if self.fed_rows != self.plan.total_rows() {
            return Err(self.count_changed(self.fed_rows));
        }
        observer.on_event(&Event::Progress { stage: STAGE, done: self.fed_rows });
        // With fewer rows than shards the last ones are empty files.
        while self.next_shard < self.plan.shards() {
            self.begin_shard().await?;
        }
        Ok(())
    }

    fn count_changed(&self, read: u64) -> Error {
        Error::CountChanged { what: self.job.name.clone(), counted: self.plan.total_rows(), read }
    }

    async fn feed(&mut self, batch: RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let row_bytes = bytes_of(&batch) / rows.max(1);
        let mut start = 0;
        while start < rows {
            if self.fed_rows == self.plan.total_rows() {
                return Err(self.count_changed(self.fed_rows + (rows - start) as u64));
            }
            while self.next_shard == 0 || self.fed_rows >= self.plan.rows(self.next_shard - 1).end {
                self.begin_shard().await?;
            }
            let room = self.plan.rows(self.next_shard - 1).end - self.fed_rows;
            let count = (rows - start).min(usize::try_from(room).unwrap_or(usize::MAX));
            self.hand_over(batch.slice(start, count), row_bytes * count).await?;
            start += count;
            self.fed_rows += count as u64;
        }
        Ok(())
    }

    /// Ends the shard that is being fed and starts the next, waiting for a thread where all are busy.
    async fn begin_shard(&mut self) -> Result<()> {
        self.current = None;
        while self.running.len() >= self.workers {
            self.join_one().await?;
        }
        let shard = self.next_shard;
        let (sender, pieces) = mpsc::unbounded_channel();
        let (store, job, path) = (self.store.clone(), Arc::clone(&self.job), path(shard, self.plan));
        let rows = self.plan.rows(shard);
        self.running.spawn(async move {
            let (span, digest) = store.put_with(&path, move |sink| job.write(sink, rows, pieces)).await?;
            Ok((shard, span, digest))
        });
        self.current = Some((shard, sender));
        self.next_shard += 1;
        Ok(())
    }

    async fn hand_over(&mut self, batch: RecordBatch, bytes: usize) -> Result<()> {
        let units = (bytes / UNIT_BYTES + 1).min(self.budget_units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let closed = || Error::Core(recs_core::Error::Worker { doing: "writing a shard" });
        let permit = Arc::clone(&self.budget).acquire_many_owned(units).await.map_err(|_| closed())?;
        let Some((_, sender)) = &self.current else { return Err(closed()) };
        let piece = Piece { batch, first_row: self.fed_rows, _permit: permit };
        // The shard's thread is gone only after a failure, which `finish` finds.
        sender.send(piece).map_err(|_| closed())
    }

    async fn join_one(&mut self) -> Result<()> {
        match self.running.join_next().await {
            None => Ok(()),
            Some(Err(_)) => Err(Error::Core(recs_core::Error::Worker { doing: "writing a shard" })),
            Some(Ok(done)) => {
                let (shard, span, digest) = done?;
                self.done[shard] = Some((span, digest));
                Ok(())
            }
        }
    }

    /// Waits for all threads. The error that comes out is the one that explains the others.
    async fn finish(mut self, fed: Result<()>) -> Result<(Vec<ShardInfo>, Span)> {
        self.current = None;
        let mut result = fed;
        while !self.running.is_empty() {
            let joined = self.join_one().await;
            result = match (result, joined) {
                (Err(Error::Core(recs_core::Error::Worker { .. })), Err(cause)) => Err(cause),
                (result, joined) => result.and(joined),
            };
        }
        if let Some(cause) = self.job.take_failure() {
            return Err(cause);
        }
        self.job.cancel.check()?;
        result?;
        let mut shards = Vec::with_capacity(self.done.len());
        let mut span: Span = None;
        for (shard, done) in self.done.into_iter().enumerate() {
            let Some((seen, digest)) = done else {
                return Err(Error::Core(recs_core::Error::Worker { doing: "writing a shard" }));
            };
            span = match (span, seen) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            };
            let rows = self.plan.rows(shard);
            shards.push(ShardInfo { file: path(shard, self.plan), rows: rows.end - rows.start, digest });
        }
        Ok((shards, span))
    }
}

/// Bytes of the batch's own rows; a slice of a larger batch counts by what it shows.
fn bytes_of(batch: &RecordBatch) -> usize {
    let column =
        |array: &ArrayRef| array.to_data().get_slice_memory_size().unwrap_or(array.get_array_memory_size());
    batch.columns().iter().map(column).sum()
}

fn path(shard: usize, plan: ShardPlan) -> String {
    format!("{FOLDER}/{}", shard_name(shard, plan.shards()))
}
