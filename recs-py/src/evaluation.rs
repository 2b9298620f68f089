//! `recs.EvaluationResult`: how good the lists are, beside popularity's.

use crate::errors::Result;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

/// Results of a model on test purchases, and those of popularity on the same ones.
///
/// A row is one purchase: recall at k is the share of test purchases whose product is among the k recommended (others
/// average per customer). A value that was not computed is None.
///
/// Attributes
/// ----------
/// split : str
///     Which purchases: ``time`` (the last 7 days) or ``random`` (the last 5 % of the rows).
/// rows : int
///     Test purchases.
/// recall_at_5, recall_at_10, recall_at_50, recall_at_100 : float or None
/// ndcg_at_10, ndcg_at_100 : float or None
/// mrr : float or None
///     Mean of 1 / rank over the whole catalogue.
/// coverage : float or None
///     Share of the catalogue that is in at least one customer's 100.
/// personalisation : float or None
///     1 - the mean overlap of two customers' 100; 0 when everybody gets the same.
/// towers : EvaluationResult or None
///     The two towers alone, when what is served adds a term for what customers buy again.
/// popularity : EvaluationResult or None
///     What recommending the most bought products to everybody gives.
///
/// Examples
/// --------
/// >>> import recs
/// >>> days, people = range(30), range(8)
/// >>> log = {
/// ...     "who": [p for d in days for p in people],
/// ...     "what": [d * p % 12 for d in days for p in people],
/// ...     "when": [1_500_000_000 + 86_400 * d for d in days for p in people],
/// ... }
/// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
/// >>> result = recs.TwoTower(epochs=1).fit(ds, show_progress=False).evaluate(ds)
/// >>> result.rows, result.recall_at_100, result.popularity.recall_at_100
/// (56, 1.0, 1.0)
/// >>> sorted(result.to_dict())[:2]
/// ['coverage', 'mrr']
#[pyclass(frozen, get_all, module = "recs")]
pub(crate) struct EvaluationResult {
    split: String,
    rows: u64,
    recall_at_5: Option<f64>,
    recall_at_10: Option<f64>,
    recall_at_50: Option<f64>,
    recall_at_100: Option<f64>,
    ndcg_at_10: Option<f64>,
    ndcg_at_100: Option<f64>,
    mrr: Option<f64>,
    coverage: Option<f64>,
    personalisation: Option<f64>,
    towers: Option<Py<EvaluationResult>>,
    popularity: Option<Py<EvaluationResult>>,
}

impl EvaluationResult {
    /// From the JSON of two evaluations.
    pub(crate) fn new(py: Python<'_>, split: &str, model: &Value, popularity: &Value) -> Result<Self> {
        let baseline = Py::new(py, Self::single(split, popularity))?;
        let (served, towers) = match model.get("with_repeat").filter(|served| served.is_object()) {
            Some(served) => (served, Some(Py::new(py, Self::single(split, model))?)),
            None => (model, None),
        };
        Ok(Self { towers, popularity: Some(baseline), ..Self::single(split, served) })
    }

    fn single(split: &str, value: &Value) -> Self {
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        Self {
            split: split.into(),
            rows: value.get("rows").and_then(Value::as_u64).unwrap_or_default(),
            recall_at_5: number("recall_at_5"),
            recall_at_10: number("recall_at_10"),
            recall_at_50: number("recall_at_50"),
            recall_at_100: number("recall_at_100"),
            ndcg_at_10: number("ndcg_at_10"),
            ndcg_at_100: number("ndcg_at_100"),
            mrr: number("mrr"),
            coverage: number("coverage"),
            personalisation: number("personalisation"),
            towers: None,
            popularity: None,
        }
    }

    fn values(&self) -> [(&'static str, Option<f64>); 9] {
        [
            ("recall_at_5", self.recall_at_5),
            ("recall_at_10", self.recall_at_10),
            ("recall_at_50", self.recall_at_50),
            ("recall_at_100", self.recall_at_100),
            ("ndcg_at_10", self.ndcg_at_10),
            ("ndcg_at_100", self.ndcg_at_100),
            ("mrr", self.mrr),
            ("coverage", self.coverage),
            ("personalisation", self.personalisation),
        ]
    }
}

#[pymethods]
impl EvaluationResult {
    /// Everything as a flat dict, popularity's values under names that begin with ``popularity_``.
    ///
    /// Returns
    /// -------
    /// dict
    ///
    /// Examples
    /// --------
    /// >>> import recs
    /// >>> log = {
    /// ...     "who": list(range(8)) * 30, "what": list(range(12)) * 20,
    /// ...     "when": [1_500_000_000 + 86_400 * (i // 8) for i in range(240)],
    /// ... }
    /// >>> ds = recs.Dataset.from_events(log, customer="who", product="what", timestamp="when")
    /// >>> model = recs.TwoTower(epochs=1).fit(ds, show_progress=False)
    /// >>> model.metrics.to_dict()["popularity_recall_at_100"]
    /// 1.0
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("split", &self.split)?;
        dict.set_item("rows", self.rows)?;
        self.values().into_iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
        if let Some(popularity) = &self.popularity {
            for (name, value) in popularity.get().values() {
                dict.set_item(format!("popularity_{name}"), value)?;
            }
        }
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        let shown = |value: Option<f64>| value.map_or_else(|| "None".into(), |v| format!("{v:.4}"));
        let mut text = format!("EvaluationResult(split='{}', rows={}", self.split, self.rows);
        text.push_str(&format!(", recall_at_100={}", shown(self.recall_at_100)));
        if let Some(popularity) = &self.popularity {
            let recall = shown(popularity.get().recall_at_100);
            text.push_str(&format!(", popularity_recall_at_100={recall}"));
        }
        text.push(')');
        text
    }

    fn __str__(&self) -> String {
        let percent = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{:.2} %", 100.0 * v));
        let mut text = format!("{:<16} {:>9}", "", "model");
        if self.popularity.is_some() {
            text.push_str("  popularity");
        }
        text.push_str(&format!("   ({} test rows, {} split)", self.rows, self.split));
        let baseline = self.popularity.as_ref().map(|p| p.get().values());
        for (i, (name, value)) in self.values().into_iter().enumerate() {
            text.push_str(&format!("\n{name:<16} {:>9}", percent(value)));
            if let Some(theirs) = &baseline {
                text.push_str(&format!(" {:>11}", percent(theirs[i].1)));
            }
        }
        text
    }
}
