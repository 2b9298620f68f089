//! `recs.TwoTower`.

use crate::dataset::{self, Dataset, Origin};
use crate::errors::{Error, Result};
use crate::evaluation::EvaluationResult;
use crate::fit::{Model, tenant_root};
use crate::params;
use crate::progress::Progress;
use crate::question::Question;
use crate::runtime::{self, Context};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use recs_train::CheckpointConfig;
use recs_train::data::SplitKind;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// A two-tower model: one tower embeds the customer, one the product, and close means likely to be bought.
///
/// Settings that are not given are those of the preset; `get_params` shows them all. A fitted model may be used from
/// many threads at once; fitting it again replaces the weights only when the new ones are there.
///
/// Parameters
/// ----------
/// preset : {"recommended", "reference"}
///     ``recommended`` is what gives the best lists we know of; ``reference`` is the usual TensorFlow Recommenders
///     program, number for number.
/// **params
///     Settings that differ, e.g. ``epochs``, ``batch``, ``learning_rate``, ``seed``, ``threads`` (0: all cores),
///     ``split`` ("time" or "random"). Groups are dicts and merge key by key: ``loss={"temperature": 0.05}``.
///
/// Examples
/// --------
/// >>> import recs
/// >>> recs.TwoTower(epochs=5, seed=3)
/// TwoTower(preset='recommended', epochs=5, seed=3)
#[pyclass(frozen, module = "recs")]
pub(crate) struct TwoTower {
    /// As given.
    params: Py<PyDict>,
    fitted: RwLock<Option<Fitted>>,
}

#[derive(Clone)]
struct Fitted {
    model: Arc<Model>,
    /// None for a loaded model.
    origin: Option<Arc<Origin>>,
}

#[pymethods]
impl TwoTower {
    #[new]
    #[pyo3(signature = (preset=None, **params), text_signature = "(preset='recommended', **params)")]
    fn new(
        py: Python<'_>,
        preset: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyDict>>,
    ) -> Result<Self> {
        let given = PyDict::new(py);
        match preset {
            // The object itself: scikit-learn's clone wants back what it gave.
            Some(preset) => given.set_item("preset", preset)?,
            None => given.set_item("preset", "recommended")?,
        }
        if let Some(params) = params {
            given.update(params.as_mapping())?;
        }
        params::config(&given)?;
        Ok(Self { params: given.unbind(), fitted: RwLock::new(None) })
    }

