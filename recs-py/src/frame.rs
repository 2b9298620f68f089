//! Tables in and out: pandas, polars and pyarrow by the Arrow stream interface, dicts column by column.

use crate::array;
use crate::errors::{Error, Result};
use crate::ids::{self, IdType};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, Schema, SchemaRef, UInt64Type};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pyo3_arrow::PyTable;
use std::sync::Arc;

/// Whose table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `pandas.DataFrame`.
    Pandas,
    /// `polars.DataFrame`.
    Polars,
    /// `pyarrow.Table`.
    Pyarrow,
    /// Anything else; a dict of lists on the way out.
    Columns,
}

impl Kind {
    /// Whose the object is.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        for (library, kind) in
            [("pandas", Self::Pandas), ("polars", Self::Polars), ("pyarrow", Self::Pyarrow)]
        {
            if is_of(object, library)? {
                return Ok(kind);
            }
        }
        Ok(Self::Columns)
    }
}

/// True when the object's class, or one that it inherits from, is defined in `library`. Imports nothing.
pub(crate) fn is_of(object: &Bound<'_, PyAny>, library: &str) -> PyResult<bool> {
    for class in object.get_type().mro().iter() {
        let module: String = class.getattr("__module__")?.extract()?;
        if module.split('.').next() == Some(library) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Some columns of a table.
pub(crate) struct Frame<'py> {
    source: Bound<'py, PyAny>,
    /// Whose it was.
    pub(crate) kind: Kind,
    schema: SchemaRef,
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
}

impl<'py> Frame<'py> {
    /// Reads the columns `names`; buffers are shared where the library can.
    ///
    /// # Errors
    /// [`Error::Schema`] for a column that is not there, or for something that is no table.
    pub(crate) fn read(source: &Bound<'py, PyAny>, names: &[&str]) -> Result<Self> {
        let kind = Kind::of(source)?;
        let (schema, batches) = if let Ok(columns) = source.cast::<PyDict>() {
            present(names, columns.keys().as_any())?;
            by_column(source, names)?
        } else if kind == Kind::Pandas {
            present(names, &source.getattr("columns")?)?;
            // Other columns may be of types that Arrow does not have.
            match source.get_item(PyList::new(source.py(), names)?)?.extract::<PyTable>() {
                Ok(table) => swap(table.into_inner()),
                // pandas gets its stream from pyarrow, which may not be there.
                Err(_) => by_column(source, names)?,
            }
        } else if source.hasattr("__arrow_c_stream__")? {
            swap(source.extract::<PyTable>()?.into_inner())
        } else {
            let class = source.get_type().name()?;
            let problem = format!(
                "expected a pandas, polars or pyarrow table, anything else with __arrow_c_stream__, or a dict of \
                 columns; this is a {class}"
            );
            return Err(Error::data("", None, problem));
        };
        for name in names {
            let found = schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
            schema.index_of(name).map_err(|_| missing(name, &found))?;
        }
        Ok(Self { source: source.clone(), kind, schema, batches })
    }

    /// The type of a column of ids.
    pub(crate) fn id_type(&self, name: &str) -> Result<IdType> {
        let field = self.schema.field_with_name(name).map_err(|_| missing(name, &[]))?;
        let pandas = match self.kind {
            Kind::Pandas => Some(self.source.get_item(name)?.getattr("dtype")?.unbind()),
            _ => None,
        };
        Ok(IdType { arrow: field.data_type().clone(), pandas })
    }
}

fn swap((batches, schema): (Vec<RecordBatch>, SchemaRef)) -> (SchemaRef, Vec<RecordBatch>) {
    (schema, batches)
}

fn present(names: &[&str], found: &Bound<'_, PyAny>) -> Result<()> {
    let text = |name: PyResult<Bound<'_, PyAny>>| Ok(name?.str()?.to_string());
    let found = found.try_iter()?.map(text).collect::<PyResult<Vec<_>>>()?;
    match names.iter().find(|name| !found.iter().any(|f| f == *name)) {
        Some(name) => Err(missing(name, &found)),
        None => Ok(()),
    }
}

fn missing(name: &str, found: &[String]) -> Error {
    Error::schema(name, format!("is missing; the frame has: {}", found.join(", ")))
}

fn by_column(source: &Bound<'_, PyAny>, names: &[&str]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for name in names {
        let column = array::column(&source.get_item(name)?, name)?;
        if let Some((first, known)) = columns.first().filter(|(_, known)| known.len() != column.len()) {
            let problem = format!("has {} rows, `{first}` has {}", column.len(), known.len());
            return Err(Error::schema(name, problem));
        }
        columns.push((name, column));
    }
    let batch = batch(&columns)?;
    Ok((batch.schema(), vec![batch]))
}

