//! Lists of products as columns of a table.

use crate::error::Result;
use crate::retriever::Item;
use arrow::array::{
    ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringBuilder, StringDictionaryBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use recs_core::artifact::parquet_properties;
use std::sync::Arc;

/// The columns `product_ids`, `scores` and `reasons`: lists of equal length, the best product first.
pub(crate) struct ListedColumns {
    products: ListBuilder<StringBuilder>,
    scores: ListBuilder<Float32Builder>,
    reasons: ListBuilder<StringDictionaryBuilder<Int32Type>>,
}

fn item(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", of, false))
}

/// The type of columns with few distinct texts.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

impl Default for ListedColumns {
    fn default() -> Self {
        Self {
            products: ListBuilder::new(StringBuilder::new()).with_field(item(DataType::Utf8)),
            scores: ListBuilder::new(Float32Builder::new()).with_field(item(DataType::Float32)),
            reasons: ListBuilder::new(StringDictionaryBuilder::new()).with_field(item(dictionary())),
        }
    }
}

impl ListedColumns {
    /// Their fields, none of which is ever null.
    pub(crate) fn fields() -> [Field; 3] {
        let list = |name: &str, of| Field::new(name, DataType::List(item(of)), false);
        [
            list("product_ids", DataType::Utf8),
            list("scores", DataType::Float32),
            list("reasons", dictionary()),
        ]
    }

    /// Appends a list.
    pub(crate) fn push(&mut self, items: &[Item<'_>]) {
        for item in items {
            self.products.values().append_value(item.product_id);
            self.scores.values().append_value(item.score);
            self.reasons.values().append_value(item.reason.name());
        }
        self.products.append(true);
        self.scores.append(true);
        self.reasons.append(true);
    }

    /// The columns so far; begins anew.
    pub(crate) fn finish(&mut self) -> [ArrayRef; 3] {
        [Arc::new(self.products.finish()), Arc::new(self.scores.finish()), Arc::new(self.reasons.finish())]
    }
}

/// A batch of columns that were made for `schema`.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) when they do not fit, which would be a defect.
pub(crate) fn batch(schema: &arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|e| recs_core::Error::document("a table of lists", e.to_string()).into())
}

/// One batch as a file.
///
/// # Errors
/// As [`batch`].
pub(crate) fn to_parquet(rows: &RecordBatch) -> Result<Bytes> {
    let fault =
        |e: parquet::errors::ParquetError| recs_core::Error::document("a table of lists", e.to_string());
    let mut writer =
        ArrowWriter::try_new(Vec::new(), rows.schema(), Some(parquet_properties())).map_err(fault)?;
    writer.write(rows).map_err(fault)?;
    Ok(Bytes::from(writer.into_inner().map_err(fault)?))
}