    /// Train on a dataset, and evaluate on its test purchases.
    ///
    /// Ctrl-C stops at once and leaves the model as it was before.
    ///
    /// Parameters
    /// ----------
    /// dataset : Dataset
    /// show_progress : bool
    ///     Show rows a second, the time left and each epoch on ``sys.stderr``.
    /// checkpoints : str or os.PathLike, optional
    ///     Folder for checkpoints of a long run. A run that was killed and is started again in the same way goes on from
    ///     the newest one there and ends with the same weights; a finished run removes them. The folder of a run that
    ///     was given up has to be deleted.
    /// checkpoint_minutes : float
    ///     Minutes from one checkpoint to the next.
    /// warm_start : TwoTower, optional
    ///     A fitted or loaded model with the same settings, whose weights the training starts from. Customers and products
    ///     keep what was learned, whichever have come or gone; new products start like those of their subcategory. A
    ///     warning tells when that model has seen test purchases.
    ///
    /// Returns
    /// -------
    /// TwoTower
    ///     The model itself.
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> log = {
    /// ...     "who": list(range(8)) * 30, "what": list(range(12)) * 20,
    /// ...     "when": [1_500_000_000 + 86_400 * (i // 8) for i in range(240)],
    /// ... }
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> model = recs.TwoTower(epochs=2).fit(ds, show_progress=False)
    /// >>> model.metrics.split
    /// 'time'
    #[pyo3(signature = (dataset, *, show_progress=true, checkpoints=None, checkpoint_minutes=5.0, warm_start=None))]
    fn fit<'py>(
        slf: &Bound<'py, Self>,
        dataset: &Bound<'py, Dataset>,
        show_progress: bool,
        checkpoints: Option<PathBuf>,
        checkpoint_minutes: f64,
        warm_start: Option<&Bound<'py, Self>>,
    ) -> Result<Bound<'py, Self>> {
        let py = slf.py();
        let (this, dataset) = (slf.get(), dataset.get());
        let (config, rows) = (params::config(this.params.bind(py))?, Arc::clone(&dataset.rows));
        let progress = Progress::new(show_progress);
        let checkpoints = checkpoints.map(|folder| CheckpointConfig {
            every_minutes: Some(checkpoint_minutes),
            ..CheckpointConfig::new(folder)
        });
        let previous = warm_start.map(|model| model.get().fitted()).transpose()?.map(|fitted| fitted.model);
        let fit =
            move |context: &Context| Model::fit(config, checkpoints, previous.as_deref(), &rows, context);
        let model = runtime::run(py, progress, fit)?;
        this.keep(model, Some(Arc::clone(&dataset.origin)));
        Ok(slf.clone())
    }

    /// Evaluate on the test purchases of a dataset.
    ///
    /// Parameters
    /// ----------
    /// dataset : Dataset
    /// split : {"time", "random"}, optional
    ///     Which purchases are the test; as in training unless given. Under another split than that of the training the
    ///     model has seen test purchases, of which a warning tells.
    /// evaluation : dict, optional
    ///     What the report looks at, as ``evaluation`` of the constructor; the model's unless given. ``{"seen": "remove"}``
    ///     takes what a customer bought before out of the lists, ``{"slices": {"fields": ["city"]}}`` slices by values of
    ///     text fields, ``{"bootstrap": {"samples": 0}}`` leaves out the confidence intervals.
    /// show_progress : bool
    ///
    /// Returns
    /// -------
    /// EvaluationResult
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> log = {
    /// ...     "who": list(range(8)) * 30, "what": list(range(12)) * 20,
    /// ...     "when": [1_500_000_000 + 86_400 * (i // 8) for i in range(240)],
    /// ... }
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> model = recs.TwoTower(epochs=2).fit(ds, show_progress=False)
    /// >>> model.evaluate(ds).recall_at_100
    /// 1.0
    #[pyo3(signature = (dataset, split=None, *, evaluation=None, show_progress=false))]
    fn evaluate(
        &self,
        py: Python<'_>,
        dataset: &Bound<'_, Dataset>,
        split: Option<&str>,
        evaluation: Option<&Bound<'_, PyDict>>,
        show_progress: bool,
    ) -> Result<EvaluationResult> {
        let (model, rows) = (self.fitted()?.model, Arc::clone(&dataset.get().rows));
        let split = split.map_or(Ok(model.split()), split_kind)?;
        let settings = self.params.bind(py).copy()?;
        if let Some(evaluation) = evaluation {
            settings.set_item("evaluation", evaluation)?;
        }
        let (options, progress) = (params::config(&settings)?.evaluation, Progress::new(show_progress));
        let (test, popularity) = runtime::run(py, progress, move |context| {
            Model::evaluate(&model.artifact, &rows, split, &options, context)
        })?;
        let json = |e| serde_json::to_value(e).map_err(|e| Error::data("", None, e.to_string()));
        EvaluationResult::new(py, split.name(), &json(&test)?, &json(&popularity)?)
    }

    /// Recommend products to customers.
    ///
    /// Parameters
    /// ----------
    /// customers : list, Series or array of ids, or one id
    ///     Unknown ones are no error: city, or else popularity decides, and ``reason`` says so.
    /// k : int
    ///     Products for each customer.
    /// city : str, or one for each customer, optional
    ///     Where they are; the city that each bought in most unless given.
    /// revenue : float, or one for each customer, optional
    ///     The customer's total, as in the dataset; the mean unless given.
    /// timestamp : datetime or int, or one for each customer, optional
    ///     As of when; now unless given.
    /// exclude_purchased : bool
    ///     Leave out what the customer bought before the test purchases.
    ///
    /// Returns
    /// -------
    /// DataFrame, Table or dict
    ///     Columns customer, product, rank (from 1), score, reason, best first for each customer. Of the type of the table
    ///     that the dataset came from, of that of ``customers`` for a loaded model, and a dict of lists otherwise.
    ///     ``reason`` is model, features_only (customer unknown), segment, popularity, or repeat (bought before).
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> log = {
    /// ...     "who": list(range(8)) * 30, "what": list(range(12)) * 20,
    /// ...     "when": [1_500_000_000 + 86_400 * (i // 8) for i in range(240)],
    /// ... }
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> model = recs.TwoTower(epochs=2).fit(ds, show_progress=False)
    /// >>> answer = model.recommend([0, 5], k=3)
    /// >>> answer["customer"], answer["rank"]
    /// ([0, 0, 0, 5, 5, 5], [1, 2, 3, 1, 2, 3])
    #[pyo3(signature = (customers, k=100, *, city=None, revenue=None, timestamp=None, exclude_purchased=false))]
    fn recommend<'py>(
        &self,
        py: Python<'py>,
        customers: &Bound<'py, PyAny>,
        k: usize,
        city: Option<&Bound<'py, PyAny>>,
        revenue: Option<&Bound<'py, PyAny>>,
        timestamp: Option<&Bound<'py, PyAny>>,
        exclude_purchased: bool,
    ) -> Result<Bound<'py, PyAny>> {
        let Fitted { model, origin } = self.fitted()?;
        let question = Question::read(customers, k, city, revenue, timestamp, exclude_purchased)?;
        let origin = origin.map_or_else(|| question.origin(customers, &model).map(Arc::new), Ok)?;
        let answering = move |context: &Context| question.answer(&model, context);
        runtime::run(py, Progress::silent(), answering)?.table(py, &origin)
    }

    /// Save the model as a new version: nobody sees half of it, and versions are never overwritten.
    ///
    /// Parameters
    /// ----------
    /// path : str or os.PathLike
    ///     Folder or ``file://`` URL of a store; it holds many versions of many tenants.
    /// tenant : str
    ///     Whose model it is: 1 to 63 of a-z, 0-9 and -.
    /// version : str, optional
    ///     Name of the version; the time of the fit unless given.
    ///
    /// Returns
    /// -------
    /// str
    ///     The version.
    ///
    /// Raises
    /// ------
    /// StoreError
    ///     The version is there already, or the store cannot be written.
    ///
    /// Examples
    /// --------
    /// >>> import recs, tempfile
    /// >>> log = {
    /// ...     "who": list(range(8)) * 30, "what": list(range(12)) * 20,
    /// ...     "when": [1_500_000_000 + 86_400 * (i // 8) for i in range(240)],
    /// ... }
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> model = recs.TwoTower(epochs=2).fit(ds, show_progress=False)
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     model.save(folder, version="v1")
    /// ...     same = recs.TwoTower.load(folder)
    /// 'v1'
    /// >>> same.version, same.recommend([3], k=5) == model.recommend([3], k=5)
    /// ('v1', True)
    #[pyo3(signature = (path, *, tenant="default", version=None))]
    fn save(
        &self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        tenant: &str,
        version: Option<String>,
    ) -> Result<String> {
        let Fitted { model, origin } = self.fitted()?;
        let root = tenant_root(&dataset::store(path)?, tenant)?;
        let version = version.unwrap_or_else(|| model.artifact.metadata.model_version.clone());
        let name = version.clone();
        let saved = runtime::run(py, Progress::silent(), move |context| model.save(&root, &name, context))?;
        self.keep(saved, origin);
        Ok(version)
    }

    /// Load a saved model; every file is checked against its digest.
    ///
    /// Parameters
    /// ----------
    /// path : str or os.PathLike
    ///     Where it was saved.
    /// tenant : str
    /// version : str, optional
    ///     The latest unless given.
    ///
    /// Returns
    /// -------
    /// TwoTower
    ///
    /// Raises
    /// ------
    /// NotFoundError
    ///     There is no such folder, tenant or version.
    /// CorruptFileError
    ///     A file is damaged.
    ///
    /// Examples
    /// --------
    /// See `save`.
    ///
    /// >>> import recs
    /// >>> recs.TwoTower.load("no/such/folder")
    /// Traceback (most recent call last):
    ///     ...
    /// recs.errors.NotFoundError: no/such/folder: not found
    #[staticmethod]
    #[pyo3(signature = (path, *, tenant="default", version=None))]
    fn load(py: Python<'_>, path: &Bound<'_, PyAny>, tenant: &str, version: Option<String>) -> Result<Self> {
        let root = tenant_root(&dataset::existing_store(path)?, tenant)?;
        let loading = move |context: &Context| Model::load(&root, version, context);
        let model = Arc::new(runtime::run(py, Progress::silent(), loading)?);
        let params = params::of_model(py, &model.artifact.metadata.hyperparameters)?;
        let fitted = Fitted { model, origin: None };
        Ok(Self { params: params.unbind(), fitted: RwLock::new(Some(fitted)) })
    }

    /// Results of the training run on its test purchases; None before `fit`.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> Result<Option<EvaluationResult>> {
        let Ok(Fitted { model, .. }) = self.fitted() else { return Ok(None) };
        let (test, popularity) = model.metrics();
        EvaluationResult::new(py, model.split().name(), test, popularity).map(Some)
    }

    /// Name of the model's version: the time of the fit, or the name it was saved under; None before `fit`.
    #[getter]
    fn version(&self) -> Option<String> {
        self.fitted().ok().map(|f| f.model.artifact.metadata.model_version.clone())
    }

    /// All settings: those given as they were given, the others as the preset has them.
    ///
    /// Parameters
    /// ----------
    /// deep : bool
    ///     Without effect; there for scikit-learn.
    ///
    /// Returns
    /// -------
    /// dict
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> recs.TwoTower("reference", epochs=2).get_params()["epochs"]
    /// 2
    #[pyo3(signature = (deep=true))]
    #[expect(unused_variables, reason = "scikit-learn's signature")]
    fn get_params<'py>(&self, py: Python<'py>, deep: bool) -> Result<Bound<'py, PyDict>> {
        let given = self.params.bind(py);
        let all = params::settings(py, &params::config(given)?)?;
        all.update(given.as_mapping())?;
        Ok(all)
    }

    /// Change settings; they count from the next `fit`.
    ///
    /// Parameters
    /// ----------
    /// **params
    ///     As in the constructor.
    ///
    /// Returns
    /// -------
    /// TwoTower
    ///     The model itself.
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> recs.TwoTower().set_params(epochs=2)
    /// TwoTower(preset='recommended', epochs=2)
    #[pyo3(signature = (**params))]
    fn set_params<'py>(
        slf: &Bound<'py, Self>,
        params: Option<&Bound<'py, PyDict>>,
    ) -> Result<Bound<'py, Self>> {
        let given = slf.get().params.bind(slf.py());
        if let Some(params) = params {
            let changed = given.copy()?;
            changed.update(params.as_mapping())?;
            params::config(&changed)?;
            given.update(changed.as_mapping())?;
        }
        Ok(slf.clone())
    }

    fn __repr__(&self, py: Python<'_>) -> Result<String> {
        let one =
            |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| Ok(format!("{name}={}", value.repr()?));
        let given = self.params.bind(py).iter().map(one).collect::<PyResult<Vec<_>>>()?;
        Ok(format!("TwoTower({})", given.join(", ")))
    }
}

impl TwoTower {
    fn fitted(&self) -> Result<Fitted> {
        let fitted = self.fitted.read().unwrap_or_else(PoisonError::into_inner);
        fitted.clone().ok_or(Error::NotFitted)
    }

    fn keep(&self, model: Model, origin: Option<Arc<Origin>>) {
        let new = Some(Fitted { model: Arc::new(model), origin });
        let old = std::mem::replace(&mut *self.fitted.write().unwrap_or_else(PoisonError::into_inner), new);
        drop(old);
    }
}

fn split_kind(name: &str) -> Result<SplitKind> {
    match name {
        "time" => Ok(SplitKind::Time),
        "random" => Ok(SplitKind::Random),
        other => Err(recs_train::Error::Config {
            field: "split".into(),
            reason: format!("is {other:?}, allowed are \"time\" and \"random\""),
        }
        .into()),
    }
}
