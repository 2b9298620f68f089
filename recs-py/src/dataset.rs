//! `recs.Dataset`: purchases as gzip TFRecord shards, in memory or in a folder, with their vocabulary.

use crate::errors::Result;
use crate::events::{self, Names};
use crate::frame::{Frame, Kind};
use crate::ids::IdType;
use crate::progress::Progress;
use crate::runtime::{self, Context};
use crate::shards::Loaded;
use pyo3::prelude::*;
use recs_core::schema::Role;
use recs_core::store::{Store, env_options};
use std::path::Path;
use std::sync::Arc;

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
            Loaded::from_batches(rows, schema, context)
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
        let rows = runtime::run(py, Progress::silent(), move |context| Loaded::open(store, context))?;
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
        runtime::run(py, Progress::silent(), move |context| context.wait(rows.publish(store)))
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
    Ok(Store::open(&url, env_options())?)
}

/// Opens a store, making its folder when it is missing.
pub(crate) fn store(path: &Bound<'_, PyAny>) -> Result<Store> {
    Ok(Store::open(&url(path)?, env_options())?)
}
