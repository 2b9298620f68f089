//! Filter expressions that a source can be asked to apply. What is not translated stays with the engine.

use crate::source::{CompareOp, Predicate, Scalar};
use ::datafusion::common::ScalarValue;
use ::datafusion::logical_expr::{Expr, Operator};
use arrow::datatypes::TimeUnit;

/// The predicate that an expression is, if it is one column against literals.
pub(super) fn predicate(expression: &Expr) -> Option<Predicate> {
    match expression {
        Expr::BinaryExpr(binary) => {
            let op = compare_op(binary.op)?;
            match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) => {
                    Some(Predicate::Compare { column: column.name.clone(), op, value: scalar(value)? })
                }
                (Expr::Literal(value, _), Expr::Column(column)) => Some(Predicate::Compare {
                    column: column.name.clone(),
                    op: op.flipped(),
                    value: scalar(value)?,
                }),
                _ => None,
            }
        }
        Expr::IsNull(inner) => Some(Predicate::IsNull { column: column_name(inner)? }),
        Expr::IsNotNull(inner) => Some(Predicate::IsNotNull { column: column_name(inner)? }),
        Expr::InList(list) if !list.negated => {
            let column = column_name(&list.expr)?;
            let values: Option<Vec<Scalar>> = list.list.iter().map(|e| scalar(literal(e)?)).collect();
            Some(Predicate::In { column, values: values? })
        }
        _ => None,
    }
}

fn column_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Column(column) => Some(column.name.clone()),
        _ => None,
    }
}

fn literal(expression: &Expr) -> Option<&ScalarValue> {
    match expression {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn compare_op(op: Operator) -> Option<CompareOp> {
    Some(match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::Ne,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::Le,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::Ge,
        _ => return None,
    })
}

/// Nulls have no translation: comparing with null is nothing a source should be asked.
fn scalar(value: &ScalarValue) -> Option<Scalar> {
    let ticks = |value: &Option<i64>, unit| value.map(|value| Scalar::Timestamp { value, unit });
    match value {
        ScalarValue::Boolean(v) => v.map(Scalar::Bool),
        ScalarValue::Int8(v) => v.map(|v| Scalar::Int(v.into())),
        ScalarValue::Int16(v) => v.map(|v| Scalar::Int(v.into())),
        ScalarValue::Int32(v) => v.map(|v| Scalar::Int(v.into())),
        ScalarValue::Int64(v) => v.map(Scalar::Int),
        ScalarValue::UInt8(v) => v.map(|v| Scalar::Int(v.into())),
        ScalarValue::UInt16(v) => v.map(|v| Scalar::Int(v.into())),
        ScalarValue::UInt32(v) => v.map(|v| Scalar::Int(v.into())),
        ScalarValue::UInt64(v) => v.and_then(|v| i64::try_from(v).ok()).map(Scalar::Int),
        ScalarValue::Float32(v) => v.map(|v| Scalar::Float(v.into())),
        ScalarValue::Float64(v) => v.map(Scalar::Float),
        ScalarValue::Decimal128(v, _, scale) => v.map(|value| Scalar::Decimal { value, scale: *scale }),
        ScalarValue::Utf8(v) | ScalarValue::LargeUtf8(v) | ScalarValue::Utf8View(v) => {
            v.clone().map(Scalar::Text)
        }
        ScalarValue::Date32(v) => v.map(Scalar::Date),
        ScalarValue::TimestampSecond(v, _) => ticks(v, TimeUnit::Second),
        ScalarValue::TimestampMillisecond(v, _) => ticks(v, TimeUnit::Millisecond),
        ScalarValue::TimestampMicrosecond(v, _) => ticks(v, TimeUnit::Microsecond),
        ScalarValue::TimestampNanosecond(v, _) => ticks(v, TimeUnit::Nanosecond),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::datafusion::prelude::{col, lit};

    #[test]
    fn a_literal_on_the_left_turns_the_comparison_round() {
        let expected = Predicate::compare("a", CompareOp::Gt, 5i64);
        assert_eq!(predicate(&lit(5i64).lt(col("a"))), Some(expected.clone()));
        assert_eq!(predicate(&col("a").gt(lit(5i64))), Some(expected));
    }

    #[test]
    fn lists_and_nulls_are_translated_other_things_are_not() {
        let list = col("a").in_list(vec![lit("x"), lit("y")], false);
        let values = vec![Scalar::from("x"), Scalar::from("y")];
        assert_eq!(predicate(&list), Some(Predicate::In { column: "a".into(), values }));
        assert_eq!(predicate(&col("a").is_null()), Some(Predicate::IsNull { column: "a".into() }));
        assert_eq!(predicate(&col("a").in_list(vec![lit("x")], true)), None);
        assert_eq!(predicate(&col("a").gt(col("b"))), None);
        assert_eq!(predicate(&col("a").gt(lit(ScalarValue::Int64(None)))), None);
    }
}
