//! Shards -> [`TrainData`], in memory or in mapped files.

use super::cache;
use super::catalogue::Catalogue;
use super::column::EncodedRows;
use super::columns::{NO_PRODUCT, TrainData};
use super::encoded_with::EncodedWith;
use super::part::{Merged, Part, RowColumns};
use super::roles::Roles;
use recs_core::artifact::Digest;
use recs_core::dataset::{Dataset, METADATA_FILE, ShardInfo};
use recs_core::model::FeatureEncoder;
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::{Schema, Value};
use recs_core::vocab::Vocabulary;
use recs_core::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How data is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Shards read at a time; 0 = one.
    pub parallelism: usize,
    /// Folder for encoded rows. With it they are written to files once for each dataset, schema and vocabulary, and mapped:
    /// memory need not have room for them, and the next run starts at once.
    ///
    /// Disk: 4 bytes for each table and number of the query tower, and 24 bytes, a row. Memory while writing: 65,536 rows
    /// and the distinct candidates of each shard in flight, and the distinct candidates of all.
    pub cache: Option<PathBuf>,
}

impl LoadOptions {
    /// In memory, `parallelism` shards at a time.
    pub fn in_memory(parallelism: usize) -> Self {
        Self { parallelism, cache: None }
    }
}

impl TrainData {
    /// Reads and encodes a dataset. Order of rows: shard, then record.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for 2^32 rows or more; those of [`Dataset::fold_rows`] and of the encoder; of a cache that was
    /// changed or cannot be written.
    pub async fn load(
        dataset: &Dataset,
        schema: &Schema,
        vocabulary: Arc<Vocabulary>,
        options: &LoadOptions,
        observer: Arc<dyn Observer>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        const STAGE: &str = "load";
        let (started, total) = (Instant::now(), dataset.metadata().total_examples);
        check_size(dataset)?;
        observer.on_event(&Event::Started { stage: STAGE, total: Some(total), unit: "rows" });
        let mut data = match &options.cache {
            None => Self::in_memory(dataset, schema, &vocabulary, options, cancel).await?,
            Some(folder) => {
                let folder = folder.join(key(dataset, schema, &vocabulary)?);
                Self::mapped(dataset, schema, &vocabulary, options, &folder, cancel).await?
            }
        };
        let encoder = FeatureEncoder::of_values(schema, vocabulary)?;
        data.query.bags = encoder.query.value_bags()?;
        data.candidates.bags = encoder.candidate.value_bags()?;
        observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
        Ok(data)
    }

    async fn in_memory(
        dataset: &Dataset,
        schema: &Schema,
        vocabulary: &Arc<Vocabulary>,
        options: &LoadOptions,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let push = pusher(schema, vocabulary)?;
        let (mut merged, mut rows) = (Merged::default(), RowColumns::default());
        let merge = |mut part: Part| {
            let places = merged.add(&part.candidates, &part.latest);
            part.rows.candidate.iter_mut().for_each(|c| *c = places[*c as usize]);
            rows.append(part.rows);
            Ok(())
        };
        dataset.merge_rows(schema, options.parallelism, cancel, |_| Part::default(), push, merge).await?;
        let (catalogue, places) = Catalogue::of(&merged.latest);
        rows.product.iter_mut().for_each(|p| *p = places.get(p).copied().unwrap_or(NO_PRODUCT));
        Ok(Self {
            query: EncodedRows {
                rows: rows.query.rows,
                ids: rows.query.ids.into(),
                numbers: rows.query.numbers.into(),
                bags: Vec::new(),
            },
            candidates: merged.candidates(),
            candidate: rows.candidate.into(),
            product: rows.product.into(),
            customer: rows.customer.into(),
            city: rows.city.into(),
            timestamp: rows.timestamp.into(),
            catalogue,
            encoded_with: EncodedWith::new(schema, vocabulary)?,
        })
    }

