//! `recs.EvaluationResult`: how good the lists are, beside popularity's.

use crate::errors::Result;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Map, Value};

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
///     Test purchases scored.
/// rows_left_out : int
///     Test purchases left out because the customer had bought the product before, with ``seen="remove"``.
/// recall_at_5, recall_at_10, recall_at_50, recall_at_100 : float or None
/// ndcg_at_10, ndcg_at_100 : float or None
/// mrr : float or None
///     Mean of 1 / rank over the whole catalogue.
/// coverage : float or None
///     Share of the catalogue that is in at least one customer's 100.
/// personalisation : float or None
///     1 - the mean overlap of two customers' 100; 0 when everybody gets the same.
/// novelty : float or None
///     Mean of -log2 of a recommended product's share of the training purchases, in bits.
/// standard_errors : dict or None
///     Of the shares above and ``mrr``, by their names: by a bootstrap over customers.
/// intervals : dict or None
///     95 % confidence intervals of the same, as pairs.
/// slices : dict
///     Results on parts of the purchases: by ``known_purchases`` of the customer (``new``, ``1-9``, ``10-99``, ``100+``), by
///     ``product`` (``head``: the most bought ones that make 80 % of the training purchases, ``long_tail``), by ``purchase``
///     (``repurchase``, ``first_purchase``), by city; of each its ``rows``, its shares, ``mrr``, and the
///     ``standard_error`` of ``recall_at_100``. ``pandas.DataFrame(result.slices["city"]).T`` is a table.
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
/// >>> result.slices["known_purchases"]["10-99"]["rows"]
/// 56
#[pyclass(frozen, module = "recs")]
pub(crate) struct EvaluationResult {
    #[pyo3(get)]
    split: String,
    #[pyo3(get)]
    rows: u64,
    #[pyo3(get)]
    rows_left_out: u64,
    #[pyo3(get)]
    recall_at_5: Option<f64>,
    #[pyo3(get)]
    recall_at_10: Option<f64>,
    #[pyo3(get)]
    recall_at_50: Option<f64>,
    #[pyo3(get)]
    recall_at_100: Option<f64>,
    #[pyo3(get)]
    ndcg_at_10: Option<f64>,
    #[pyo3(get)]
    ndcg_at_100: Option<f64>,
    #[pyo3(get)]
    mrr: Option<f64>,
    #[pyo3(get)]
    coverage: Option<f64>,
    #[pyo3(get)]
    personalisation: Option<f64>,
    #[pyo3(get)]
    novelty: Option<f64>,
    #[pyo3(get)]
    towers: Option<Py<EvaluationResult>>,
    #[pyo3(get)]
    popularity: Option<Py<EvaluationResult>>,
    bootstrap: Vec<Spread>,
    slices: Vec<Table>,
}

/// A metric over the bootstrap's samples.
struct Spread {
    metric: &'static str,
    standard_error: f64,
    low: f64,
    high: f64,
}

/// One way of slicing: names of the slices with their values.
struct Table {
    by: String,
    slices: Vec<(String, Map<String, Value>)>,
}

/// What the bootstrap resamples.
const RESAMPLED: [&str; 7] =
    ["recall_at_5", "recall_at_10", "recall_at_50", "recall_at_100", "ndcg_at_10", "ndcg_at_100", "mrr"];

fn spreads(evaluation: &Value) -> Vec<Spread> {
    let spread = |metric: &'static str| {
        let number = |key: &str| evaluation.pointer(&format!("/bootstrap/{metric}/{key}"))?.as_f64();
        let (standard_error, low, high) = (number("standard_error")?, number("low")?, number("high")?);
        Some(Spread { metric, standard_error, low, high })
    };
    RESAMPLED.into_iter().filter_map(spread).collect()
}

fn tables(evaluation: &Value) -> Vec<Table> {
    let slice = |slice: &Value| {
        let mut values = slice.as_object()?.clone();
        Some((values.remove("name")?.as_str()?.to_owned(), values))
    };
    let table = |table: &Value| {
        let slices = table.get("slices")?.as_array()?.iter().filter_map(slice).collect();
        Some(Table { by: table.get("by")?.as_str()?.to_owned(), slices })
    };
    evaluation.get("slices").and_then(Value::as_array).into_iter().flatten().filter_map(table).collect()
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
            rows_left_out: value.get("rows_left_out").and_then(Value::as_u64).unwrap_or_default(),
            recall_at_5: number("recall_at_5"),
            recall_at_10: number("recall_at_10"),
            recall_at_50: number("recall_at_50"),
            recall_at_100: number("recall_at_100"),
            ndcg_at_10: number("ndcg_at_10"),
            ndcg_at_100: number("ndcg_at_100"),
            mrr: number("mrr"),
            coverage: number("coverage"),
            personalisation: number("personalisation"),
            novelty: number("novelty"),
            towers: None,
            popularity: None,
            bootstrap: spreads(value),
            slices: tables(value),
        }
    }

    fn values(&self) -> [(&'static str, Option<f64>); 10] {
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
            ("novelty", self.novelty),
        ]
    }
}

