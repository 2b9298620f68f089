//! Reading the shards of a dataset, several at a time.

use super::metadata::{DatasetMetadata, METADATA_FILE, ShardInfo};
use crate::artifact::DigestReader;
use crate::error::{Error, Result};
use crate::example::RowReader;
use crate::observe::CancelToken;
use crate::schema::{Schema, Value};
use crate::store::Store;
use crate::tfrecord::RecordReader;
use futures::{StreamExt, TryStreamExt};
use std::io::Read;
use std::sync::Arc;

const MAX_METADATA_BYTES: u64 = 64 << 20;

/// A published dataset.
#[derive(Debug, Clone)]
pub struct Dataset {
    store: Store,
    metadata: Arc<DatasetMetadata>,
}

impl Dataset {
    /// Opens the dataset in the folder that `store` is.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no `metadata.json`, those of [`DatasetMetadata::parse`].
    pub async fn open(store: Store) -> Result<Self> {
        let json = store.get(METADATA_FILE, MAX_METADATA_BYTES).await?;
        let metadata = DatasetMetadata::parse(&json, &store.show(METADATA_FILE))?;
        Ok(Self { store, metadata: Arc::new(metadata) })
    }

    /// What it holds.
    pub fn metadata(&self) -> &DatasetMetadata {
        &self.metadata
    }

    /// Its folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Reads all shards in blocking threads, `parallelism` at a time: for each shard `start(shard)` makes an empty
    /// result, `each(result, row)` takes every row in order. Results come in shard order, whatever ended first, so
    /// that merging them in order is deterministic.
    ///
    /// Memory: the results, plus one record and some buffers for each shard in flight.
    ///
    /// # Errors
    /// Those of [`RecordReader::read`] and [`RowReader::read`], [`Error::Digest`] when a file is not the one that was
    /// published, [`Error::Cancelled`].
    pub async fn fold_rows<T, S, E>(
        &self,
        schema: &Schema,
        parallelism: usize,
        cancel: &CancelToken,
        start: S,
        each: E,
    ) -> Result<Vec<T>>
    where
        T: Send + 'static,
        S: Fn(&ShardInfo) -> T,
        E: Fn(&mut T, &[Value<'_>]) -> Result<()> + Send + Sync + 'static,
    {
        let mut results = Vec::new();
        let keep = |result| {
            results.push(result);
            Ok(())
        };
        self.merge_rows(schema, parallelism, cancel, start, each, keep).await?;
        Ok(results)
    }

    /// As [`Dataset::fold_rows`], but hands each shard's result to `merge` as soon as those of all shards before it
    /// were: for results that are large and become one.
    ///
    /// Memory: the results of `parallelism` shards and the one that is merged, however many shards there are.
    ///
    /// # Errors
    /// Those of [`Dataset::fold_rows`] and of `merge`.
    pub async fn merge_rows<T, S, E, M>(
        &self,
        schema: &Schema,
        parallelism: usize,
        cancel: &CancelToken,
        start: S,
        each: E,
        mut merge: M,
    ) -> Result<()>
    where
        T: Send + 'static,
        S: Fn(&ShardInfo) -> T,
        E: Fn(&mut T, &[Value<'_>]) -> Result<()> + Send + Sync + 'static,
        M: FnMut(T) -> Result<()>,
    {
        self.metadata.check_schema(schema, &self.store.show(METADATA_FILE))?;
        let each = Arc::new(each);
        let jobs = self.metadata.shards.iter().map(|shard| {
            let (file, shard, state) = (self.store.show(&shard.file), shard.clone(), start(shard));
            let rows = RowReader::new(schema, file.clone());
            let (each, cancel, path) = (Arc::clone(&each), cancel.clone(), shard.file.clone());
            async move {
                let job = move |bytes: &mut (dyn Read + Send)| {
                    fold_shard(bytes, &file, &shard, rows, state, &*each, &cancel)
                };
                self.store.get_with(&path, job).await
            }
        });
        let mut results = futures::stream::iter(jobs).buffered(parallelism.max(1));
        while let Some(result) = results.try_next().await? {
            merge(result)?;
        }
        Ok(())
    }
}

fn fold_shard<T>(
    bytes: &mut (dyn Read + Send),
    file: &str,
    shard: &ShardInfo,
    mut rows: RowReader,
    mut state: T,
    each: impl Fn(&mut T, &[Value<'_>]) -> Result<()>,
    cancel: &CancelToken,
) -> Result<T> {
    let mut counted = DigestReader::new(bytes);
    let mut records = RecordReader::new(&mut counted, file)?;
    let mut read = 0;
    {
        while let Some((at, record)) = records.read()? {
            let mut row = Vec::new();
            if read == shard.rows {
                let reason = format!("holds more than the {read} records that metadata.json says");
                return Err(Error::corrupt(file, reason));
            }
            rows.read(record, at, &mut row)?;
            each(&mut state, &row).map_err(|e| e.in_record(file, read))?;
            read += 1;
            if read % 1024 == 0 {
                cancel.check()?;
            }
        }
    }
    drop(records);
    let found = counted.finish().map_err(|e| Error::io(file, e))?;
    shard.digest.verify(file, &found)?;
    if read != shard.rows {
        return Err(Error::corrupt(file, format!("holds {read} records, metadata.json says {}", shard.rows)));
    }
    Ok(state)
}
