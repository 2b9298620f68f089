//! Python's sequences -> Arrow: Arrow objects as they are, NumPy arrays by one copy, anything else value by value.

use crate::errors::{Error, Result};
use crate::frame;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, NullArray, PrimitiveArray, StringArray, TimestampSecondArray,
};
use arrow::compute::concat;
use arrow::datatypes::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use numpy::{PyArray1, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyString};
use pyo3_arrow::PyChunkedArray;
use pyo3_arrow::input::AnyArray;
use std::sync::Arc;

/// One column: a Series, an Arrow or NumPy array, a list. `name` is what errors call it.
///
/// # Errors
/// [`Error::Schema`] for values that are no integers, numbers, text or times.
pub(crate) fn column(value: &Bound<'_, PyAny>, name: &str) -> Result<ArrayRef> {
    if value.hasattr("__arrow_c_array__")? || value.hasattr("__arrow_c_stream__")? {
        match value.extract::<AnyArray>() {
            Ok(array) => return joined(array, name),
            // pandas without pyarrow has the method, but cannot fulfil it.
            Err(_) if value.hasattr("to_numpy")? => {}
            Err(e) => return Err(e.into()),
        }
    }
    // The cast alone would import NumPy, which may not be there.
    if frame::is_of(value, "numpy")?
        && let Ok(array) = value.cast::<PyUntypedArray>()
    {
        return numpy_column(array, name);
    }
    if value.hasattr("to_numpy")? {
        return column(&value.call_method0("to_numpy")?, name);
    }
    if value.is_instance_of::<PyString>() || !value.hasattr("__iter__")? {
        let kind = value.get_type().name()?;
        return Err(Error::schema(name, format!("is a {kind}, expected a list, a Series or an array")));
    }
    sequence(value, name)
}

fn joined(array: AnyArray, name: &str) -> Result<ArrayRef> {
    let chunked: PyChunkedArray = array.into_chunked_array().map_err(PyErr::from)?;
    let (chunks, field) = chunked.into_inner();
    match chunks.as_slice() {
        [one] => Ok(Arc::clone(one)),
        [] => Ok(arrow::array::new_empty_array(field.data_type())),
        chunks => {
            let parts: Vec<&dyn arrow::array::Array> = chunks.iter().map(|c| &**c).collect();
            concat(&parts).map_err(|e| Error::schema(name, e.to_string()))
        }
    }
}

fn numpy_column(array: &Bound<'_, PyUntypedArray>, name: &str) -> Result<ArrayRef> {
    if array.ndim() != 1 {
        return Err(Error::schema(name, format!("has {} dimensions, expected 1", array.ndim())));
    }
    macro_rules! of_type {
        ($($arrow:ty),*) => {$(
            if let Ok(typed) = array.cast::<PyArray1<<$arrow as arrow::array::ArrowPrimitiveType>::Native>>() {
                let values = typed.try_readonly().map_err(PyErr::from)?;
                let values = values.as_array();
                return Ok(Arc::new(PrimitiveArray::<$arrow>::from_iter_values(values.iter().copied())));
            }
        )*};
    }
    of_type!(Int64Type, Float64Type, Int32Type, Float32Type, Int16Type, Int8Type);
    of_type!(UInt64Type, UInt32Type, UInt16Type, UInt8Type);
    if array.dtype().kind() == b'M' {
        let seconds = array.call_method1("astype", ("datetime64[s]",))?.call_method1("view", ("int64",))?;
        let typed = seconds.cast::<PyArray1<i64>>().map_err(PyErr::from)?;
        let values = typed.try_readonly().map_err(PyErr::from)?;
        // NaT is the smallest integer.
        let values = values.as_array().iter().map(|&s| (s != i64::MIN).then_some(s)).collect::<Vec<_>>();
        return Ok(Arc::new(TimestampSecondArray::from(values)));
    }
    sequence(&array.call_method0("tolist")?, name)
}

/// What a Python object is, as far as columns go.
enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    Seconds(i64),
}

