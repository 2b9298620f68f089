//! The server's types -> Arrow types.

use crate::source::ColumnType;
use arrow::datatypes::{DataType, Field, TimeUnit};
use std::sync::Arc;
use tokio_postgres::types::{Kind, Type};

/// Digits that Arrow's decimals of 128 and 256 bits hold.
const DIGITS_128: u8 = 38;
const DIGITS_256: u8 = 76;

/// How a column comes over the wire and what it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) form: Form,
    /// The type that the server is asked to convert to.
    pub(super) cast: Option<&'static str>,
    /// False when text is the best that we can do with a type that we do not know.
    pub(super) known: bool,
}

/// Binary form of a value, and with it the Arrow type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int16,
    Int32,
    Int64,
    UInt32,
    Float32,
    Float64,
    Decimal128(u8, i8),
    Decimal256(u8, i8),
    Text,
    /// A version byte, then text.
    Jsonb,
    Uuid,
    Binary,
    Date,
    Time,
    Timestamp,
    TimestampUtc,
    List(Box<Form>),
    /// Text that must be of a declared type.
    Declared(ColumnType),
}

impl Form {
    pub(super) fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt32 => DataType::UInt32,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Decimal256(precision, scale) => DataType::Decimal256(*precision, *scale),
            Self::Text | Self::Jsonb | Self::Uuid => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampUtc => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.arrow(), true))),
            Self::Declared(column) => column.arrow(),
        }
    }

    /// True when the server has values of it that Arrow has not.
    pub(super) fn has_special_values(&self) -> bool {
        matches!(
            self,
            Self::Decimal128(..) | Self::Decimal256(..) | Self::Date | Self::Timestamp | Self::TimestampUtc
        )
    }
}

impl Reading {
    fn binary(form: Form) -> Self {
        Self { form, cast: None, known: true }
    }

    fn cast(form: Form, cast: &'static str) -> Self {
        Self { form, cast: Some(cast), known: true }
    }

    /// As the configuration declares it.
    pub(super) fn declared(column: ColumnType) -> Self {
        Self::cast(Form::Declared(column), "text")
    }

    /// As the server declares it.
    pub(super) fn of(native: &Type, modifier: i32) -> Self {
        if let Some(form) = plain(native) {
            return Self::binary(form);
        }
        match native.kind() {
            Kind::Domain(base) => return Self::of(base, modifier),
            Kind::Enum(_) => return Self::binary(Form::Text),
            Kind::Array(item) => return Self::list(&Self::of(item, modifier)),
            _ => {}
        }
        match *native {
            Type::NUMERIC => numeric(modifier).map_or(Self::cast(Form::Text, "text"), Self::binary),
            Type::MONEY => Self::cast(Form::Decimal128(23, 4), "numeric(23,4)"),
            Type::INTERVAL
            | Type::TIMETZ
            | Type::BIT
            | Type::VARBIT
            | Type::INET
            | Type::CIDR
            | Type::MACADDR
            | Type::MACADDR8
            | Type::XML
            | Type::CHAR => Self::cast(Form::Text, "text"),
            _ => Self { known: false, ..Self::cast(Form::Text, "text") },
        }
    }

    fn list(item: &Self) -> Self {
        let cast = match item.cast {
            None => None,
            Some("text") => Some("text[]"),
            // Amounts of money in arrays: exact as text.
            Some(_) => {
                return Self { known: item.known, ..Self::cast(Form::List(Box::new(Form::Text)), "text[]") };
            }
        };
        Self { form: Form::List(Box::new(item.form.clone())), cast, known: item.known }
    }
}

/// Types whose binary form is read as it is.
fn plain(native: &Type) -> Option<Form> {
    Some(match *native {
        Type::BOOL => Form::Bool,
        Type::INT2 => Form::Int16,
        Type::INT4 => Form::Int32,
        Type::INT8 => Form::Int64,
        Type::OID => Form::UInt32,
        Type::FLOAT4 => Form::Float32,
        Type::FLOAT8 => Form::Float64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON => Form::Text,
        Type::JSONB => Form::Jsonb,
        Type::UUID => Form::Uuid,
        Type::BYTEA => Form::Binary,
        Type::DATE => Form::Date,
        Type::TIME => Form::Time,
        Type::TIMESTAMP => Form::Timestamp,
        Type::TIMESTAMPTZ => Form::TimestampUtc,
        _ => return None,
    })
}

/// The decimal of `numeric(p,s)`; `None` without precision or beyond 76 digits. Since version 15 the scale may be negative or
/// exceed the precision: then the decimal is as wide as its digits need.
fn numeric(modifier: i32) -> Option<Form> {
    let packed = modifier.checked_sub(4).filter(|&m| m >= 0)?;
    let precision = (packed >> 16) & 0xffff;
    // 11 bits, signed.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let digits = u8::try_from((precision - scale.min(0)).max(scale)).ok()?;
    let scale = i8::try_from(scale.max(0)).ok()?;
    if digits <= DIGITS_128 {
        return Some(Form::Decimal128(digits, scale));
    }
    (digits <= DIGITS_256).then_some(Form::Decimal256(digits, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modifier(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    #[test]
    fn numerics_are_as_wide_as_their_digits() {
        assert_eq!(numeric(modifier(12, 2)), Some(Form::Decimal128(12, 2)));
        assert_eq!(numeric(modifier(38, 0)), Some(Form::Decimal128(38, 0)));
        assert_eq!(numeric(modifier(39, 10)), Some(Form::Decimal256(39, 10)));
        assert_eq!(numeric(modifier(3, -2)), Some(Form::Decimal128(5, 0)));
        assert_eq!(numeric(modifier(3, 5)), Some(Form::Decimal128(5, 5)));
        assert_eq!(numeric(modifier(1000, 2)), None);
        assert_eq!(numeric(-1), None);
    }

    #[test]
    fn arrays_are_lists_of_what_their_items_are() {
        let ints = Reading::of(&Type::INT4_ARRAY, -1);
        assert_eq!(ints, Reading::binary(Form::List(Box::new(Form::Int32))));
        let inet = Reading::of(&Type::INET_ARRAY, -1);
        assert_eq!((inet.form, inet.cast), (Form::List(Box::new(Form::Text)), Some("text[]")));
        assert!(!Reading::of(&Type::POINT, -1).known);
    }
}