fn batch(columns: &[(&str, ArrayRef)]) -> Result<RecordBatch> {
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let columns = columns.iter().map(|(_, column)| Arc::clone(column)).collect();
    RecordBatch::try_new(schema, columns).map_err(|e| Error::data("", None, e.to_string()))
}

/// A column on its way out, with the type that pandas is to give it.
pub(crate) struct Column<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its values, without nulls.
    pub(crate) values: ArrayRef,
    /// The type that pandas had.
    pub(crate) pandas: Option<&'a Py<PyAny>>,
}

/// Makes a table of `kind`.
///
/// # Errors
/// When the library is not there any more, or refuses.
pub(crate) fn write<'py>(py: Python<'py>, kind: Kind, columns: &[Column<'_>]) -> Result<Bound<'py, PyAny>> {
    let table = || -> Result<PyTable> {
        let batch = batch(&columns.iter().map(|c| (c.name, Arc::clone(&c.values))).collect::<Vec<_>>())?;
        let schema = batch.schema();
        Ok(PyTable::try_new(vec![batch], schema)?)
    };
    match kind {
        Kind::Pyarrow => Ok(table()?.into_pyarrow(py)?),
        Kind::Polars => {
            let table = Bound::new(py, table()?)?;
            Ok(py.import("polars")?.getattr("DataFrame")?.call1((table,))?)
        }
        Kind::Columns => {
            let dict = PyDict::new(py);
            columns
                .iter()
                .try_for_each(|c| dict.set_item(c.name, list(py, &c.values)?).map_err(Error::from))?;
            Ok(dict.into_any())
        }
        Kind::Pandas => pandas(py, columns),
    }
}

fn pandas<'py>(py: Python<'py>, columns: &[Column<'_>]) -> Result<Bound<'py, PyAny>> {
    let data = PyDict::new(py);
    for column in columns {
        let values = match column.values.data_type() {
            DataType::Int64 => numpy::<i64>(py, column.values.as_primitive::<Int64Type>().values()),
            DataType::Float32 => numpy::<f32>(py, column.values.as_primitive::<Float32Type>().values()),
            _ => list(py, &column.values)?,
        };
        data.set_item(column.name, values)?;
    }
    let frame = py.import("pandas")?.getattr("DataFrame")?.call1((data,))?;
    for (name, dtype) in columns.iter().filter_map(|c| Some((c.name, c.pandas?))) {
        // Ids that the type has no place for, text among integers or another category, stay as they are.
        let typed = frame.get_item(name)?.call_method1("astype", (dtype,));
        if let Ok(typed) = typed
            && !typed.call_method0("isna")?.call_method0("any")?.is_truthy()?
        {
            frame.set_item(name, typed)?;
        }
    }
    Ok(frame)
}

fn numpy<'py, T: numpy::Element>(py: Python<'py>, values: &[T]) -> Bound<'py, PyAny> {
    PyArray1::from_slice(py, values).into_any()
}

fn list<'py>(py: Python<'py>, values: &ArrayRef) -> Result<Bound<'py, PyAny>> {
    let list = match values.data_type() {
        DataType::Float32 => PyList::new(py, values.as_primitive::<Float32Type>().values())?,
        DataType::UInt64 => PyList::new(py, values.as_primitive::<UInt64Type>().values())?,
        other if ids::is_integer(other) => {
            let wide = ids::convert(values, &DataType::Int64, "ids")?;
            PyList::new(py, wide.as_primitive::<Int64Type>().values())?
        }
        _ => PyList::new(py, ids::strings(values, "ids")?.iter())?,
    };
    Ok(list.into_any())
}
