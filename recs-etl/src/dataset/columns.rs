//! Arrow columns as the values of records: types matched, nulls and bad numbers refused.

use crate::error::{Error, Place, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Int64Array, LargeStringArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use recs_core::schema::{DType, Field, Role, Schema, Value};
use recs_core::tfrecord::DEFAULT_MAX_RECORD_BYTES;

/// The columns of one batch in the order of the schema's fields.
pub(super) struct Columns<'a> {
    columns: Vec<Column>,
    schema: &'a Schema,
    name: &'a str,
    first_row: u64,
}

enum Column {
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Bytes(BinaryArray),
    Int64(Int64Array),
    Float(Float32Array),
}

impl<'a> Columns<'a> {
    /// `first_row` is the number, from 0, of the batch's first row in the whole; `name` is what errors call the input.
    pub(super) fn new(
        schema: &'a Schema,
        batch: &RecordBatch,
        name: &'a str,
        first_row: u64,
    ) -> Result<Self> {
        let columns = schema.fields.iter().map(|field| column(field, batch, name)).collect::<Result<_>>()?;
        Ok(Self { columns, schema, name, first_row })
    }

    /// Fills `row` with the values of row `at` of the batch.
    pub(super) fn read<'b>(&'b self, at: usize, row: &mut Vec<Value<'b>>) -> Result<()> {
        row.clear();
        for (field, column) in self.schema.fields.iter().zip(&self.columns) {
            match column.value(at, field.role) {
                Ok(value) => row.push(value),
                Err(got) => return Err(self.refuse(field, at, got)),
            }
        }
        Ok(())
    }

    /// Refuses a row whose record no reader would take.
    pub(super) fn too_large(&self, at: usize, bytes: usize) -> Error {
        Error::Row {
            place: Box::new(Place::table(self.name, "").at_row(self.first_row + at as u64 + 1)),
            problem: format!(
                "makes a record of {bytes} bytes, readers take {DEFAULT_MAX_RECORD_BYTES}; shorten its texts"
            ),
        }
    }

    fn refuse(&self, field: &Field, at: usize, got: &'static str) -> Error {
        let expected = match (field.role, field.dtype) {
            (Role::Revenue, _) => "a finite number of at least 0",
            (_, DType::Float) => "a finite number",
            (_, DType::Int64) => "an integer",
            (_, DType::Bytes) => "UTF-8 text",
        };
        let remedy = match got {
            "null" => "fill missing values before writing, e.g. text with \"N/A\"",
            _ => "mend or remove the row",
        };
        Error::Value {
            place: Box::new(place(self.name, field).at_row(self.first_row + at as u64 + 1)),
            expected: expected.into(),
            got: got.into(),
            remedy: remedy.into(),
        }
    }
}

impl Column {
    fn value(&self, at: usize, role: Role) -> Result<Value<'_>, &'static str> {
        let array: &dyn Array = match self {
            Self::Text(a) => a,
            Self::LargeText(a) => a,
            Self::TextView(a) => a,
            Self::Bytes(a) => a,
            Self::Int64(a) => a,
            Self::Float(a) => a,
        };
        if array.is_null(at) {
            return Err("null");
        }
        Ok(match self {
            Self::Text(a) => Value::Text(a.value(at)),
            Self::LargeText(a) => Value::Text(a.value(at)),
            Self::TextView(a) => Value::Text(a.value(at)),
            Self::Bytes(a) => {
                Value::Text(std::str::from_utf8(a.value(at)).map_err(|_| "bytes that are not UTF-8")?)
            }
            Self::Int64(a) => Value::Int64(a.value(at)),
            Self::Float(a) => match a.value(at) {
                v if v.is_nan() => return Err("NaN"),
                v if v.is_infinite() => return Err("an infinite number"),
                v if v < 0.0 && role == Role::Revenue => return Err("a negative number"),
                v => Value::Float(v),
            },
        })
    }
}

fn place(name: &str, field: &Field) -> Place {
    Place::table(name, "").in_column(&field.column)
}

