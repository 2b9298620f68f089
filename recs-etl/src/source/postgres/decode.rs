//! The binary form of a value -> Arrow builders.
//!
//! Forms are those of each type's `…_send` function in the server: big-endian numbers; dates and times from 2000-01-01.

use super::numeric::{NoDecimal, Numeric};
use super::types::Form;
use crate::error::shown;
use crate::source::builder::ColumnBuilder;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder, ListArray, NullBufferBuilder,
    StringBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use std::fmt::Write as _;
use std::sync::Arc;

/// Days and microseconds from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Why a value was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server has it, Arrow has not: null was appended in its place.
    Special(&'static str),
    /// The bytes are not of the column's type; what they are instead.
    Wrong(String),
    /// An array of so many dimensions.
    Dimensions(i32),
}

/// Collects the values of one column of a batch.
#[derive(Debug)]
pub(super) enum Decoder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, i8),
    Decimal256(Decimal256Builder, i8),
    Text(StringBuilder),
    Jsonb(StringBuilder),
    Uuid(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    List(Box<Lists>),
    Declared(ColumnBuilder),
}

/// Lists that are being filled.
#[derive(Debug)]
pub(super) struct Lists {
    item: Decoder,
    item_type: DataType,
    items: i32,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    <[u8; N]>::try_from(bytes).map_err(|_| Fault::Wrong(format!("{} bytes in place of {N}", bytes.len())))
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| {
        Fault::Wrong(format!("text that is not UTF-8: {}", shown(&String::from_utf8_lossy(bytes))))
    })
}

