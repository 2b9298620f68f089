//! Ids: integers or text of any width -> text, and back into the type they came in.

use crate::errors::{Error, Result};
use crate::frame::Kind;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use pyo3::prelude::*;
use recs_core::schema::DType;

/// The type of a column of ids.
#[derive(Debug)]
pub(crate) struct IdType {
    /// As Arrow has it.
    pub(crate) arrow: DataType,
    /// As pandas has it, where it came from pandas.
    pub(crate) pandas: Option<Py<PyAny>>,
}

impl From<DType> for IdType {
    fn from(dtype: DType) -> Self {
        let arrow = if dtype == DType::Int64 { DataType::Int64 } else { DataType::Utf8 };
        Self { arrow, pandas: None }
    }
}

impl IdType {
    /// The type of ids that Python gave: a Series knows its own.
    pub(crate) fn of(given: &Bound<'_, PyAny>, arrow: &DataType) -> Result<Self> {
        let pandas = match Kind::of(given)? {
            Kind::Pandas => Some(given.getattr("dtype")?.unbind()),
            _ => None,
        };
        Ok(Self { arrow: arrow.clone(), pandas })
    }
}

/// True for text in any of its encodings, also as categories.
pub(crate) fn is_text(dtype: &DataType) -> bool {
    match dtype {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// True for integers, also as categories.
pub(crate) fn is_integer(dtype: &DataType) -> bool {
    match dtype {
        DataType::Dictionary(_, values) => is_integer(values),
        other => other.is_integer(),
    }
}

/// Refuses the first null of a column; `first_row` is the number of the array's first row.
///
/// # Errors
/// [`Error::Data`] naming column and row.
pub(crate) fn no_nulls(array: &ArrayRef, name: &str, first_row: usize) -> Result<()> {
    let Some(nulls) = array.logical_nulls().filter(|n| n.null_count() > 0) else { return Ok(()) };
    let row = nulls.iter().position(|is_valid| !is_valid).unwrap_or_default();
    let problem = "is null; drop such rows or fill them in, e.g. text with \"N/A\"";
    Err(Error::data(name, first_row + row, problem))
}

/// A column of text, integers as decimal text. Plain text comes back as it is, without a copy.
///
/// # Errors
/// [`Error::Schema`] for any other type.
pub(crate) fn text(array: &ArrayRef, name: &str) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(array.clone()),
        // A list without elements has no type.
        DataType::Null if array.is_empty() => convert(array, &DataType::Utf8, name),
        other if is_text(other) || is_integer(other) => convert(array, &DataType::Utf8, name),
        other if other.is_floating() => Err(Error::schema(
            name,
            format!(
                "holds {other}, expected integers or text; whole numbers become floats where values are missing: \
                 drop those rows and convert the column to int64"
            ),
        )),
        other => Err(Error::schema(name, format!("holds {other}, expected integers or text"))),
    }
}

/// A column of text as plain strings.
///
/// # Errors
/// As [`text`].
pub(crate) fn strings(array: &ArrayRef, name: &str) -> Result<StringArray> {
    let plain = convert(&text(array, name)?, &DataType::Utf8, name)?;
    Ok(plain.as_string::<i32>().clone())
}

/// A column of integers as 64 bits.
///
/// # Errors
/// [`Error::Data`] for a value that does not fit.
pub(crate) fn integers(array: &ArrayRef, name: &str, first_row: usize) -> Result<ArrayRef> {
    let wide = convert(array, &DataType::Int64, name)?;
    match wide.as_primitive::<Int64Type>().iter().position(|v| v.is_none()) {
        Some(row) => {
            Err(Error::data(name, first_row + row, "is beyond 64 signed bits; use text ids instead"))
        }
        None => Ok(wide),
    }
}

/// Converts; what does not fit becomes null.
pub(crate) fn convert(array: &ArrayRef, target: &DataType, name: &str) -> Result<ArrayRef> {
    cast(array, target).map_err(|e| Error::schema(name, e.to_string()))
}

/// Ids in the type they came in; as they are where they do not fit into it.
pub(crate) fn restore(array: ArrayRef, target: &DataType) -> ArrayRef {
    match cast(&array, target) {
        Ok(same) if same.null_count() == 0 => same,
        _ => array,
    }
}
