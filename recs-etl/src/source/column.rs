//! Types of formats that do not store them strictly: declared or inferred.

use crate::error::Error;
use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most digits of a decimal.
const MAX_PRECISION: u8 = 38;

/// Type of a column in a format that does not store types strictly (CSV, SQLite).
///
/// Text form, as in a configuration file: `bool`, `int64`, `float64`, `decimal(18,2)`, `text`, `binary`, `date`,
/// `timestamp`.
///
/// ```
/// use recs_etl::source::ColumnType;
/// assert_eq!("decimal(18,2)".parse::<ColumnType>()?, ColumnType::Decimal { precision: 18, scale: 2 });
/// # Ok::<(), recs_etl::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    /// `true` and `false`.
    Bool,
    /// 64-bit integers.
    Int64,
    /// 64-bit floats.
    Float64,
    /// Exact decimals.
    Decimal {
        /// Most digits, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: i8,
    },
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// Days, `2018-01-01`.
    Date,
    /// Points in time to the microsecond, `2018-01-01 04:01:20`; texts with an offset are taken to UTC.
    Timestamp,
}

impl ColumnType {
    /// The Arrow type that such columns are read as.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            Self::Text => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Binary => f.write_str("binary"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.trim().to_ascii_lowercase();
        let known = match name.as_str() {
            "bool" => Some(Self::Bool),
            "int64" => Some(Self::Int64),
            "float64" => Some(Self::Float64),
            "text" => Some(Self::Text),
            "binary" => Some(Self::Binary),
            "date" => Some(Self::Date),
            "timestamp" => Some(Self::Timestamp),
            other => decimal_type(other.strip_prefix("decimal").unwrap_or_default()),
        };
        known.ok_or_else(|| {
            let names = "bool, int64, float64, decimal(precision,scale), text, binary, date, timestamp";
            Error::config("types", format!("`{text}` is not a column type; types are {names}"))
        })
    }
}

/// `(precision,scale)` within what 128 bits hold.
pub(super) fn decimal_type(arguments: &str) -> Option<ColumnType> {
    let (precision, scale) = arguments.trim().strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    let fits = (1..=MAX_PRECISION).contains(&precision) && scale >= 0 && scale.cast_unsigned() <= precision;
    fits.then_some(ColumnType::Decimal { precision, scale })
}

impl TryFrom<String> for ColumnType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(column: ColumnType) -> Self {
        column.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_round_trip() {
        for name in ["bool", "int64", "float64", "decimal(38,10)", "text", "binary", "date", "timestamp"] {
            assert_eq!(name.parse::<ColumnType>().unwrap().to_string(), name);
        }
        for name in ["int", "decimal", "decimal(39,2)", "decimal(5,6)", "decimal(5,-1)", ""] {
            assert!(name.parse::<ColumnType>().is_err(), "{name}");
        }
    }
}
