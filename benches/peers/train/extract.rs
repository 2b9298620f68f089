//! Parquet -> records.

use crate::Failure;
use arrow::array::{Array, AsArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recs_core::example::RowWriter;
use recs_core::schema::{DType, Field, Schema, Value};
use std::fs::File;
use std::path::Path;

/// The retail schema with the extract's names.
pub(crate) fn schema() -> Result<Schema, Failure> {
    let names = [
        ("customer_id", "cust_person_id"),
        ("category", "stratbuy_domain_desc"),
        ("subcategory", "mge_main_cat_desc"),
    ];
    Ok(Schema::retail().with_records(names)?)
}

/// The rows of the extract as `tf.train.Example`, in file order.
pub(crate) fn records(path: &Path, schema: &Schema) -> Result<Vec<Vec<u8>>, Failure> {
    let writer = RowWriter::new(schema);
    let mut records = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()? {
        let batch = batch?;
        let columns: Vec<Column> =
            schema.fields.iter().map(|field| Column::of(&batch, field)).collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let values: Vec<Value<'_>> = columns.iter().map(|column| column.value(row)).collect();
            let mut record = Vec::new();
            writer.write(&values, &mut record)?;
            records.push(record);
        }
    }
    Ok(records)
}

/// A column in the type of its field.
enum Column {
    Text(StringArray),
    Float(Float32Array),
    Int64(Int64Array),
}

impl Column {
    fn of(batch: &RecordBatch, field: &Field) -> Result<Self, Failure> {
        let missing = || format!("the extract has no column {}", field.column);
        let column = batch.column_by_name(&field.column).ok_or_else(missing)?;
        if column.null_count() > 0 {
            return Err(format!("column {} has nulls", field.column).into());
        }
        Ok(match field.dtype {
            DType::Bytes => Self::Text(cast(column, &DataType::Utf8)?.as_string::<i32>().clone()),
            DType::Float => {
                Self::Float(cast(column, &DataType::Float32)?.as_primitive::<Float32Type>().clone())
            }
            DType::Int64 => Self::Int64(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
        })
    }

    fn value(&self, row: usize) -> Value<'_> {
        match self {
            Self::Text(column) => Value::Text(column.value(row)),
            Self::Float(column) => Value::Float(column.value(row)),
            Self::Int64(column) => Value::Int64(column.value(row)),
        }
    }
}
