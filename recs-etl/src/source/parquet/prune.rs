//! Row groups that cannot hold a row of interest, by their statistics.

use crate::source::predicate::{CompareOp, Predicate, Scalar};
use ::parquet::arrow::arrow_reader::ArrowReaderMetadata;
use ::parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use arrow::array::{Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

/// Row groups to read, in order.
///
/// Only integers, dates and timestamps are judged: statistics of floats leave NaN out, and those of text may be cut or
/// in another order.
pub(super) fn row_groups(
    metadata: &ArrowReaderMetadata,
    schema: &SchemaRef,
    predicates: &[Predicate],
) -> Vec<usize> {
    let mut keep = vec![true; metadata.metadata().num_row_groups()];
    for predicate in predicates {
        let Some(range) = Ranges::of(metadata, schema, predicate.column()) else { continue };
        for (group, keep) in keep.iter_mut().enumerate() {
            *keep = *keep && range.may_hold(group, predicate);
        }
    }
    (0..keep.len()).filter(|&group| keep[group]).collect()
}

/// Smallest and largest value of a column in each row group, as 64-bit integers of the column's own unit.
struct Ranges {
    min: Int64Array,
    max: Int64Array,
    data_type: DataType,
}

impl Ranges {
    fn of(metadata: &ArrowReaderMetadata, schema: &SchemaRef, column: &str) -> Option<Self> {
        let data_type = schema.field_with_name(column).ok()?.data_type().clone();
        let judged =
            data_type.is_signed_integer() || matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
        if !judged {
            return None;
        }
        let converter = StatisticsConverter::try_new(column, schema, metadata.parquet_schema()).ok()?;
        let groups = metadata.metadata().row_groups();
        let int64 = |array| {
            let array = match data_type {
                DataType::Date32 => cast(&array, &DataType::Int32).ok()?,
                _ => array,
            };
            cast(&array, &DataType::Int64).ok()?.as_any().downcast_ref::<Int64Array>().cloned()
        };
        let min = int64(converter.row_group_mins(groups).ok()?)?;
        let max = int64(converter.row_group_maxes(groups).ok()?)?;
        Some(Self { min, max, data_type })
    }

    fn may_hold(&self, group: usize, predicate: &Predicate) -> bool {
        if self.min.is_null(group) || self.max.is_null(group) {
            return true;
        }
        let (min, max) = (self.min.value(group), self.max.value(group));
        let holds = |op, value: &Scalar| match self.ticks(value) {
            None => true,
            Some(v) => match op {
                CompareOp::Eq => min <= v && v <= max,
                CompareOp::Ne => true,
                CompareOp::Lt => min < v,
                CompareOp::Le => min <= v,
                CompareOp::Gt => max > v,
                CompareOp::Ge => max >= v,
            },
        };
        match predicate {
            Predicate::Compare { op, value, .. } => holds(*op, value),
            Predicate::In { values, .. } => values.iter().any(|v| holds(CompareOp::Eq, v)),
            Predicate::IsNull { .. } | Predicate::IsNotNull { .. } => true,
        }
    }

    /// The literal in the column's unit; `None` where it has no exact one.
    fn ticks(&self, value: &Scalar) -> Option<i64> {
        match (value, &self.data_type) {
            (Scalar::Int(v), _) => Some(*v),
            (Scalar::Date(v), DataType::Date32) => Some(i64::from(*v)),
            (Scalar::Timestamp { value, unit }, DataType::Timestamp(own, _)) => {
                let ticks = i128::from(*value) * per_second(own);
                let exact = ticks % per_second(unit) == 0;
                exact.then_some(ticks / per_second(unit)).and_then(|t| i64::try_from(t).ok())
            }
            _ => None,
        }
    }
}

fn per_second(unit: &TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::parquet::arrow::ArrowWriter;
    use ::parquet::arrow::arrow_reader::ArrowReaderOptions;
    use ::parquet::file::properties::WriterProperties;
    use arrow::array::{Float64Array, RecordBatch, TimestampMicrosecondArray};
    use std::sync::Arc;

    /// Ten row groups of ten rows; row i is `i`, i seconds after the epoch, and `i` as a float.
    fn groups(predicate: Predicate) -> Vec<usize> {
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new((0..100).collect::<Int64Array>()) as _),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from_iter_values((0..100).map(|i| i * 1_000_000))) as _,
            ),
            ("score", Arc::new((0..100).map(f64::from).collect::<Float64Array>()) as _),
        ])
        .unwrap();
        let file = tempfile::tempfile().unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
        let mut writer =
            ArrowWriter::try_new(file.try_clone().unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
        row_groups(&metadata, &batch.schema(), &[predicate])
    }

    #[test]
    fn groups_that_cannot_hold_a_row_are_left_out() {
        let id = |op, value: i64| groups(Predicate::compare("id", op, value));
        assert_eq!(id(CompareOp::Ge, 80), [8, 9]);
        assert_eq!(id(CompareOp::Gt, 89), [9]);
        assert_eq!(id(CompareOp::Lt, 10), [0]);
        assert_eq!(id(CompareOp::Le, 10), [0, 1]);
        assert_eq!(id(CompareOp::Eq, 55), [5]);
        assert_eq!(id(CompareOp::Eq, 555), [0usize; 0]);
        assert_eq!(groups(Predicate::In { column: "id".into(), values: vec![5.into(), 95.into()] }), [0, 9]);
        let nanos = Scalar::Timestamp { value: 85_000_000_000, unit: TimeUnit::Nanosecond };
        assert_eq!(groups(Predicate::compare("at", CompareOp::Ge, nanos)), [8, 9]);
    }

    #[test]
    fn floats_and_inequality_rule_nothing_out() {
        assert_eq!(groups(Predicate::compare("score", CompareOp::Gt, 95.0)).len(), 10);
        assert_eq!(groups(Predicate::compare("id", CompareOp::Ne, 5i64)).len(), 10);
    }
}