impl Decoder {
    pub(super) fn new(form: &Form) -> Self {
        match form {
            Form::Bool => Self::Bool(BooleanBuilder::new()),
            Form::Int16 => Self::Int16(Int16Builder::new()),
            Form::Int32 => Self::Int32(Int32Builder::new()),
            Form::Int64 => Self::Int64(Int64Builder::new()),
            Form::UInt32 => Self::UInt32(UInt32Builder::new()),
            Form::Float32 => Self::Float32(Float32Builder::new()),
            Form::Float64 => Self::Float64(Float64Builder::new()),
            Form::Decimal128(_, scale) => {
                Self::Decimal128(Decimal128Builder::new().with_data_type(form.arrow()), *scale)
            }
            Form::Decimal256(_, scale) => {
                Self::Decimal256(Decimal256Builder::new().with_data_type(form.arrow()), *scale)
            }
            Form::Text => Self::Text(StringBuilder::new()),
            Form::Jsonb => Self::Jsonb(StringBuilder::new()),
            Form::Uuid => Self::Uuid(StringBuilder::new()),
            Form::Binary => Self::Binary(BinaryBuilder::new()),
            Form::Date => Self::Date(Date32Builder::new()),
            Form::Time => Self::Time(Time64MicrosecondBuilder::new()),
            Form::Timestamp | Form::TimestampUtc => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(form.arrow()))
            }
            Form::List(item) => Self::List(Box::new(Lists {
                item: Self::new(item),
                item_type: item.arrow(),
                items: 0,
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
            })),
            Form::Declared(column) => Self::Declared(ColumnBuilder::new(*column)),
        }
    }

    /// Appends a value, or null.
    pub(super) fn append(&mut self, value: Option<&[u8]>) -> Result<(), Fault> {
        let Some(bytes) = value else {
            self.append_null();
            return Ok(());
        };
        let done = self.append_value(bytes);
        // A list has put its nulls where they belong.
        if matches!(done, Err(Fault::Special(_))) && !matches!(self, Self::List(_)) {
            self.append_null();
        }
        done
    }

    fn append_value(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Bool(b) => b.append_value(fixed::<1>(bytes)? != [0]),
            Self::Int16(b) => b.append_value(i16::from_be_bytes(fixed(bytes)?)),
            Self::Int32(b) => b.append_value(i32::from_be_bytes(fixed(bytes)?)),
            Self::Int64(b) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Self::UInt32(b) => b.append_value(u32::from_be_bytes(fixed(bytes)?)),
            // One NaN only: what a column holds must not depend on who computed it.
            Self::Float32(b) => {
                let value = f32::from_be_bytes(fixed(bytes)?);
                b.append_value(if value.is_nan() { f32::NAN } else { value });
            }
            Self::Float64(b) => {
                let value = f64::from_be_bytes(fixed(bytes)?);
                b.append_value(if value.is_nan() { f64::NAN } else { value });
            }
            Self::Decimal128(b, scale) => b.append_value(Numeric::parse(bytes)?.unscaled(*scale)?),
            Self::Decimal256(b, scale) => b.append_value(Numeric::parse(bytes)?.wide(*scale)?),
            Self::Text(b) => b.append_value(text(bytes)?),
            Self::Jsonb(b) => match bytes.split_first() {
                Some((1, json)) => b.append_value(text(json)?),
                _ => return Err(Fault::Wrong("jsonb of an unknown version".into())),
            },
            Self::Uuid(b) => append_uuid(b, fixed(bytes)?),
            Self::Binary(b) => b.append_value(bytes),
            Self::Date(b) => b.append_value(date(i32::from_be_bytes(fixed(bytes)?))?),
            Self::Time(b) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Self::Timestamp(b) => b.append_value(timestamp(i64::from_be_bytes(fixed(bytes)?))?),
            Self::List(lists) => lists.append(bytes)?,
            Self::Declared(b) => {
                let value = text(bytes)?;
                b.append_text(value).ok_or_else(|| Fault::Wrong(shown(value)))?;
            }
        }
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        match self {
            Self::Bool(b) => b.append_null(),
            Self::Int16(b) => b.append_null(),
            Self::Int32(b) => b.append_null(),
            Self::Int64(b) => b.append_null(),
            Self::UInt32(b) => b.append_null(),
            Self::Float32(b) => b.append_null(),
            Self::Float64(b) => b.append_null(),
            Self::Decimal128(b, _) => b.append_null(),
            Self::Decimal256(b, _) => b.append_null(),
            Self::Text(b) | Self::Jsonb(b) | Self::Uuid(b) => b.append_null(),
            Self::Binary(b) => b.append_null(),
            Self::Date(b) => b.append_null(),
            Self::Time(b) => b.append_null(),
            Self::Timestamp(b) => b.append_null(),
            Self::List(lists) => lists.close(false),
            Self::Declared(b) => b.append_null(),
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Int16(b) => Arc::new(b.finish()),
            Self::Int32(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::UInt32(b) => Arc::new(b.finish()),
            Self::Float32(b) => Arc::new(b.finish()),
            Self::Float64(b) => Arc::new(b.finish()),
            Self::Decimal128(b, _) => Arc::new(b.finish()),
            Self::Decimal256(b, _) => Arc::new(b.finish()),
            Self::Text(b) | Self::Jsonb(b) | Self::Uuid(b) => Arc::new(b.finish()),
            Self::Binary(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Time(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish()),
            Self::List(lists) => lists.finish(),
            Self::Declared(b) => b.finish(),
        }
    }
}

impl From<NoDecimal> for Fault {
    fn from(fault: NoDecimal) -> Self {
        match fault {
            NoDecimal::Special => Self::Special("NaN or an infinity"),
            NoDecimal::TooWide => Self::Wrong("a number with more digits".into()),
            NoDecimal::Malformed => Self::Wrong("bytes that are no numeric".into()),
        }
    }
}

fn date(days: i32) -> Result<i32, Fault> {
    match days {
        i32::MIN | i32::MAX => Err(Fault::Special("infinity")),
        days => days.checked_add(EPOCH_DAYS).ok_or(Fault::Special("a date beyond Arrow's")),
    }
}

fn timestamp(micros: i64) -> Result<i64, Fault> {
    match micros {
        i64::MIN | i64::MAX => Err(Fault::Special("infinity")),
        micros => micros.checked_add(EPOCH_MICROS).ok_or(Fault::Special("a time beyond Arrow's")),
    }
}

fn append_uuid(builder: &mut StringBuilder, bytes: [u8; 16]) {
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing into a builder cannot fail.
        let _ = write!(builder, "{dash}{byte:02x}");
    }
    builder.append_value("");
}

