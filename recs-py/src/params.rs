//! Settings as Python objects and as JSON.

use crate::errors::{Error, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use recs_train::TrainConfig;
use serde_json::{Map, Value};

/// Keys of a model's hyperparameters that are results and no settings.
const RESULTS: [&str; 4] = ["embedding_dim", "epochs_trained", "warm_start", "refresh"];

/// The settings that `given` describes: a preset, and what differs from it.
///
/// # Errors
/// [`recs_train::Error::Config`] for a setting that does not exist or is out of range.
pub(crate) fn config(given: &Bound<'_, PyDict>) -> Result<TrainConfig> {
    let py = given.py();
    let kwargs = PyDict::new(py);
    // NumPy's scalars know how to become Python's.
    kwargs.set_item("default", py.import("operator")?.call_method1("methodcaller", ("item",))?)?;
    let dumped = py.import("json")?.call_method("dumps", (given,), Some(&kwargs));
    let refuse = |reason: String| recs_train::Error::Config { field: "train".into(), reason };
    let text: String =
        dumped.map_err(|e| refuse(format!("a setting is of no plain type: {e}")))?.extract()?;
    let overrides: Map<String, Value> = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
    Ok(TrainConfig::from_overrides(&overrides)?)
}

/// Every setting of `config`, as a dict.
pub(crate) fn settings<'py>(py: Python<'py>, config: &TrainConfig) -> Result<Bound<'py, PyDict>> {
    // As text: a 32-bit float is then as short as it was written, 0.002.
    let text = serde_json::to_string(config).map_err(|e| Error::data("", None, e.to_string()))?;
    Ok(py.import("json")?.call_method1("loads", (text,))?.cast_into::<PyDict>().map_err(PyErr::from)?)
}

/// The settings among a loaded model's hyperparameters.
pub(crate) fn of_model<'py>(
    py: Python<'py>,
    hyperparameters: &Map<String, Value>,
) -> Result<Bound<'py, PyDict>> {
    let mut settings = hyperparameters.clone();
    settings.retain(|key, _| !RESULTS.contains(&key.as_str()));
    self::settings(py, &TrainConfig::from_overrides(&settings)?)
}
