//! `recs.Dataset`: purchases as gzip TFRecord shards, in memory or in a folder, with their vocabulary.

use crate::errors::{Error, Result};
use crate::events::{self, Names};
use crate::frame::{Frame, Kind};
use crate::ids::IdType;
use crate::progress::Progress;
use crate::runtime::{self, Context};
use arrow::array::RecordBatch;
use pyo3::prelude::*;
use recs_core::dataset::{Dataset as Shards, METADATA_FILE};
use recs_core::schema::{Field, Role, Schema};
use recs_core::store::{Publication, Store};
use recs_core::vocab::{MAX_VOCABULARY_BYTES, VOCABULARY_FILE, Vocabulary, VocabularyConfig};
use recs_etl::dataset::{DatasetConfig, DatasetInput, write_dataset};
use recs_etl::source::MemorySource;
use std::path::Path;
use std::sync::Arc;

const TABLE: &str = "events";
const FOLDER: &str = "vocabularies";
/// Shards in memory are compressed quickly rather than well.
const GZIP_LEVEL: u32 = 1;

/// A purchase log, ready to train on.
///
/// Made by `Dataset.from_events` out of a table, or by `Dataset.from_tfrecords` out of a folder. The rows lie in
/// compressed TFRecord shards, about 40 bytes a purchase.
///
/// Examples
/// --------
/// >>> import recs
/// >>> log = {"who": [1, 1, 2], "what": ["tea", "jam", "tea"], "when": [1_500_000_000] * 3}
/// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
/// >>> len(ds), ds.n_customers, ds.n_products
/// (3, 2, 2)
#[pyclass(frozen, module = "recs")]
pub(crate) struct Dataset {
    /// The rows.
    pub(crate) rows: Arc<Loaded>,
    /// What they looked like in Python.
    pub(crate) origin: Arc<Origin>,
}

/// Shards, open, with their vocabulary.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) shards: Shards,
    pub(crate) schema: Schema,
    pub(crate) vocabulary: Arc<Vocabulary>,
}

/// What a dataset looked like in Python, so that recommendations look the same.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) kind: Kind,
    pub(crate) customer: IdType,
    pub(crate) product: IdType,
}

