//! What `recommend` runs: customers in, a tidy table out.

use crate::array;
use crate::errors::{Error, Result};
use crate::fit::Model;
use crate::ids;
use arrow::array::{Array, ArrayRef, Float32Array, Int64Array, StringArray, StringBuilder, UInt32Array};
use arrow::compute::take;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString};
use recs_core::observe::CancelToken;
use recs_serve::retriever::{MAX_BATCH, Reason, Request};
use std::sync::Arc;

/// Who asks: ids in their own type and as text.
pub(crate) struct Customers {
    pub(crate) given: ArrayRef,
    texts: StringArray,
}

impl Customers {
    /// One id, or any column of ids.
    pub(crate) fn read(customers: &Bound<'_, PyAny>) -> Result<Self> {
        const NAME: &str = "customers";
        let is_single = customers.is_instance_of::<PyString>() || customers.is_instance_of::<PyInt>();
        let given = if is_single {
            array::column(PyList::new(customers.py(), [customers])?.as_any(), NAME)?
        } else {
            array::column(customers, NAME)?
        };
        ids::no_nulls(&given, NAME, 0)?;
        Ok(Self { texts: ids::strings(&given, NAME)?, given })
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// One value for all customers, or one for each.
#[derive(Debug, Clone)]
pub(crate) enum PerCustomer<T> {
    /// The same for all.
    All(Option<T>),
    /// In the order of the customers.
    Each(Vec<T>),
}

impl<T: Clone> PerCustomer<T> {
    /// Reads one value or a sequence of them; `one` gives None for what it does not understand.
    pub(crate) fn read<'py>(
        given: Option<&Bound<'py, PyAny>>,
        name: &str,
        customers: usize,
        one: impl Fn(&Bound<'py, PyAny>) -> Result<Option<T>>,
    ) -> Result<Self> {
        let Some(given) = given.filter(|g| !g.is_none()) else { return Ok(Self::All(None)) };
        let read = |value: &Bound<'py, PyAny>, row: Option<usize>| {
            let refuse = || Error::data(name, row, format!("{value:?} is no {name}"));
            one(value)?.ok_or_else(refuse)
        };
        if given.is_instance_of::<PyString>() || !given.hasattr("__iter__")? {
            return Ok(Self::All(Some(read(given, None)?)));
        }
        let mut values = Vec::with_capacity(customers);
        for (row, value) in plain(given)?.try_iter()?.enumerate() {
            values.push(read(&value?, Some(row))?);
        }
        if values.len() != customers {
            let problem = format!("has {} values, there are {customers} customers", values.len());
            return Err(Error::schema(name, problem));
        }
        Ok(Self::Each(values))
    }

    fn of(&self, customer: usize) -> Option<T> {
        match self {
            Self::All(value) => value.clone(),
            Self::Each(values) => values.get(customer).cloned(),
        }
    }
}

/// The values of a Series or array as Python's own.
fn plain<'py>(values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    for method in ["tolist", "to_list", "to_pylist"] {
        if values.hasattr(method)? {
            return values.call_method0(method);
        }
    }
    Ok(values.clone())
}

/// A question about many customers.
pub(crate) struct Question {
    pub(crate) customers: Customers,
    pub(crate) city: PerCustomer<String>,
    pub(crate) revenue: PerCustomer<f32>,
    pub(crate) timestamp: PerCustomer<i64>,
    pub(crate) k: usize,
    pub(crate) exclude_purchased: bool,
}

/// The answer, a row for each recommended product.
pub(crate) struct Answer {
    /// In the type of the question.
    pub(crate) customer: ArrayRef,
    /// As text.
    pub(crate) product: ArrayRef,
    /// From 1.
    pub(crate) rank: ArrayRef,
    pub(crate) score: ArrayRef,
    pub(crate) reason: ArrayRef,
}

#[derive(Default)]
struct Rows {
    customer: Vec<u32>,
    product: StringBuilder,
    rank: Vec<i64>,
    score: Vec<f32>,
    reason: StringBuilder,
}

impl Question {
    /// Asks the model, a thousand customers at a time.
    ///
    /// # Errors
    /// Those of the retriever; cancellation.
    pub(crate) fn answer(&self, model: &Model, cancel: &CancelToken) -> Result<Answer> {
        let mut rows = Rows::default();
        let all: Vec<usize> = (0..self.customers.len()).collect();
        for batch in all.chunks(MAX_BATCH) {
            cancel.check()?;
            let requests: Vec<Request> = batch.iter().map(|&i| self.request(model, i)).collect();
            let answers = model.retriever.recommend_batch(&requests)?;
            for (&customer, answer) in batch.iter().zip(&answers) {
                for item in &answer.items {
                    rows.customer.push(customer as u32);
                    rows.product.append_value(item.product_id);
                    rows.rank.push(item.rank as i64);
                    rows.score.push(item.score);
                    rows.reason.append_value(name(item.reason));
                }
            }
        }
        rows.finish(&self.customers.given)
    }

    fn request(&self, model: &Model, customer: usize) -> Request {
        let id = self.customers.texts.value(customer);
        let known = &model.artifact.customers;
        // The model was trained with each customer's own city.
        let home = || known.position(id).map(|at| known.segment[at].clone());
        Request {
            customer_id: id.to_owned(),
            city: self.city.of(customer).or_else(home),
            revenue: self.revenue.of(customer),
            timestamp: self.timestamp.of(customer),
            k: self.k,
            exclude_purchased: self.exclude_purchased,
            ..Request::default()
        }
    }
}

impl Rows {
    fn finish(mut self, customers: &ArrayRef) -> Result<Answer> {
        let fault = |e: arrow::error::ArrowError| Error::data("customers", None, e.to_string());
        Ok(Answer {
            customer: take(customers, &UInt32Array::from(self.customer), None).map_err(fault)?,
            product: Arc::new(self.product.finish()),
            rank: Arc::new(Int64Array::from(self.rank)),
            score: Arc::new(Float32Array::from(self.score)),
            reason: Arc::new(self.reason.finish()),
        })
    }
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Model => "model",
        Reason::FeaturesOnly => "features_only",
        Reason::Segment => "segment",
        Reason::Popularity => "popularity",
        Reason::Pinned => "pinned",
        Reason::Repeat => "repeat",
    }
}