fn column(field: &Field, batch: &RecordBatch, name: &str) -> Result<Column> {
    let array = batch.column_by_name(&field.column).ok_or_else(|| Error::MissingColumn {
        place: Box::new(place(name, field)),
        available: batch.schema().fields().iter().map(|f| f.name().clone()).collect(),
    })?;
    let found = array.data_type();
    let converted = match field.dtype {
        DType::Bytes => text(array),
        DType::Int64 if found.is_integer() => {
            cast(array, &DataType::Int64).map(|a| Column::Int64(a.as_primitive::<Int64Type>().clone()))
        }
        DType::Float if found.is_floating() || matches!(found, DataType::Decimal128(..)) => {
            cast(array, &DataType::Float32).map(|a| Column::Float(a.as_primitive::<Float32Type>().clone()))
        }
        _ => None,
    };
    converted.ok_or_else(|| Error::ColumnType {
        place: Box::new(place(name, field)),
        expected: format!("{} (field `{}`)", field.dtype, field.name),
        got: found.to_string(),
        remedy: "convert the column, or change the dtype of the field in the schema".into(),
    })
}

/// `None` when a value does not fit.
fn cast(array: &ArrayRef, target: &DataType) -> Option<ArrayRef> {
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() }).ok()
}

fn text(array: &ArrayRef) -> Option<Column> {
    Some(match array.data_type() {
        DataType::Utf8 => Column::Text(array.as_string::<i32>().clone()),
        DataType::LargeUtf8 => Column::LargeText(array.as_string::<i64>().clone()),
        DataType::Utf8View => Column::TextView(array.as_string_view().clone()),
        DataType::Binary => Column::Bytes(array.as_binary::<i32>().clone()),
        DataType::LargeBinary | DataType::BinaryView => {
            Column::Bytes(cast(array, &DataType::Binary)?.as_binary::<i32>().clone())
        }
        DataType::Dictionary(..) => Column::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::UInt64Array;
    use recs_core::schema::Tower;
    use std::sync::Arc;

    fn read(field: Field, array: ArrayRef) -> Result<String> {
        let batch = RecordBatch::try_from_iter_with_nullable([("x", array, true)]).unwrap();
        let schema =
            Schema { fields: vec![Field { column: "x".into(), ..field }], query: vec![], candidate: vec![] };
        let columns = Columns::new(&schema, &batch, "test", 10)?;
        let mut row = Vec::new();
        columns.read(0, &mut row).map(|()| format!("{row:?}"))
    }

    #[test]
    fn refusals_name_row_and_column() {
        let revenue = || Field::new("revenue", DType::Float, Tower::Query, Role::Revenue);
        for (value, expect) in
            [(f64::NAN, "NaN"), (f64::INFINITY, "infinite"), (1e300, "infinite"), (-1.0, "negative")]
        {
            let message = read(revenue(), Arc::new(arrow::array::Float64Array::from(vec![value])))
                .unwrap_err()
                .to_string();
            assert!(message.contains("row 11, column `x`") && message.contains(expect), "{message}");
        }
        assert_eq!(read(revenue(), Arc::new(Float32Array::from(vec![1.5]))).unwrap(), "[Float(1.5)]");
    }

    #[test]
    fn types_must_match_and_values_must_fit() {
        let id = || Field::new("id", DType::Int64, Tower::Query, Role::Customer);
        assert_eq!(read(id(), Arc::new(UInt64Array::from(vec![7]))).unwrap(), "[Int64(7)]");
        for array in [
            Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef,
            Arc::new(StringArray::from(vec!["7"])),
            Arc::new(Float32Array::from(vec![7.0])),
        ] {
            assert!(matches!(read(id(), array), Err(Error::ColumnType { .. })));
        }
        let name = Field::new("name", DType::Bytes, Tower::Query, Role::Other);
        let message = read(name, Arc::new(BinaryArray::from(vec![&[0xffu8][..]]))).unwrap_err().to_string();
        assert!(message.contains("not UTF-8"), "{message}");
    }
}
