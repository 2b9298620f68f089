//! Values written as text, and the builders that collect them into Arrow columns.

use super::column::ColumnType;
use crate::day::Day;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use std::sync::Arc;

/// `true`, `false`, `t`, `f`, `1`, `0` in any case.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Some(true),
        "false" | "f" | "0" => Some(false),
        _ => None,
    }
}

/// The unscaled value of a plain decimal number that fits `precision` and `scale` without rounding.
pub(super) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = usize::try_from(scale).ok()?;
    let (kept, rest) = fraction.split_at_checked(scale.min(fraction.len()))?;
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    let mut value: i128 = 0;
    let zeros = std::iter::repeat_n(b'0', scale - kept.len());
    for byte in whole.bytes().chain(kept.bytes()).chain(zeros) {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    let limit = 10i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// Days since 1970-01-01 of `2018-01-01`.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    text.parse::<Day>().ok().map(Day::epoch_days)
}

/// Microseconds since 1970-01-01T00:00:00 of `2018-01-01 04:01:20.5`; with an offset or `Z`, in UTC.
pub(super) fn parse_timestamp(text: &str) -> Option<i64> {
    // jiff reads a civil time and passes over an offset or zone name behind it: such texts must not get there.
    let behind_date = text.get(10..)?;
    if behind_date.contains(['Z', 'z', '+', '-']) {
        return text.parse::<jiff::Timestamp>().ok().map(|t| t.as_microsecond());
    }
    if behind_date.contains('[') {
        return None;
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let time = civil.time();
    let seconds = Day::from_civil(civil.date()).unix_seconds()
        + i64::from(time.hour()) * 3600
        + i64::from(time.minute()) * 60
        + i64::from(time.second());
    Some(seconds * 1_000_000 + i64::from(time.subsec_nanosecond() / 1000))
}

/// Collects the values of one column of a batch.
#[derive(Debug)]
pub(super) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl ColumnBuilder {
    pub(super) fn new(column: ColumnType) -> Self {
        match column {
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Decimal { precision, scale } => {
                let data_type = DataType::Decimal128(precision, scale);
                Self::Decimal(Decimal128Builder::new().with_data_type(data_type), precision, scale)
            }
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Binary => Self::Binary(BinaryBuilder::new()),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
        }
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Bool(b) => b.append_null(),
            Self::Int64(b) => b.append_null(),
            Self::Float64(b) => b.append_null(),
            Self::Decimal(b, ..) => b.append_null(),
            Self::Text(b) => b.append_null(),
            Self::Binary(b) => b.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Timestamp(b) => b.append_null(),
        }
    }

    /// Appends the value that `text` writes out; `None`, and nothing appended, when it writes none of this type.
    pub(super) fn append_text(&mut self, text: &str) -> Option<()> {
        let number = text.trim();
        match self {
            Self::Bool(b) => b.append_value(parse_bool(number)?),
            Self::Int64(b) => b.append_value(number.parse().ok()?),
            Self::Float64(b) => b.append_value(number.parse().ok()?),
            Self::Decimal(b, precision, scale) => b.append_value(parse_decimal(number, *precision, *scale)?),
            Self::Text(b) => b.append_value(text),
            Self::Binary(b) => b.append_value(text),
            Self::Date(b) => b.append_value(parse_date(number)?),
            Self::Timestamp(b) => b.append_value(parse_timestamp(number)?),
        }
        Some(())
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::Float64(b) => Arc::new(b.finish()),
            Self::Decimal(b, ..) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Binary(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, expected) in [
            ("25.00", Some(2500)),
            ("-0.5", Some(-50)),
            ("+.25", Some(25)),
            ("7", Some(700)),
            ("1.2300", Some(123)),
            ("1.234", None),
            ("1e2", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("99999999.99", None),
            ("999999.99", Some(99_999_999)),
            ("é", None),
        ] {
            assert_eq!(parse_decimal(text, 8, 2), expected, "{text}");
        }
    }

    #[test]
    fn timestamps_with_an_offset_are_taken_to_utc() {
        let utc = parse_timestamp("2018-01-01 04:01:20").unwrap();
        assert_eq!(utc, 1_514_779_280_000_000);
        assert_eq!(parse_timestamp("2018-01-01T04:01:20Z"), Some(utc));
        assert_eq!(parse_timestamp("2018-01-01T06:01:20+02:00"), Some(utc));
        assert_eq!(parse_timestamp("2018-01-01T04:01:20.000001"), Some(utc + 1));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.999999"), Some(-1));
        assert_eq!(parse_timestamp("2018-01-01T04:01:20[Europe/Berlin]"), None);
        assert_eq!(parse_timestamp("yesterday"), None);
    }
}
