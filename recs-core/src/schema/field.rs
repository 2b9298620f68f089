//! One column: where it comes from, what it is called, what it holds.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Type of a feature in a record: the three lists of `tf.train.Feature`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// UTF-8 text in a `bytes_list`.
    Bytes,
    /// Signed 64-bit integer in an `int64_list`.
    Int64,
    /// 32-bit float in a `float_list`.
    Float,
}

impl DType {
    /// Name in configuration and `metadata.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Int64 => "int64",
            Self::Float => "float",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The tower that a field feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tower {
    /// The customer's side.
    Query,
    /// The product's side.
    Candidate,
}

impl Tower {
    /// Prefix of this tower's weights: `query` or `candidate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Candidate => "candidate",
        }
    }
}

/// What a field means to retrieval, HTTP and reports, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Who buys. Required.
    Customer,
    /// Where.
    City,
    /// The customer's total over the rows kept.
    Revenue,
    /// When, in Unix seconds.
    Timestamp,
    /// What is bought. Required.
    Product,
    /// The product's name, shown to people.
    ProductName,
    /// The product's category.
    Category,
    /// The product's subcategory.
    Subcategory,
    /// Anything else.
    #[default]
    Other,
}

/// A column of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Our name: the key in `vocabularies.json` and in requests.
    pub name: String,
    /// Column of the extracted table.
    pub column: String,
    /// Name of the feature in a TFRecord.
    pub record: String,
    /// Type in a TFRecord.
    pub dtype: DType,
    /// The tower it feeds.
    pub tower: Tower,
    /// What it means.
    #[serde(default)]
    pub role: Role,
}

impl Field {
    /// A field whose column and record name are its own name.
    pub fn new(name: &str, dtype: DType, tower: Tower, role: Role) -> Self {
        Self { name: name.into(), column: name.into(), record: name.into(), dtype, tower, role }
    }

    /// True when values of this field are looked up in a vocabulary: text, and ids stored as integers.
    pub fn has_vocabulary(&self) -> bool {
        match self.dtype {
            DType::Bytes => true,
            DType::Int64 => self.role != Role::Timestamp && self.role != Role::Other,
            DType::Float => false,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        for (what, name) in [("name", &self.name), ("column", &self.column), ("record", &self.record)] {
            if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
                return Err(Error::config(
                    format!("schema.fields.{}.{what}", self.name),
                    "needs 1 to 256 bytes without control characters",
                ));
            }
        }
        if self.name == "metadata" {
            return Err(Error::config("schema.fields.metadata", "this key is taken in vocabularies.json"));
        }
        let wrong = match self.role {
            Role::Revenue => self.dtype != DType::Float,
            Role::Timestamp => self.dtype != DType::Int64,
            Role::City | Role::ProductName | Role::Category | Role::Subcategory => self.dtype == DType::Float,
            Role::Customer | Role::Product => self.dtype == DType::Float,
            Role::Other => false,
        };
        if wrong {
            return Err(Error::config(
                format!("schema.fields.{}.dtype", self.name),
                format!("{} does not fit role {:?}", self.dtype, self.role),
            ));
        }
        Ok(())
    }
}

/// One value of one field, borrowed from where it was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// Integer.
    Int64(i64),
    /// Float.
    Float(f32),
}

impl Value<'_> {
    /// Type of the value.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Text(_) => DType::Bytes,
            Self::Int64(_) => DType::Int64,
            Self::Float(_) => DType::Float,
        }
    }
}
