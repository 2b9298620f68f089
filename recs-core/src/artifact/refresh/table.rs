//! Products from a table.

use super::product::{Product, ProductValue};
use crate::artifact::tables::read;
use crate::error::{Error, Result};
use crate::schema::{DType, Field, Role, Schema, Tower};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int64Type};
use bytes::Bytes;

/// Column that says whether a product may be recommended.
const AVAILABLE: &str = "available";

impl Product {
    /// Reads a table with one row a product: the column of the schema's product field, any columns of its other candidate
    /// fields, each under the field's column or its name, and `available` (boolean), true without that column. Other
    /// columns are not read; a null says nothing, but a product must have an id. `file` is named in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for bytes that are no Parquet file, [`Error::MissingColumn`], [`Error::WrongType`],
    /// [`Error::InvalidValue`] naming record and column.
    pub fn read_parquet(bytes: Bytes, schema: &Schema, file: &str) -> Result<Vec<Self>> {
        Self::from_batch(&read(bytes, file)?, schema, file)
    }

    /// The same of a table in memory.
    ///
    /// # Errors
    /// As [`Product::read_parquet`].
    pub fn from_batch(table: &RecordBatch, schema: &Schema, file: &str) -> Result<Vec<Self>> {
        let field = schema.role(Role::Product)?;
        let ids = find(table, field).ok_or_else(|| Error::MissingColumn {
            file: file.into(),
            record: None,
            field: field.name.clone(),
            column: field.column.clone(),
            present: table.schema().fields().iter().map(|f| f.name().clone()).collect(),
        })?;
        let ids = typed(ids, &field.column, &DataType::Utf8, file)?;
        let mut products = Vec::with_capacity(table.num_rows());
        for (record, id) in ids.as_string::<i32>().iter().enumerate() {
            products.push(Self::new(id.ok_or_else(|| null(file, record, &field.column))?));
        }
        let others = schema.fields.iter().filter(|f| f.tower == Tower::Candidate && f.role != Role::Product);
        for field in others {
            if let Some(column) = find(table, field) {
                fill(&mut products, field, column, file)?;
            }
        }
        if let Some(column) = table.column_by_name(AVAILABLE) {
            let column = typed(column, AVAILABLE, &DataType::Boolean, file)?;
            for (record, available) in column.as_boolean().iter().enumerate() {
                products[record].available = available.ok_or_else(|| null(file, record, AVAILABLE))?;
            }
        }
        Ok(products)
    }
}

fn null(file: &str, record: usize, column: &str) -> Error {
    let reason = "is null; give every product a value".into();
    Error::InvalidValue { file: file.into(), record: Some(record as u64), column: column.into(), reason }
}

fn find<'a>(table: &'a RecordBatch, field: &Field) -> Option<&'a ArrayRef> {
    table.column_by_name(&field.column).or_else(|| table.column_by_name(&field.name))
}

fn typed(column: &ArrayRef, name: &str, to: &DataType, file: &str) -> Result<ArrayRef> {
    let wrong = |_| Error::WrongType {
        file: file.into(),
        record: None,
        column: name.into(),
        expected: to.to_string(),
        got: column.data_type().to_string(),
    };
    let cast = cast(column, to).map_err(wrong)?;
    // A value that cannot be cast becomes null.
    match (0..cast.len()).find(|&i| cast.is_null(i) && !column.is_null(i)) {
        None => Ok(cast),
        Some(record) => Err(Error::WrongType {
            file: file.into(),
            record: Some(record as u64),
            column: name.into(),
            expected: to.to_string(),
            got: column.data_type().to_string(),
        }),
    }
}

fn fill(products: &mut [Product], field: &Field, column: &ArrayRef, file: &str) -> Result<()> {
    let values: Vec<Option<ProductValue>> = match field.dtype {
        _ if field.has_vocabulary() => {
            let texts = typed(column, &field.column, &DataType::Utf8, file)?;
            texts.as_string::<i32>().iter().map(|v| v.map(|v| ProductValue::Text(v.into()))).collect()
        }
        DType::Int64 => {
            let numbers = typed(column, &field.column, &DataType::Int64, file)?;
            numbers.as_primitive::<Int64Type>().iter().map(|v| v.map(ProductValue::Int64)).collect()
        }
        DType::Float | DType::Bytes => {
            let numbers = typed(column, &field.column, &DataType::Float32, file)?;
            numbers.as_primitive::<Float32Type>().iter().map(|v| v.map(ProductValue::Float)).collect()
        }
    };
    for (product, value) in products.iter_mut().zip(values) {
        if let Some(value) = value {
            product.values.insert(field.name.clone(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Int32Array, LargeStringArray, StringArray};
    use std::sync::Arc;

    fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true)))
            .unwrap()
    }

    #[test]
    fn columns_are_found_by_the_schema_whatever_their_width() {
        let schema = Schema::retail().with_records([("art_name", "TITLE")]).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("product_id", Arc::new(Int32Array::from(vec![7, 8]))),
            ("TITLE", Arc::new(LargeStringArray::from(vec![Some("MILK"), None]))),
            ("category", Arc::new(StringArray::from(vec!["DAIRY", ""]))),
            ("available", Arc::new(BooleanArray::from(vec![false, true]))),
            ("price", Arc::new(Int32Array::from(vec![1, 2]))),
        ];
        let products = Product::from_batch(&table(columns), &schema, "p.parquet").unwrap();
        let first = Product::new("7").with_text("art_name", "MILK").with_text("category", "DAIRY");
        let second = Product::new("8").with_text("category", "");
        assert_eq!(products, [Product { available: false, ..first }, second]);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_by_name() {
        let refused = |columns| {
            let error = Product::from_batch(&table(columns), &Schema::retail(), "p.parquet").unwrap_err();
            error.to_string()
        };
        let ids = || Arc::new(Int32Array::from(vec![Some(1), Some(2)])) as ArrayRef;
        let message = refused(vec![("id", ids())]);
        assert!(message.contains("`product_id`") && message.contains("id"), "{message}");
        let message =
            refused(vec![("product_id", Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef)]);
        assert!(message.contains("record 1") && message.contains("is null"), "{message}");
        let texts = Arc::new(StringArray::from(vec!["yes", "maybe"])) as ArrayRef;
        let message = refused(vec![("product_id", ids()), ("available", texts)]);
        assert!(message.contains("available") && message.contains("record 1"), "{message}");
        let message = Product::read_parquet(Bytes::from_static(b"PAR0"), &Schema::retail(), "p.parquet");
        assert!(matches!(message, Err(Error::Corrupt { .. })));
    }
}
