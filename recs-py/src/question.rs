//! What is asked of a model: customers, each with a situation.

use crate::array;
use crate::dataset::Origin;
use crate::errors::{Error, Result};
use crate::events;
use crate::fit::Model;
use crate::frame::Kind;
use crate::ids::{self, IdType};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::Int64Type;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString};
use recs_core::schema::Role;
use recs_serve::retriever::Request;

/// Who asks: ids in their own type and as text.
struct Customers {
    given: ArrayRef,
    texts: StringArray,
}

impl Customers {
    /// One id, or any column of ids.
    fn read(customers: &Bound<'_, PyAny>) -> Result<Self> {
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

    fn len(&self) -> usize {
        self.texts.len()
    }
}

/// One value for all customers, or one for each.
#[derive(Debug, Clone)]
enum PerCustomer<T> {
    /// The same for all.
    All(Option<T>),
    /// In the order of the customers.
    Each(Vec<T>),
}

impl<T: Clone> PerCustomer<T> {
    /// Reads one value or a sequence of them; `one` gives None for what it does not understand.
    fn read<'py>(
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
    customers: Customers,
    city: PerCustomer<String>,
    revenue: PerCustomer<f32>,
    timestamp: PerCustomer<i64>,
    k: usize,
    exclude_purchased: bool,
}

impl Question {
    /// Reads what `recommend` was given.
    ///
    /// # Errors
    /// [`Error::Data`] and [`Error::Schema`] naming the argument.
    pub(crate) fn read(
        customers: &Bound<'_, PyAny>,
        k: usize,
        city: Option<&Bound<'_, PyAny>>,
        revenue: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        exclude_purchased: bool,
    ) -> Result<Self> {
        let customers = Customers::read(customers)?;
        let n = customers.len();
        Ok(Self {
            city: PerCustomer::read(city, "city", n, |v| Ok(one_city(v)))?,
            revenue: PerCustomer::read(revenue, "revenue", n, |v| Ok(v.extract::<f32>().ok()))?,
            timestamp: times(timestamp, n)?,
            customers,
            k,
            exclude_purchased,
        })
    }

    /// Number of customers.
    pub(crate) fn len(&self) -> usize {
        self.customers.len()
    }

    /// The customers in the type that they were given in.
    pub(crate) fn customers(&self) -> &ArrayRef {
        &self.customers.given
    }

    /// What the answer of a model looks like whose dataset is not known: like the question.
    pub(crate) fn origin(&self, given: &Bound<'_, PyAny>, model: &Model) -> Result<Origin> {
        let product = model.artifact.config.schema.role(Role::Product)?.dtype;
        let customer = IdType::of(given, self.customers.given.data_type())?;
        Ok(Origin { kind: Kind::of(given)?, customer, product: product.into() })
    }

    /// The request of the customer at a position.
    pub(crate) fn request(&self, customer: usize) -> Request {
        Request {
            customer_id: self.customers.texts.value(customer).to_owned(),
            city: self.city.of(customer),
            revenue: self.revenue.of(customer),
            timestamp: self.timestamp.of(customer),
            k: self.k,
            exclude_purchased: self.exclude_purchased,
            ..Request::default()
        }
    }
}

/// Text, or an integer as text.
fn one_city(value: &Bound<'_, PyAny>) -> Option<String> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() {
        return value.str().ok().map(|s| s.to_string());
    }
    None
}

/// Unix seconds, or datetimes: one, or a column of whatever library, as in a dataset.
fn times(given: Option<&Bound<'_, PyAny>>, customers: usize) -> Result<PerCustomer<i64>> {
    const NAME: &str = "timestamp";
    let Some(given) = given.filter(|g| !g.is_none()) else { return Ok(PerCustomer::All(None)) };
    if !given.hasattr("__iter__")? {
        let column = array::column(PyList::new(given.py(), [given])?.as_any(), NAME)?;
        return Ok(PerCustomer::All(seconds(&column, NAME)?.first().copied()));
    }
    let values = seconds(&array::column(given, NAME)?, NAME)?;
    if values.len() != customers {
        let problem = format!("has {} values, there are {customers} customers", values.len());
        return Err(Error::schema(NAME, problem));
    }
    Ok(PerCustomer::Each(values))
}

fn seconds(column: &ArrayRef, name: &str) -> Result<Vec<i64>> {
    ids::no_nulls(column, name, 0)?;
    Ok(events::timestamp(column, name, 0)?.as_primitive::<Int64Type>().values().to_vec())
}
