//! Predicates -> SQL, as far as the server judges as we do.
//!
//! Rows are filtered again after decoding: a condition may let through more than the predicate, never less. Where the
//! two judge differently (text by a collation, zeros of a float by their sign, values that we read as null) it is left
//! out.

use super::catalog::{Column, quoted};
use super::config::SpecialValues;
use super::types::Form;
use crate::source::CompareOp;
use crate::source::predicate::{Predicate, Scalar};
use arrow::datatypes::TimeUnit;

/// Most literals of an `IN` list that are handed over.
const MAX_IN: usize = 1000;

/// The condition for `predicate` on `column`; `None` when it is left to us.
///
/// `collations`: whether the server knows `COLLATE "C"`.
pub(super) fn condition(
    predicate: &Predicate,
    column: &Column,
    special: SpecialValues,
    collations: bool,
) -> Option<String> {
    let name = quoted(&column.name);
    let null_means_null = special == SpecialValues::Error || !column.reading.form.has_special_values();
    match predicate {
        Predicate::IsNull { .. } => null_means_null.then(|| format!("{name} IS NULL")),
        Predicate::IsNotNull { .. } => Some(format!("{name} IS NOT NULL")),
        _ if column.reading.cast.is_some() => None,
        Predicate::Compare { op, value, .. } => {
            let value = literal(value, column)?;
            match column.reading.form {
                Form::Text if *op == CompareOp::Eq => Some(format!("{name} = {value}")),
                // Blanks at the end count for us, and not for `character(n)`.
                Form::Text if collations && column.native != "bpchar" => {
                    Some(format!("{name} COLLATE \"C\" {} {value}", op.sql()))
                }
                Form::Text => None,
                _ => Some(format!("{name} {} {value}", op.sql())),
            }
        }
        Predicate::In { values, .. } if (1..=MAX_IN).contains(&values.len()) => {
            let values: Option<Vec<String>> = values.iter().map(|v| literal(v, column)).collect();
            Some(format!("{name} IN ({})", values?.join(", ")))
        }
        Predicate::In { .. } => None,
    }
}

fn literal(value: &Scalar, column: &Column) -> Option<String> {
    Some(match (value, &column.reading.form) {
        (Scalar::Bool(v), Form::Bool) => v.to_string(),
        (Scalar::Int(v), Form::Int16 | Form::Int32 | Form::Int64) => format!("'{v}'::bigint"),
        (Scalar::Float(v), Form::Float64) if v.is_finite() && *v != 0.0 => {
            format!("'{v:e}'::double precision")
        }
        (Scalar::Text(v), Form::Text) if text_is_text(column) && !v.contains('\0') => {
            format!("'{}'", v.replace('\'', "''"))
        }
        (Scalar::Decimal { value, scale }, Form::Decimal128(..) | Form::Decimal256(..)) => {
            format!("'{value}e{}'::numeric", -i32::from(*scale))
        }
        (Scalar::Date(days), Form::Date) => format!("(date '1970-01-01' + ({days}))"),
        (Scalar::Timestamp { value, unit }, Form::Timestamp | Form::TimestampUtc) => {
            let zone = if column.reading.form == Form::Timestamp { "timestamp" } else { "timestamptz" };
            let micros = micros(*value, *unit)?;
            let epoch = if zone == "timestamp" { "1970-01-01" } else { "1970-01-01 00:00:00+00" };
            let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
            format!(
                "({zone} '{epoch}' + {seconds} * interval '1 second' + {rest} * interval '1 microsecond')"
            )
        }
        _ => return None,
    })
}

/// Enums and JSON come as text too; the server does not compare them so.
fn text_is_text(column: &Column) -> bool {
    matches!(column.native.as_str(), "text" | "varchar" | "bpchar")
}

/// Exact microseconds within what the server stores.
fn micros(value: i64, unit: TimeUnit) -> Option<i64> {
    const MOST: i64 = 9_000_000_000_000_000_000;
    let micros = match unit {
        TimeUnit::Second => value.checked_mul(1_000_000)?,
        TimeUnit::Millisecond => value.checked_mul(1000)?,
        TimeUnit::Microsecond => value,
        TimeUnit::Nanosecond if value % 1000 == 0 => value / 1000,
        TimeUnit::Nanosecond => return None,
    };
    // The server's calendar begins in 4713 BC.
    (-200_000_000_000_000_000..=MOST).contains(&micros).then_some(micros)
}
