//! A purchase log's columns -> those of the schema, every value checked under the name that the user knows it by.

use crate::errors::{Error, Result};
use crate::ids;
use arrow::array::{ArrayRef, AsArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use recs_core::schema::{DType, Role, Schema};
use std::sync::Arc;

/// Stands in where a text column was not given.
const MISSING: &str = "N/A";
/// Unix seconds beyond the year 5000 are milliseconds or less.
const LATEST: i64 = 100_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Which column of the frame plays which role; roles that no column plays are not in it.
#[derive(Debug)]
pub(crate) struct Names(pub(crate) Vec<(Role, String)>);

impl Names {
    /// The columns to read, each once.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The column of a role.
    pub(crate) fn of(&self, role: Role) -> Option<&str> {
        self.0.iter().find(|(r, _)| *r == role).map(|(_, name)| name.as_str())
    }
}

/// The schema of events whose products are of type `product`: integers or text. Customers are text.
pub(crate) fn schema(product: &DataType) -> Schema {
    let mut schema = Schema::retail();
    for field in schema.fields.iter_mut().filter(|f| f.role == Role::Product) {
        field.dtype = if ids::is_integer(product) { DType::Int64 } else { DType::Bytes };
    }
    schema
}

/// Rows in their own order, as the columns of `schema`.
///
/// # Errors
/// [`Error::Data`] naming column and row, [`Error::Schema`] naming the column.
pub(crate) fn convert(batches: &[RecordBatch], names: &Names, schema: &Schema) -> Result<Vec<RecordBatch>> {
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        return Err(Error::data("", None, "the frame has no rows; a dataset needs at least one purchase"));
    }
    let mut first_row = 0;
    let mut converted = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
        for field in &schema.fields {
            let given = names.of(field.role).and_then(|name| Some((name, batch.column_by_name(name)?)));
            let column = match given {
                None => absent(field.dtype, batch.num_rows()),
                Some((name, given)) => {
                    ids::no_nulls(given, name, first_row)?;
                    present(given, name, field.role, field.dtype, first_row)?
                }
            };
            columns.push((&field.column, column));
        }
        first_row += batch.num_rows();
        let batch = RecordBatch::try_from_iter(columns).map_err(|e| Error::data("", None, e.to_string()))?;
        converted.push(batch);
    }
    Ok(converted)
}

/// Text `N/A`, revenue 0.
fn absent(dtype: DType, rows: usize) -> ArrayRef {
    match dtype {
        DType::Bytes => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(MISSING, rows))),
        DType::Float => Arc::new(Float32Array::from(vec![0.0; rows])),
        DType::Int64 => Arc::new(Int64Array::from(vec![0; rows])),
    }
}

fn present(given: &ArrayRef, name: &str, role: Role, dtype: DType, first_row: usize) -> Result<ArrayRef> {
    match (role, dtype) {
        (Role::Timestamp, _) => timestamp(given, name, first_row),
        (_, DType::Float) => revenue(given, name, first_row),
        (_, DType::Int64) => ids::integers(given, name, first_row),
        (_, DType::Bytes) => ids::text(given, name),
    }
}

fn revenue(given: &ArrayRef, name: &str, first_row: usize) -> Result<ArrayRef> {
    let found = given.data_type();
    if !(found.is_numeric()) {
        return Err(Error::schema(name, format!("holds {found}, expected numbers")));
    }
    let wide = ids::convert(given, &DataType::Float64, name)?;
    let wide = wide.as_primitive::<Float64Type>().values();
    let is_fine = |x: f64| x >= 0.0 && (x as f32).is_finite();
    if let Some(row) = wide.iter().position(|&x| !is_fine(x)) {
        let problem =
            format!("is {}; revenue is a finite number of at least 0: mend or drop the row", wide[row]);
        return Err(Error::data(name, first_row + row, problem));
    }
    Ok(Arc::new(Float32Array::from_iter_values(wide.iter().map(|&x| x as f32))))
}

/// Unix seconds, rounded down.
///
/// # Errors
/// [`Error::Schema`] for a type that is no time, [`Error::Data`] naming the row.
pub(crate) fn timestamp(given: &ArrayRef, name: &str, first_row: usize) -> Result<ArrayRef> {
    let (per_second, seconds_each) = match given.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => (1, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => (1000, 1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (1_000_000, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (1_000_000_000, 1),
        DataType::Date32 => (1, DAY_SECONDS),
        other if other.is_integer() => (1, 1),
        other => {
            let problem =
                format!("holds {other}, expected datetimes or integer Unix seconds; parse it first");
            return Err(Error::schema(name, problem));
        }
    };
    let units = match given.data_type() {
        // Days have 32 bits.
        DataType::Date32 => {
            ids::convert(&ids::convert(given, &DataType::Int32, name)?, &DataType::Int64, name)?
        }
        _ => ids::integers(given, name, first_row)?,
    };
    let seconds = |&n: &i64| n.div_euclid(per_second).saturating_mul(seconds_each);
    let seconds: Vec<i64> = units.as_primitive::<Int64Type>().values().iter().map(seconds).collect();
    if let Some(row) = seconds.iter().position(|s| !(-LATEST..=LATEST).contains(s)) {
        let problem = format!(
            "is {} Unix seconds, beyond the year 5000: convert milliseconds or nanoseconds to seconds or datetimes",
            seconds[row]
        );
        return Err(Error::data(name, first_row + row, problem));
    }
    Ok(Arc::new(Int64Array::from(seconds)))
}