#[pymethods]
impl Dataset {
    /// Build a dataset from a table of purchases, one row each.
    ///
    /// Parameters
    /// ----------
    /// df : DataFrame, Table or dict
    ///     pandas, polars, pyarrow, anything else with ``__arrow_c_stream__``, or a dict of lists or arrays. The order of
    ///     its rows stays: the random split of `TwoTower` goes by it, so shuffle a sorted table first.
    /// customer, product : str
    ///     Columns of ids, integers or text. Recommendations come back in the same types.
    /// timestamp : str
    ///     Column of datetimes (without a time zone: UTC) or of integer Unix seconds.
    /// city : str, optional
    ///     Column of text or integers: where the customer is. Without it all are in "N/A".
    /// revenue : str, optional
    ///     Column of numbers, taken as they are. The model's meaning of it is the customer's total over all rows, so give
    ///     a column with that total for each row (in pandas ``df.groupby(who)[price].transform("sum")``). Without it all
    ///     are 0.
    /// name, category, subcategory : str, optional
    ///     Columns of text or integers that describe the product. Without them all are "N/A".
    ///
    /// Returns
    /// -------
    /// Dataset
    ///
    /// Raises
    /// ------
    /// SchemaError
    ///     A column is missing or of a type that cannot be used.
    /// DataError
    ///     A value is null or out of range; ``column`` and ``row`` say where.
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> log = {
    /// ...     "household": [7, 8], "item": [1001, 1002], "day": [1_500_000_000, 1_500_086_400],
    /// ...     "store": ["north", "south"],
    /// ... }
    /// >>> recs.Dataset.from_events(log, customer="household", product="item", timestamp="day", city="store")
    /// Dataset(rows=2, customers=2, products=2)
    #[staticmethod]
    #[pyo3(signature = (df, *, customer, product, timestamp, city=None, revenue=None, name=None, category=None, subcategory=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords, in Python")]
    fn from_events(
        py: Python<'_>,
        df: &Bound<'_, PyAny>,
        customer: String,
        product: String,
        timestamp: String,
        city: Option<String>,
        revenue: Option<String>,
        name: Option<String>,
        category: Option<String>,
        subcategory: Option<String>,
    ) -> Result<Self> {
        let names = [
            (Role::Customer, Some(customer)),
            (Role::Product, Some(product)),
            (Role::Timestamp, Some(timestamp)),
            (Role::City, city),
            (Role::Revenue, revenue),
            (Role::ProductName, name),
            (Role::Category, category),
            (Role::Subcategory, subcategory),
        ];
        let names = Names(names.into_iter().filter_map(|(role, name)| Some((role, name?))).collect());
        let frame = Frame::read(df, &names.columns())?;
        let id_type = |role| frame.id_type(names.of(role).unwrap_or_default());
        let (customer, product) = (id_type(Role::Customer)?, id_type(Role::Product)?);
        let origin = Origin { kind: frame.kind, customer, product };
        let (schema, batches) = (events::schema(&origin.product.arrow), frame.batches);
        let build = move |context: &Context| {
            let rows = events::convert(&batches, &names, &schema)?;
            drop(batches);
            from_batches(rows, schema, context)
        };
        let rows = runtime::run(py, Progress::silent(), build)?;
        Ok(Self { rows: Arc::new(rows), origin: Arc::new(origin) })
    }

    /// Open a published dataset: a folder with ``metadata.json``, as ``recs dataset`` and `to_tfrecords` write it.
    ///
    /// Parameters
    /// ----------
    /// path : str or os.PathLike
    ///     Folder or ``file://`` URL.
    ///
    /// Returns
    /// -------
    /// Dataset
    ///     Recommendations of models fitted on it come as a dict of lists.
    ///
    /// Examples
    /// --------
    /// >>> import recs, tempfile
    /// >>> log = {"who": [1, 2], "what": [10, 20], "when": [1_500_000_000, 1_500_000_060]}
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     ds.to_tfrecords(folder)
    /// ...     recs.Dataset.from_tfrecords(folder)
    /// Dataset(rows=2, customers=2, products=2)
    #[staticmethod]
    fn from_tfrecords(py: Python<'_>, path: &Bound<'_, PyAny>) -> Result<Self> {
        let store = existing_store(path)?;
        let rows = runtime::run(py, Progress::silent(), move |context| open(store, context))?;
        let id_type = |role: Role| -> Result<IdType> { Ok(rows.schema.role(role)?.dtype.into()) };
        let origin = Origin {
            kind: Kind::Columns,
            customer: id_type(Role::Customer)?,
            product: id_type(Role::Product)?,
        };
        Ok(Self { rows: Arc::new(rows), origin: Arc::new(origin) })
    }

    /// Publish the dataset in a folder: gzip TFRecord shards that TensorFlow reads, vocabularies and ``metadata.json``.
    ///
    /// Parameters
    /// ----------
    /// path : str or os.PathLike
    ///     A folder without a dataset; it is made when missing.
    ///
    /// Examples
    /// --------
    /// >>> import os, recs, tempfile
    /// >>> log = {"who": [1, 2], "what": [10, 20], "when": [1_500_000_000, 1_500_000_060]}
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     ds.to_tfrecords(folder)
    /// ...     sorted(os.listdir(folder))
    /// ['metadata.json', 'raw_data', 'vocabularies']
    fn to_tfrecords(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> Result<()> {
        let (store, rows) = (store(path)?, Arc::clone(&self.rows));
        runtime::run(py, Progress::silent(), move |context| context.wait(publish(&rows, store)))
    }

    /// Number of distinct customers.
    #[getter]
    fn n_customers(&self) -> usize {
        self.size(Role::Customer)
    }

    /// Number of distinct products.
    #[getter]
    fn n_products(&self) -> usize {
        self.size(Role::Product)
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.rows.shards.metadata().total_examples).unwrap_or(usize::MAX)
    }

    fn __repr__(&self) -> String {
        let (rows, customers, products) = (self.__len__(), self.n_customers(), self.n_products());
        format!("Dataset(rows={rows}, customers={customers}, products={products})")
    }
}

impl Dataset {
    fn size(&self, role: Role) -> usize {
        let field = self.rows.schema.find_role(role);
        field.and_then(|f| self.rows.vocabulary.lookup(&f.name).ok()).map_or(0, |lookup| lookup.len())
    }
}

const NO_OPTIONS: [(&str, &str); 0] = [];

/// A path as the text that a store is opened by.
pub(crate) fn url(path: &Bound<'_, PyAny>) -> Result<String> {
    Ok(path.py().import("os")?.call_method1("fspath", (path,))?.extract()?)
}

/// Opens a store for reading: a folder that is not there is an error and is not made.
pub(crate) fn existing_store(path: &Bound<'_, PyAny>) -> Result<Store> {
    let url = url(path)?;
    if !url.contains("://") && !Path::new(&url).is_dir() {
        return Err(recs_core::Error::NotFound { path: url }.into());
    }
    Ok(Store::open(&url, NO_OPTIONS)?)
}

/// Opens a store, making its folder when it is missing.
pub(crate) fn store(path: &Bound<'_, PyAny>) -> Result<Store> {
    Ok(Store::open(&url(path)?, NO_OPTIONS)?)
}

fn from_batches(batches: Vec<RecordBatch>, schema: Schema, context: &Context) -> Result<Loaded> {
    let arrow = batches.first().map(RecordBatch::schema).ok_or_else(|| Error::lost("reading a frame"))?;
    let source = Arc::new(MemorySource::new(TABLE).with_table(TABLE, arrow, batches)?);
    let (store, cancel) = (Store::memory(), &context.cancel);
    let shards = context.parallelism().min(16);
    let config = DatasetConfig { shards, gzip_level: GZIP_LEVEL, ..DatasetConfig::default() };
    context.wait(async {
        let input = DatasetInput::from_table(source, TABLE, &schema, &config, None, cancel).await?;
        write_dataset(&store, input, &schema, &config, &*context.observer, cancel).await
    })?;
    open_with(store, schema, context)
}

fn open(store: Store, context: &Context) -> Result<Loaded> {
    let shards = context.wait(Shards::open(store.clone()))?;
    let schema = schema_of(&shards)?;
    open_with(store, schema, context)
}

/// The vocabulary in the folder, or one built from the rows.
fn open_with(store: Store, schema: Schema, context: &Context) -> Result<Loaded> {
    context.wait(async {
        let folder = store.child(FOLDER)?;
        let shards = Shards::open(store).await?;
        let vocabulary = match folder.get(VOCABULARY_FILE, MAX_VOCABULARY_BYTES).await {
            Ok(json) => Vocabulary::parse(&json, &schema, &folder.show(VOCABULARY_FILE))?,
            Err(recs_core::Error::NotFound { .. }) => {
                let (config, observer) = (VocabularyConfig::default(), context.shared_observer());
                let cores = context.parallelism();
                Vocabulary::build(&shards, &schema, &config, cores, observer, &context.cancel).await?
            }
            Err(e) => return Err(e.into()),
        };
        Ok(Loaded { shards, schema, vocabulary: Arc::new(vocabulary) })
    })
}

/// The eight retail fields under the names and types that the shards have them.
fn schema_of(shards: &Shards) -> Result<Schema> {
    let mut schema = Schema::retail();
    let features = &shards.metadata().features;
    let place = |field: &Field| features.iter().find(|f| f.name == field.name);
    for field in &mut schema.fields {
        let Some(found) = place(field) else {
            let names: Vec<&str> = features.iter().map(|f| f.name.as_str()).collect();
            return Err(Error::schema(
                &field.name,
                format!("is missing; the dataset has: {}", names.join(", ")),
            ));
        };
        found.record.clone_into(&mut field.record);
        found.record.clone_into(&mut field.column);
        field.dtype = found.dtype;
    }
    schema.validate()?;
    Ok(schema)
}

/// Copies shards and vocabulary, metadata last.
async fn publish(rows: &Loaded, to: Store) -> Result<()> {
    let (from, metadata) = (rows.shards.store(), rows.shards.metadata());
    match to.size_bytes(METADATA_FILE).await {
        Err(recs_core::Error::NotFound { .. }) => {}
        Err(e) => return Err(e.into()),
        Ok(_) => return Err(recs_core::Error::AlreadyExists { path: to.show(METADATA_FILE) }.into()),
    }
    let mut publication = Publication::new(to);
    let copied = async {
        for shard in &metadata.shards {
            let bytes = from.get(&shard.file, shard.digest.size_bytes).await?;
            publication.put(&shard.file, bytes).await?;
        }
        let vocabulary = rows.vocabulary.to_json(&rows.schema)?;
        publication.put(&format!("{FOLDER}/{VOCABULARY_FILE}"), vocabulary.into()).await?;
        metadata.to_json()
    };
    match copied.await {
        Ok(json) => publication.commit(METADATA_FILE, json.into()).await.map(drop).map_err(Error::from),
        Err(e) => {
            publication.abort().await;
            Err(e.into())
        }
    }
}
