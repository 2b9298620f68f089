//! What each configured column is in the actual tables.

use super::config::ExtractConfig;
use crate::error::{Error, Place, Result};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

/// How ids of a column compare and come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {
    /// As numbers.
    Integer,
    /// As text, by code point.
    Text,
}

/// How the day of a row is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The column is a day.
    Date,
    /// The column is a local date and time.
    Local,
    /// The column is a point in time.
    Instant,
    /// The column counts seconds since 1970 in UTC.
    UnixSeconds,
    /// The column is ISO text.
    Text,
}

/// The configured columns, found and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) product: Id,
    pub(super) city: Option<Id>,
    /// True when the value column's type holds what no money is: NaN, or amounts whose sum leaves 38 digits.
    pub(super) unbounded_value: bool,
    pub(super) when: When,
    /// Id of the product table's product column.
    pub(super) listed_product: Option<Id>,
}

impl Columns {
    pub(super) fn find(
        config: &ExtractConfig,
        log: &SchemaRef,
        products: Option<&SchemaRef>,
    ) -> Result<Self> {
        let names = &config.transactions;
        let log = Finder { schema: log, table: &names.table };
        log.id(&names.customer)?;
        let listed_product = match products {
            Some(schema) if !config.products.table.is_empty() => {
                let products = Finder { schema, table: &config.products.table };
                for column in [&config.products.name, &config.products.category, &config.products.subcategory]
                {
                    if !column.is_empty() {
                        products.found(column)?;
                    }
                }
                Some(products.id(&config.products.product)?)
            }
            _ => None,
        };
        let value = log.found(&names.value)?;
        let numeric = value.is_integer() || value.is_floating() || matches!(value, DataType::Decimal128(..));
        if !numeric {
            let remedy = "declare it as decimal or float64 in the source's configuration";
            return Err(log.refuse(&names.value, "a number", value, remedy));
        }
        Ok(Self {
            product: log.id(&names.product)?,
            city: if names.city.is_empty() { None } else { Some(log.id(&names.city)?) },
            unbounded_value: match value {
                DataType::Decimal128(precision, scale) => i16::from(*precision) - i16::from(*scale) > 18,
                other => other.is_floating(),
            },
            when: log.when(&names.timestamp)?,
            listed_product,
        })
    }
}

struct Finder<'a> {
    schema: &'a SchemaRef,
    table: &'a str,
}

impl Finder<'_> {
    fn found(&self, column: &str) -> Result<&DataType> {
        self.schema.field_with_name(column).map(|f| f.data_type()).map_err(|_| Error::MissingColumn {
            place: Box::new(Place::table("extraction", self.table).in_column(column)),
            available: self.schema.fields().iter().map(|f| f.name().clone()).collect(),
        })
    }

    fn id(&self, column: &str) -> Result<Id> {
        match self.found(column)? {
            t if t.is_integer() => Ok(Id::Integer),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(Id::Text),
            other => {
                let remedy = "ids with fractions or of other types cannot be compared safely: make them text";
                Err(self.refuse(column, "integer or text ids", other, remedy))
            }
        }
    }

    fn when(&self, column: &str) -> Result<When> {
        match self.found(column)? {
            DataType::Date32 | DataType::Date64 => Ok(When::Date),
            DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond, zone)
            | DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
                Ok(if zone.is_some() { When::Instant } else { When::Local })
            }
            DataType::Int64 | DataType::Int32 | DataType::UInt32 => Ok(When::UnixSeconds),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(When::Text),
            other => {
                let expected = "a date, a timestamp, integer Unix seconds or ISO text";
                Err(self.refuse(column, expected, other, "convert it in the source"))
            }
        }
    }

    fn refuse(&self, column: &str, expected: &str, got: &DataType, remedy: &str) -> Error {
        Error::ColumnType {
            place: Box::new(Place::table("extraction", self.table).in_column(column)),
            expected: expected.into(),
            got: got.to_string(),
            remedy: remedy.into(),
        }
    }
}
