//! The Arrow types that columns are read as: those stored in the file, dictionaries unpacked.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The schema to ask the reader for. Dictionary encoding is how the writer's program held a column, not what it
/// means, and callers need not know it; metadata of that program goes too.
pub(super) fn plain(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Dictionary(_, value) => {
                Field::new(field.name(), value.as_ref().clone(), field.is_nullable())
            }
            other => Field::new(field.name(), other.clone(), field.is_nullable()),
        })
        .collect();
    Arc::new(Schema::new(fields))
}