impl Cell {
    fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "text",
            Self::Seconds(_) => "a time",
        }
    }
}

fn sequence(values: &Bound<'_, PyAny>, name: &str) -> Result<ArrayRef> {
    let mut cells = Vec::with_capacity(values.len().unwrap_or(0));
    for (row, value) in values.try_iter()?.enumerate() {
        let value = value?;
        let Some(cell) = cell(&value)? else {
            let kind = value.get_type().name()?;
            let problem = format!("holds a {kind}; columns hold integers, floats, text or datetimes");
            return Err(Error::data(name, row, problem));
        };
        cells.push(cell);
    }
    let first = |is: fn(&Cell) -> bool| cells.iter().any(is);
    let is_float = first(|c| matches!(c, Cell::Float(_)));
    let Some(kind) = cells.iter().find(|c| !matches!(c, Cell::Null)) else {
        return Ok(Arc::new(NullArray::new(cells.len())));
    };
    let mixed = |row: usize, cell: &Cell| {
        Error::data(name, row, format!("holds {} after {}; a column has one type", cell.name(), kind.name()))
    };
    macro_rules! collect {
        ($array:ty, $($cell:pat => $value:expr),*) => {{
            let one = |(row, cell): (usize, &Cell)| match cell {
                Cell::Null => Ok(None),
                $($cell => Ok(Some($value)),)*
                other => Err(mixed(row, other)),
            };
            let values = cells.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(<$array>::from(values)))
        }};
    }
    match kind {
        Cell::Text(_) => collect!(StringArray, Cell::Text(t) => t.clone()),
        Cell::Seconds(_) => collect!(TimestampSecondArray, Cell::Seconds(s) => *s),
        _ if is_float => collect!(Float64Array, Cell::Float(x) => *x, Cell::Int(n) => *n as f64),
        _ => collect!(Int64Array, Cell::Int(n) => *n),
    }
}

/// None for what no column can hold.
fn cell(value: &Bound<'_, PyAny>) -> Result<Option<Cell>> {
    if is_null(value)? {
        return Ok(Some(Cell::Null));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Some(Cell::Text(text.to_cow()?.into_owned())));
    }
    if value.is_instance_of::<PyBool>() {
        return Ok(None);
    }
    if let Ok(n) = value.extract::<i64>() {
        return Ok(Some(Cell::Int(n)));
    }
    if let Some(seconds) = seconds(value)? {
        return Ok(Some(Cell::Seconds(seconds)));
    }
    Ok(value.extract::<f64>().ok().map(Cell::Float))
}

/// `None`, NaN, and pandas' markers.
fn is_null(value: &Bound<'_, PyAny>) -> Result<bool> {
    if value.is_none() {
        return Ok(true);
    }
    if let Ok(x) = value.cast::<PyFloat>() {
        return Ok(x.value().is_nan());
    }
    let kind = value.get_type().name()?;
    Ok(kind == "NAType" || kind == "NaTType")
}

/// Unix seconds of a datetime or date, rounded down; without a time zone they are UTC. None for anything else.
pub(crate) fn seconds(value: &Bound<'_, PyAny>) -> Result<Option<i64>> {
    let datetime = value.py().import("datetime")?;
    if value.is_instance(&datetime.getattr("datetime")?)? {
        let utc = datetime.getattr("timezone")?.getattr("utc")?;
        let known = if value.getattr("tzinfo")?.is_none() {
            let kwargs = pyo3::types::PyDict::new(value.py());
            kwargs.set_item("tzinfo", utc)?;
            value.call_method("replace", (), Some(&kwargs))?
        } else {
            value.clone()
        };
        let seconds: f64 = known.call_method0("timestamp")?.extract()?;
        return Ok(Some(seconds.floor() as i64));
    }
    if value.is_instance(&datetime.getattr("date")?)? {
        const EPOCH: i64 = 719_163;
        let day: i64 = value.call_method0("toordinal")?.extract()?;
        return Ok(Some((day - EPOCH) * 86_400));
    }
    Ok(None)
}