impl Lists {
    /// `i32 dimensions | i32 has nulls | u32 item type | per dimension i32 length, i32 lower bound | items as fields of a row`.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let damaged = || Fault::Wrong("bytes that are no array".into());
        let word = |at: usize| -> Result<i32, Fault> {
            let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or_else(damaged)?;
            Ok(i32::from_be_bytes(*chunk))
        };
        let (length, mut at) = match word(0)? {
            0 => (0, 12),
            1 => (word(12)?, 20),
            dimensions => return Err(Fault::Dimensions(dimensions)),
        };
        let mut special = Ok(());
        for _ in 0..length {
            let size = word(at)?;
            at += 4;
            let item = match size {
                -1 => None,
                size => {
                    let end = at + usize::try_from(size).map_err(|_| damaged())?;
                    let item = bytes.get(at..end).ok_or_else(damaged)?;
                    at = end;
                    Some(item)
                }
            };
            match self.item.append(item) {
                Err(Fault::Special(what)) => special = Err(Fault::Special(what)),
                done => done?,
            }
            self.items += 1;
        }
        self.close(true);
        special
    }

    fn close(&mut self, valid: bool) {
        self.offsets.push(self.items);
        self.nulls.append(valid);
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])));
        self.items = 0;
        let field = Arc::new(Field::new_list_field(self.item_type.clone(), true));
        Arc::new(ListArray::new(field, offsets, self.item.finish(), self.nulls.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Int32Type};
    use proptest::prelude::*;

    fn array(items: &[Option<i32>]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [1, 1, 23, items.len() as i32, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
        for item in items {
            bytes.extend(item.map_or(-1i32, |_| 4).to_be_bytes());
            bytes.extend(item.iter().flat_map(|v| v.to_be_bytes()));
        }
        bytes
    }

    #[test]
    fn lists_keep_their_nulls_and_lengths() {
        let mut lists = Decoder::new(&Form::List(Box::new(Form::Int32)));
        lists.append(Some(&array(&[Some(7), None]))).unwrap();
        lists.append(None).unwrap();
        lists.append(Some(&[0; 12])).unwrap();
        lists.append(Some(&array(&[Some(-1)]))).unwrap();
        let made = lists.finish();
        let made = made.as_list::<i32>();
        assert_eq!((made.len(), made.null_count(), made.value_length(2)), (4, 1, 0));
        assert_eq!(made.value(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>(), [Some(7), None]);
        assert_eq!(made.value(3).as_primitive::<Int32Type>().value(0), -1);
        let square: Vec<u8> =
            [2, 0, 23, 1, 1, 1, 1, 4, 5].iter().flat_map(|w: &i32| w.to_be_bytes()).collect();
        assert_eq!(lists.append(Some(&square)), Err(Fault::Dimensions(2)));
    }

    #[test]
    fn a_special_value_leaves_a_null_also_in_a_list() {
        let mut dates = Decoder::new(&Form::List(Box::new(Form::Date)));
        assert!(matches!(dates.append(Some(&array(&[Some(0), Some(i32::MAX)]))), Err(Fault::Special(_))));
        dates.append(Some(&array(&[Some(1)]))).unwrap();
        let made = dates.finish();
        assert_eq!(made.as_list::<i32>().len(), 2);
        let first = made.as_list::<i32>().value(0);
        assert_eq!(first.as_primitive::<Date32Type>().iter().collect::<Vec<_>>(), [Some(EPOCH_DAYS), None]);
    }

    #[test]
    fn a_uuid_is_written_in_its_usual_form() {
        let mut uuids = Decoder::new(&Form::Uuid);
        uuids
            .append(Some(&[
                0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a,
                0x11,
            ]))
            .unwrap();
        assert_eq!(uuids.finish().as_string::<i32>().value(0), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for form in [Form::Bool, Form::Int64, Form::Decimal128(12, 2), Form::Text, Form::Jsonb, Form::Uuid, Form::Date,
                Form::Timestamp, Form::List(Box::new(Form::Text)), Form::List(Box::new(Form::Int32)), Form::Declared("date".parse().unwrap())]
            {
                let _ = Decoder::new(&form).append(Some(&bytes));
            }
        }
    }
}
