//! Encoded rows of a dataset.

use super::cache;
use super::column::{Column, EncodedRows};
use super::part::{Labels, Latest, Merged, Part, RowColumns};
use recs_core::Result;
use recs_core::artifact::Digest;
use recs_core::dataset::{Dataset, ShardInfo};
use recs_core::model::{FeatureEncoder, ModelConfig, TowerColumns};
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::{Role, Schema, Tower, Value, Widths};
use recs_core::vocab::Vocabulary;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Product of a row whose product is not in the vocabulary: not trained on, a miss in the test.
pub const NO_PRODUCT: u32 = u32::MAX;

/// All rows of a dataset as integers and numbers.
///
/// Memory: 4 bytes for each table and number of the query tower, and 24 bytes, a row; nothing of that when the rows are in a
/// cache. A training adds 8 bytes a row: row numbers of the split's parts and of what is trained on.
#[derive(Debug, Clone)]
pub struct TrainData {
    /// The query tower's columns, `[rows, …]`.
    pub query: EncodedRows,
    /// Distinct rows of the candidate tower.
    pub candidates: TowerColumns,
    /// Row of `candidates` that belongs to each row. `[rows]`
    pub candidate: Column<u32>,
    /// Position in the catalogue of each row's product, or [`NO_PRODUCT`]. `[rows]`
    pub product: Column<u32>,
    /// Vocabulary id of each row's customer. `[rows]`
    pub customer: Column<u32>,
    /// Vocabulary id of each row's city, 0 without such a field. `[rows]`
    pub city: Column<u32>,
    /// Unix seconds, 0 without such a field. `[rows]`
    pub timestamp: Column<i64>,
    /// The products, ascending by vocabulary id.
    pub catalogue: Catalogue,
}

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

/// The products that the rows hold.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Vocabulary id of each product. `[products]`
    pub ids: Vec<u32>,
    /// Row of [`TrainData::candidates`] of each product: that of its latest purchase. `[products]`
    pub candidate: Vec<u32>,
    /// Vocabulary id of the name in that row, 0 without such a field.
    pub name: Vec<u32>,
    /// Vocabulary id of the category in that row, 0 without such a field.
    pub category: Vec<u32>,
    /// Vocabulary id of the subcategory in that row, 0 without such a field.
    pub subcategory: Vec<u32>,
}

/// Where the roles stand in a row, with the lookups.
struct Roles {
    vocabulary: Arc<Vocabulary>,
    places: Vec<(Role, usize, String)>,
    timestamp: Option<usize>,
}

impl Roles {
    fn new(schema: &Schema, vocabulary: &Arc<Vocabulary>) -> Self {
        let wanted =
            [Role::Customer, Role::City, Role::Product, Role::ProductName, Role::Category, Role::Subcategory];
        let place = |role: Role| schema.fields.iter().position(|f| f.role == role);
        let named = |role: Role| place(role).map(|at| (role, at, schema.fields[at].name.clone()));
        Self {
            vocabulary: Arc::clone(vocabulary),
            places: wanted.into_iter().filter_map(named).collect(),
            timestamp: place(Role::Timestamp),
        }
    }

    fn labels(&self, row: &[Value<'_>]) -> Result<Labels> {
        let mut labels = Labels::default();
        for (role, at, field) in &self.places {
            let lookup = self.vocabulary.lookup(field)?;
            let id = match row.get(*at) {
                Some(Value::Text(text)) => lookup.id(text),
                Some(Value::Int64(n)) => lookup.id(&n.to_string()),
                _ => 0,
            };
            match role {
                Role::Customer => labels.customer = id,
                Role::City => labels.city = id,
                Role::Product => labels.product = id,
                Role::ProductName => labels.name = id,
                Role::Category => labels.category = id,
                _ => labels.subcategory = id,
            }
        }
        Ok(labels)
    }

    fn timestamp(&self, row: &[Value<'_>]) -> i64 {
        match self.timestamp.and_then(|at| row.get(at)) {
            Some(Value::Int64(seconds)) => *seconds,
            _ => 0,
        }
    }
}

impl TrainData {
    /// Reads and encodes a dataset. Order of rows: shard, then record.
    ///
    /// # Errors
    /// Those of [`Dataset::fold_rows`] and of the encoder; of a cache that was changed or cannot be written.
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
        if let Some(data) = cache::open(folder)? {
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
        cache::open(folder)?.ok_or_else(|| recs_core::Error::NotFound { path: folder.display().to_string() })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.product.len()
    }

    /// The candidate tower's columns of the catalogue, in catalogue order.
    pub fn catalogue_columns(&self) -> TowerColumns {
        let (from, rows) = (&self.candidates, self.catalogue.candidate.iter().map(|&c| c as usize));
        let columns = select(&from.ids, &from.numbers, from.rows, rows);
        TowerColumns { bags: from.bags.clone(), ..columns }
    }

    /// Refuses a model that reads other columns than these.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config).
    pub fn check(&self, model: &ModelConfig) -> crate::Result<()> {
        for (tower, rows, ids, values) in [
            (Tower::Query, self.query.rows, self.query.ids.len(), self.query.numbers.len()),
            (
                Tower::Candidate,
                self.candidates.rows,
                self.candidates.ids.len(),
                self.candidates.numbers.len(),
            ),
        ] {
            let Widths { ids: tables, numbers, .. } = model.schema.widths(tower);
            if (ids, values) != (rows * tables, rows * numbers) {
                let reason = format!(
                    "its {} tower reads {tables} ids and {numbers} numbers a row, the data was encoded for another \
                     schema; load it with the model's (TrainConfig::model)",
                    tower.name()
                );
                return Err(crate::Error::config("model", reason));
            }
        }
        Ok(())
    }

    /// The query tower's columns of some rows.
    pub fn query_columns(&self, rows: &[u32]) -> TowerColumns {
        let from = &self.query;
        let columns = select(&from.ids, &from.numbers, from.rows, rows.iter().map(|&r| r as usize));
        TowerColumns { bags: from.bags.clone(), ..columns }
    }
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
    let encoded =
        serde_json::to_vec(schema).map_err(|e| recs_core::Error::config("schema", e.to_string()))?;
    let parts =
        [dataset.metadata().to_json()?, encoded, vocabulary.to_json(schema)?].map(|json| Digest::of(&json));
    let all: String = parts.iter().map(|digest| digest.sha256.as_str()).collect();
    Ok(Digest::of(all.as_bytes()).sha256[..32].to_owned())
}

fn select(ids: &[u32], numbers: &[f32], of: usize, rows: impl Iterator<Item = usize>) -> TowerColumns {
    let (tables, width) = (ids.len() / of.max(1), numbers.len() / of.max(1));
    let mut out = TowerColumns::default();
    for row in rows {
        out.rows += 1;
        out.ids.extend_from_slice(&ids[row * tables..(row + 1) * tables]);
        out.numbers.extend_from_slice(&numbers[row * width..(row + 1) * width]);
    }
    out
}

impl Catalogue {
    /// The catalogue, and the place in it of each vocabulary id.
    pub(super) fn of(latest: &BTreeMap<u32, Latest>) -> (Self, HashMap<u32, u32>) {
        let (mut catalogue, mut places) = (Self::default(), HashMap::with_capacity(latest.len()));
        for (&id, latest) in latest {
            places.insert(id, catalogue.ids.len() as u32);
            catalogue.ids.push(id);
            catalogue.candidate.push(latest.candidate);
            catalogue.name.push(latest.name);
            catalogue.category.push(latest.category);
            catalogue.subcategory.push(latest.subcategory);
        }
        (catalogue, places)
    }

    /// Number of products.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without products.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
