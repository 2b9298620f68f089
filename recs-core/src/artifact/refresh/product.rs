//! What is known of a product.

use crate::error::{Error, Result};
use crate::schema::{DType, Field, Role, Schema, Value};
use crate::vocab::Vocabulary;
use std::collections::BTreeMap;

const LIST: &str = "products";

pub(super) fn invalid(record: usize, column: &str, reason: String) -> Error {
    Error::InvalidValue { file: LIST.into(), record: Some(record as u64), column: column.into(), reason }
}

/// A value of a product, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum ProductValue {
    /// Text.
    Text(String),
    /// Integer.
    Int64(i64),
    /// Float.
    Float(f32),
}

impl ProductValue {
    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Int64(n) => Value::Int64(*n),
            Self::Float(x) => Value::Float(*x),
        }
    }
}

/// A product as a list of products has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// Its id as text; a whole number where the schema has product ids as integers.
    pub id: String,
    /// Whether it may be recommended when only available products are asked for.
    pub available: bool,
    /// Values by the name of the schema's field: name, category, subcategory, and whatever the candidate tower reads. A
    /// value that is missing says nothing: empty text, or the mean of the training rows; a known product keeps its name
    /// and category.
    pub values: BTreeMap<String, ProductValue>,
}

impl Product {
    /// An available product of which only the id is known.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), available: true, values: BTreeMap::new() }
    }

    /// With a text.
    #[must_use]
    pub fn with_text(mut self, field: &str, text: impl Into<String>) -> Self {
        self.values.insert(field.into(), ProductValue::Text(text.into()));
        self
    }

    pub(super) fn check_id(&self, record: usize, field: &Field) -> Result<()> {
        let is_number = |id: &str| id.parse::<i64>().is_ok_and(|n| n.to_string() == id);
        if field.dtype == DType::Int64 && !is_number(&self.id) {
            let reason = format!("{:?} is no whole number, which product ids of this model are", self.id);
            return Err(invalid(record, &field.name, reason));
        }
        Ok(())
    }

    /// The text of the field with `role`; None where the list has none.
    pub(super) fn text(&self, schema: &Schema, role: Role) -> Option<String> {
        let value = self.values.get(&schema.find_role(role)?.name)?;
        Some(match value {
            ProductValue::Text(text) => text.clone(),
            ProductValue::Int64(n) => n.to_string(),
            ProductValue::Float(x) => x.to_string(),
        })
    }

    /// The values of all fields in schema order; those of the query's fields say nothing.
    pub(super) fn row<'a>(&'a self, schema: &'a Schema, vocabulary: &Vocabulary) -> Vec<Value<'a>> {
        let value = |field: &'a Field| {
            if field.role == Role::Product {
                return Value::Text(&self.id);
            }
            let neutral = || neutral(field, vocabulary);
            self.values.get(&field.name).map_or_else(neutral, ProductValue::as_value)
        };
        schema.fields.iter().map(value).collect()
    }
}

fn neutral(field: &Field, vocabulary: &Vocabulary) -> Value<'static> {
    let mean = || vocabulary.stats(&field.name).map_or(0.0, |stats| stats.mean);
    match field.dtype {
        _ if field.has_vocabulary() => Value::Text(""),
        DType::Int64 => Value::Int64(mean().round() as i64),
        DType::Bytes | DType::Float => Value::Float(mean() as f32),
    }
}