#[pymethods]
impl EvaluationResult {
    #[getter]
    fn standard_errors<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.of_spreads(py, |spread| spread.standard_error)
    }

    #[getter]
    fn intervals<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.of_spreads(py, |spread| (spread.low, spread.high))
    }

    #[getter]
    fn slices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tables = PyDict::new(py);
        for table in &self.slices {
            let slices = PyDict::new(py);
            for (name, values) in &table.slices {
                let of_slice = PyDict::new(py);
                for (key, value) in values {
                    match value.as_u64() {
                        Some(rows) => of_slice.set_item(key, rows)?,
                        None => of_slice.set_item(key, value.as_f64())?,
                    }
                }
                slices.set_item(name, of_slice)?;
            }
            tables.set_item(&table.by, slices)?;
        }
        Ok(tables)
    }

    /// Everything but the slices as a flat dict: intervals under ``recall_at_100_low``, ``_high`` and ``_standard_error``,
    /// popularity's values under names that begin with ``popularity_``.
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
        dict.set_item("rows_left_out", self.rows_left_out)?;
        self.values().into_iter().try_for_each(|(name, value)| dict.set_item(name, value))?;
        for spread in &self.bootstrap {
            let values =
                [("standard_error", spread.standard_error), ("low", spread.low), ("high", spread.high)];
            for (name, value) in values {
                dict.set_item(format!("{}_{name}", spread.metric), value)?;
            }
        }
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
        let mut text = format!("{:<16} {:>9}", "", "model");
        if self.popularity.is_some() {
            text.push_str("  popularity");
        }
        text.push_str(&format!("   ({} test rows, {} split)", self.rows, self.split));
        let baseline = self.popularity.as_ref().map(|p| p.get().values());
        for (i, (name, value)) in self.values().into_iter().enumerate() {
            let shown = |value: Option<f64>| match name {
                "novelty" => value.map_or_else(|| "-".into(), |bits| format!("{bits:.2}")),
                _ => percent(value),
            };
            text.push_str(&format!("\n{name:<16} {:>9}", shown(value)));
            if let Some(theirs) = &baseline {
                text.push_str(&format!(" {:>11}", shown(theirs[i].1)));
            }
        }
        if self.rows_left_out > 0 {
            text.push_str(&format!("\nleft out: {} rows of products bought before", self.rows_left_out));
        }
        if let Some(spread) = self.bootstrap.iter().find(|spread| spread.metric == "recall_at_100") {
            let (low, high) = (percent(Some(spread.low)), percent(Some(spread.high)));
            text.push_str(&format!("\nrecall_at_100 is {low} to {high} with 95 % confidence"));
        }
        self.slices.iter().for_each(|table| table.show(&mut text));
        text
    }
}

impl EvaluationResult {
    fn of_spreads<'py, T: IntoPyObject<'py>>(
        &self,
        py: Python<'py>,
        value: impl Fn(&Spread) -> T,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.bootstrap.is_empty() {
            return Ok(None);
        }
        let dict = PyDict::new(py);
        self.bootstrap.iter().try_for_each(|spread| dict.set_item(spread.metric, value(spread)))?;
        Ok(Some(dict))
    }
}

impl Table {
    /// Appends the slices that have rows, a line each.
    fn show(&self, text: &mut String) {
        text.push_str(&format!("\n{:<16} {:>9} {:>14} {:>9}", self.by, "rows", "recall_at_100", "+-"));
        for (name, values) in &self.slices {
            let rows = values.get("rows").and_then(Value::as_u64).unwrap_or_default();
            if rows > 0 {
                let share = |key: &str| percent(values.get(key).and_then(Value::as_f64));
                let (recall, error) = (share("recall_at_100"), share("standard_error"));
                text.push_str(&format!("\n{name:<16} {rows:>9} {recall:>14} {error:>9}"));
            }
        }
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.2} %", 100.0 * share))
}
