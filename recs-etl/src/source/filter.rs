//! Predicates on Arrow batches: how every source of this crate applies what it cannot hand to its reader.

use super::predicate::{CompareOp, Predicate, Scalar};
use super::request::ReadRequest;
use crate::error::{Cause, Error, Place, Result};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::compute::kernels::cmp;
use arrow::compute::{CastOptions, and, cast_with_options, filter_record_batch, is_not_null, is_null, or};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use std::sync::Arc;

/// A predicate bound to its column, the literals in the column's own type.
#[derive(Debug, Clone)]
struct Bound {
    column: usize,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Compare(CompareOp, ArrayRef),
    In(Vec<ArrayRef>),
    IsNull,
    IsNotNull,
}

/// What a batch of all needed columns still has to go through: filters, then the projection, then the limit.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    place: Place,
    predicates: Vec<Bound>,
    /// Columns of the batch to keep, in order.
    keep: Vec<usize>,
    schema: SchemaRef,
    left: Option<u64>,
}

/// The columns a reader must decode (positions in the table's schema, ascending) and what happens to its batches.
#[derive(Debug, Clone)]
pub(crate) struct ReadPlan {
    pub(crate) columns: Vec<usize>,
    pub(crate) finish: Finish,
}

/// True when `predicate` can be evaluated on a column of this type.
pub(crate) fn supports(schema: &SchemaRef, predicate: &Predicate) -> bool {
    schema
        .index_of(predicate.column())
        .is_ok_and(|at| bind(predicate, at, schema.field(at).data_type()).is_some())
}

impl ReadPlan {
    /// Checks a request against the table's schema.
    ///
    /// Every source of this crate evaluates all predicates exactly, so a limit is always allowed.
    pub(crate) fn new(origin: &str, schema: &SchemaRef, request: &ReadRequest) -> Result<Self> {
        let place = Place::table(origin, &request.table);
        request.check(&place)?;
        let position = |name: &str| {
            schema.index_of(name).map_err(|_| Error::MissingColumn {
                place: Box::new(place.clone().in_column(name)),
                available: schema.fields().iter().map(|f| f.name().clone()).collect(),
            })
        };
        let projection: Vec<usize> = match &request.projection {
            Some(names) => names.iter().map(|n| position(n)).collect::<Result<_>>()?,
            None => (0..schema.fields().len()).collect(),
        };
        let mut columns = projection.clone();
        for predicate in &request.predicates {
            columns.push(position(predicate.column())?);
        }
        columns.sort_unstable();
        columns.dedup();
        let place_of = |at: usize| columns.binary_search(&at).unwrap_or_default();
        let mut predicates = Vec::new();
        for predicate in &request.predicates {
            let at = position(predicate.column())?;
            let data_type = schema.field(at).data_type();
            let bound = bind(predicate, place_of(at), data_type).ok_or_else(|| Error::Request {
                place: Box::new(place.clone().in_column(predicate.column())),
                problem: format!("a value in {predicate:?} is not of the column's type {data_type}"),
            })?;
            predicates.push(bound);
        }
        let keep: Vec<usize> = projection.iter().map(|&at| place_of(at)).collect();
        let out = schema.project(&projection).map_err(|e| read_error(&place, e))?;
        let finish = Finish { place, predicates, keep, schema: Arc::new(out), left: request.limit };
        Ok(Self { columns, finish })
    }
}