    async fn mapped(
        dataset: &Dataset,
        schema: &Schema,
        vocabulary: &Arc<Vocabulary>,
        options: &LoadOptions,
        folder: &Path,
        cancel: &CancelToken,
    ) -> Result<Self> {
        if let Some(data) = Self::opened(schema, vocabulary, folder)? {
            return Ok(data);
        }
        let (mut first, mut firsts) = (0, HashMap::new());
        for shard in &dataset.metadata().shards {
            firsts.insert(shard.file.clone(), first);
            first += shard.rows as usize;
        }
        let writer = Arc::new(cache::Writer::new(folder, first)?);
        let (push, into) = (pusher(schema, vocabulary)?, Arc::clone(&writer));
        let start = |shard: &ShardInfo| (Part::default(), firsts[&shard.file], 0);
        let each = move |(part, first, written): &mut (Part, usize, usize), row: &[Value<'_>]| {
            push(part, row)?;
            if part.rows.rows() == cache::FLUSH_ROWS {
                into.write(&mut part.rows, *first + *written)?;
                *written += cache::FLUSH_ROWS;
            }
            Ok(())
        };
        let mut merged = Merged::default();
        let merge = |(mut part, first, written): (Part, usize, usize)| {
            let rows = first..first + written + part.rows.rows();
            writer.write(&mut part.rows, first + written)?;
            let places = merged.add(&part.candidates, &part.latest);
            writer.place_candidates(rows, &places)
        };
        dataset.merge_rows(schema, options.parallelism, cancel, start, each, merge).await?;
        if let Some(writer) = Arc::into_inner(writer) {
            writer.finish(merged)?;
        }
        let made = Self::opened(schema, vocabulary, folder)?;
        made.ok_or_else(|| Error::NotFound { path: folder.display().to_string() })
    }

    /// What a cache has, if anything.
    fn opened(schema: &Schema, vocabulary: &Vocabulary, folder: &Path) -> Result<Option<Self>> {
        let Some(columns) = cache::open(folder)? else { return Ok(None) };
        let data = Self { encoded_with: EncodedWith::new(schema, vocabulary)?, ..columns };
        data.check_ids(schema, vocabulary).map_err(|reason| {
            let file = folder.join(cache::MANIFEST).display().to_string();
            Error::document(file, format!("{reason}; remove the folder, it is made again"))
        })?;
        Ok(Some(data))
    }
}

/// Rows have numbers of 32 bits, of which the last is none.
fn check_size(dataset: &Dataset) -> Result<()> {
    let (size, limit) = (dataset.metadata().total_examples, u64::from(u32::MAX));
    if size <= limit {
        return Ok(());
    }
    let (file, remedy) = (dataset.store().show(METADATA_FILE), "extract a shorter period");
    Err(Error::TooLarge { file, what: "number of rows", size, limit, remedy })
}

/// Encodes rows into parts.
fn pusher(
    schema: &Schema,
    vocabulary: &Arc<Vocabulary>,
) -> Result<impl Fn(&mut Part, &[Value<'_>]) -> Result<()> + Send + Sync + 'static> {
    let encoder = FeatureEncoder::of_values(schema, Arc::clone(vocabulary))?;
    let roles = Roles::new(schema, vocabulary);
    Ok(move |part: &mut Part, row: &[Value<'_>]| {
        let labels = roles.labels(row)?;
        encoder.query.encode(row, &mut part.rows.query)?;
        encoder.candidate.encode(row, &mut part.scratch)?;
        part.push(labels, roles.timestamp(row));
        Ok(())
    })
}

/// Name of the cache of a dataset's rows as a schema and a vocabulary encode them.
fn key(dataset: &Dataset, schema: &Schema, vocabulary: &Vocabulary) -> Result<String> {
    let encoded = serde_json::to_vec(schema).map_err(|e| Error::config("schema", e.to_string()))?;
    let parts =
        [dataset.metadata().to_json()?, encoded, vocabulary.to_json(schema)?].map(|json| Digest::of(&json));
    let all: String = parts.iter().map(|digest| digest.sha256.as_str()).collect();
    Ok(Digest::of(all.as_bytes()).sha256[..32].to_owned())
}
