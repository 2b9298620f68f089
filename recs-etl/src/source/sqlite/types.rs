//! Declared types and dynamic values.

use crate::day::SECONDS_PER_DAY;
use crate::source::ColumnType;
use crate::source::builder::{ColumnBuilder, parse_bool, parse_decimal};
use crate::source::column::decimal_type;
use rusqlite::types::ValueRef;

/// Largest integer below which every integer is a float exactly.
const EXACT_FLOAT: u64 = 1 << 53;

/// The type a declaration stands for; total, because SQLite accepts any word there.
pub(super) fn declared(declaration: &str) -> ColumnType {
    let name = declaration.trim().to_ascii_uppercase();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
    let contains = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    if starts(&["DECIMAL", "NUMERIC"]) {
        let arguments = name.find('(').map_or("", |at| &name[at..]);
        let whole = arguments.replace(')', ",0)");
        return decimal_type(arguments).or_else(|| decimal_type(&whole)).unwrap_or(ColumnType::Float64);
    }
    if starts(&["BOOL"]) {
        ColumnType::Bool
    } else if starts(&["DATETIME", "TIMESTAMP"]) {
        ColumnType::Timestamp
    } else if name == "DATE" {
        ColumnType::Date
    } else if contains(&["CHAR", "CLOB", "TEXT"]) {
        ColumnType::Text
    } else if contains(&["INT"]) {
        ColumnType::Int64
    } else if contains(&["REAL", "FLOA", "DOUB"]) {
        ColumnType::Float64
    } else if contains(&["BLOB", "BINARY"]) {
        ColumnType::Binary
    } else {
        ColumnType::Text
    }
}

/// Appends a value; `None`, and nothing appended, when it does not fit the column.
pub(super) fn append(builder: &mut ColumnBuilder, value: ValueRef<'_>) -> Option<()> {
    match (builder, value) {
        (builder, ValueRef::Null) => builder.append_null(),
        (ColumnBuilder::Int64(b), ValueRef::Integer(v)) => b.append_value(v),
        (ColumnBuilder::Float64(b), ValueRef::Real(v)) => b.append_value(v),
        (ColumnBuilder::Float64(b), ValueRef::Integer(v)) => {
            b.append_value((v.unsigned_abs() <= EXACT_FLOAT).then_some(v as f64)?);
        }
        (ColumnBuilder::Decimal(b, precision, scale), value) => {
            b.append_value(parse_decimal(&written(value)?, *precision, *scale)?);
        }
        (ColumnBuilder::Bool(b), value) => b.append_value(parse_bool(&written(value)?)?),
        (ColumnBuilder::Text(b), ValueRef::Text(bytes)) => b.append_value(std::str::from_utf8(bytes).ok()?),
        (ColumnBuilder::Text(b), value) => b.append_value(written(value)?),
        (ColumnBuilder::Binary(b), ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => b.append_value(bytes),
        (ColumnBuilder::Date(b), ValueRef::Integer(seconds)) => {
            let whole = seconds.rem_euclid(SECONDS_PER_DAY) == 0;
            b.append_value(whole.then_some(i32::try_from(seconds.div_euclid(SECONDS_PER_DAY)).ok()?)?);
        }
        (ColumnBuilder::Timestamp(b), ValueRef::Integer(seconds)) => {
            b.append_value(seconds.checked_mul(1_000_000)?);
        }
        (builder @ (ColumnBuilder::Date(_) | ColumnBuilder::Timestamp(_)), ValueRef::Text(bytes)) => {
            builder.append_text(std::str::from_utf8(bytes).ok()?)?;
        }
        _ => return None,
    }
    Some(())
}

/// A value as SQLite would print it, floats in their shortest exact form.
fn written(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Integer(v) => Some(v.to_string()),
        ValueRef::Real(v) => Some(v.to_string()),
        ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        ValueRef::Blob(_) | ValueRef::Null => None,
    }
}

/// A value for an error message: `text abc`, `integer 5`.
pub(super) fn described(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(v) => format!("integer {v}"),
        ValueRef::Real(v) => format!("real {v}"),
        ValueRef::Text(bytes) => format!("text {}", crate::error::shown(&String::from_utf8_lossy(bytes))),
        ValueRef::Blob(bytes) => format!("a blob of {} bytes", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declaration_has_a_type() {
        for (declaration, expected) in [
            ("INTEGER", ColumnType::Int64),
            ("unsigned big int", ColumnType::Int64),
            ("VARCHAR(255)", ColumnType::Text),
            ("DECIMAL(10,2)", ColumnType::Decimal { precision: 10, scale: 2 }),
            ("decimal(10)", ColumnType::Decimal { precision: 10, scale: 0 }),
            ("NUMERIC", ColumnType::Float64),
            ("DOUBLE PRECISION", ColumnType::Float64),
            ("BOOLEAN", ColumnType::Bool),
            ("DATE", ColumnType::Date),
            ("datetime", ColumnType::Timestamp),
            ("TIMESTAMP WITH TIME ZONE", ColumnType::Timestamp),
            ("BLOB", ColumnType::Binary),
            ("", ColumnType::Text),
            ("GEOMETRY", ColumnType::Text),
        ] {
            assert_eq!(declared(declaration), expected, "{declaration}");
        }
    }

    #[test]
    fn reals_become_decimals_by_their_shortest_form() {
        let mut builder = ColumnBuilder::new(ColumnType::Decimal { precision: 10, scale: 2 });
        assert!(append(&mut builder, ValueRef::Real(25.1)).is_some());
        assert!(append(&mut builder, ValueRef::Integer(7)).is_some());
        assert!(append(&mut builder, ValueRef::Text(b"0.05")).is_some());
        assert!(
            append(&mut builder, ValueRef::Real(0.1 + 0.2)).is_none(),
            "0.30000000000000004 is not a price"
        );
        assert_eq!(builder.finish().len(), 3);
    }
}