impl Finish {
    /// True when the limit is used up.
    pub(crate) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Filters, projects and cuts a batch of the plan's columns. `None` when no row is left of it.
    pub(crate) fn apply(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let filtered = self.filter(batch).map_err(|e| read_error(&self.place, e))?;
        let rows = match self.left {
            Some(left) => filtered.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => filtered.num_rows(),
        };
        if rows == 0 {
            return Ok(None);
        }
        self.left = self.left.map(|left| left - rows as u64);
        let columns = self.keep.iter().map(|&at| filtered.column(at).slice(0, rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(|e| read_error(&self.place, e))
    }

    fn filter(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mut mask: Option<BooleanArray> = None;
        for bound in &self.predicates {
            let next = bound.test.evaluate(batch.column(bound.column))?;
            mask = Some(match mask {
                Some(mask) => and(&mask, &next)?,
                None => next,
            });
        }
        match mask {
            Some(mask) => filter_record_batch(&batch, &mask),
            None => Ok(batch),
        }
    }
}

impl Test {
    /// Null where SQL's answer is "unknown" or false; the filter kernel drops both.
    fn evaluate(&self, column: &ArrayRef) -> Result<BooleanArray, ArrowError> {
        match self {
            Self::IsNull => is_null(column),
            Self::IsNotNull => is_not_null(column),
            Self::Compare(op, value) => compare(*op, column, value),
            Self::In(values) => {
                let mut any = BooleanArray::from(vec![false; column.len()]);
                for value in values {
                    let equal = compare(CompareOp::Eq, column, value)?;
                    any = or(&any, &equal)?;
                }
                Ok(any)
            }
        }
    }
}

fn compare(op: CompareOp, column: &ArrayRef, value: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    let value = arrow::array::Scalar::new(value);
    match op {
        CompareOp::Eq => cmp::eq(column, &value),
        CompareOp::Ne => cmp::neq(column, &value),
        CompareOp::Lt => cmp::lt(column, &value),
        CompareOp::Le => cmp::lt_eq(column, &value),
        CompareOp::Gt => cmp::gt(column, &value),
        CompareOp::Ge => cmp::gt_eq(column, &value),
    }
}

fn bind(predicate: &Predicate, column: usize, data_type: &DataType) -> Option<Bound> {
    let test = match predicate {
        Predicate::Compare { op, value, .. } => Test::Compare(*op, literal(value, data_type)?),
        Predicate::In { values, .. } => {
            Test::In(values.iter().map(|v| literal(v, data_type)).collect::<Option<_>>()?)
        }
        Predicate::IsNull { .. } => Test::IsNull,
        Predicate::IsNotNull { .. } => Test::IsNotNull,
    };
    Some(Bound { column, test })
}

/// The literal as one value of the column's type; `None` when the families differ or the value does not fit exactly.
fn literal(value: &Scalar, target: &DataType) -> Option<ArrayRef> {
    let fits = match value {
        Scalar::Bool(_) => matches!(target, DataType::Boolean),
        Scalar::Int(_) => target.is_integer(),
        Scalar::Float(_) => matches!(target, DataType::Float32 | DataType::Float64),
        Scalar::Text(_) => matches!(target, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        Scalar::Decimal { .. } => matches!(target, DataType::Decimal128(..)),
        Scalar::Date(_) => matches!(target, DataType::Date32),
        Scalar::Timestamp { .. } => matches!(target, DataType::Timestamp(..)),
    };
    if !fits {
        return None;
    }
    let natural = natural(value, target)?;
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = cast_with_options(&natural, target, &strict).ok()?;
    let back = cast_with_options(&cast, natural.data_type(), &strict).ok()?;
    (back.as_ref() == natural.as_ref()).then_some(cast)
}

fn natural(value: &Scalar, target: &DataType) -> Option<ArrayRef> {
    Some(match value {
        Scalar::Bool(v) => Arc::new(BooleanArray::from(vec![*v])),
        Scalar::Int(v) => Arc::new(Int64Array::from(vec![*v])),
        Scalar::Float(v) => Arc::new(Float64Array::from(vec![*v])),
        Scalar::Text(v) => Arc::new(StringArray::from(vec![v.as_str()])),
        Scalar::Decimal { value, scale } => {
            Arc::new(Decimal128Array::from(vec![*value]).with_precision_and_scale(38, *scale).ok()?)
        }
        Scalar::Date(v) => Arc::new(Date32Array::from(vec![*v])),
        Scalar::Timestamp { value, unit } => {
            let zone = match target {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let ticks = vec![*value];
            match unit {
                TimeUnit::Second => Arc::new(TimestampSecondArray::from(ticks).with_timezone_opt(zone)),
                TimeUnit::Millisecond => {
                    Arc::new(TimestampMillisecondArray::from(ticks).with_timezone_opt(zone))
                }
                TimeUnit::Microsecond => {
                    Arc::new(TimestampMicrosecondArray::from(ticks).with_timezone_opt(zone))
                }
                TimeUnit::Nanosecond => {
                    Arc::new(TimestampNanosecondArray::from(ticks).with_timezone_opt(zone))
                }
            }
        }
    })
}

fn read_error(place: &Place, error: ArrowError) -> Error {
    Error::Read { place: Box::new(place.clone()), cause: Cause::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_take_the_columns_type_or_are_refused() {
        let int = DataType::Int32;
        assert!(literal(&Scalar::Int(5), &int).is_some());
        assert!(literal(&Scalar::Int(i64::MAX), &int).is_none(), "does not fit 32 bits");
        assert!(literal(&Scalar::Float(5.0), &int).is_none(), "another family");
        let float = DataType::Float32;
        assert!(literal(&Scalar::Float(0.5), &float).is_some());
        assert!(literal(&Scalar::Float(0.1), &float).is_none(), "0.1 in 64 bits is not a 32-bit float");
        let ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        let ns = |value| Scalar::Timestamp { value, unit: TimeUnit::Nanosecond };
        assert!(literal(&ns(5_000_000), &ms).is_some());
        assert!(literal(&ns(5_000_001), &ms).is_none(), "finer than the column");
        assert!(literal(&Scalar::Decimal { value: 150, scale: 2 }, &DataType::Decimal128(10, 1)).is_some());
        assert!(literal(&Scalar::Decimal { value: 155, scale: 2 }, &DataType::Decimal128(10, 1)).is_none());
    }
}
