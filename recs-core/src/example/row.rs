//! One value per field: the form of every record that this crate family writes.

use super::wire::{BYTES_LIST, ExampleView, FLOAT_LIST, FeatureView, INT64_LIST};
use super::wire::{field_len, put_header, put_varint, varint_len};
use crate::error::{Error, Result};
use crate::schema::{DType, Field, MAX_FIELDS, Schema, Value};
use crate::tfrecord::Position;

/// Bytes of a key that an error message shows.
const MAX_SHOWN_BYTES: usize = 256;

/// Writes rows as Examples with sorted keys.
///
/// Cost: one pass over the values, no allocation beyond the output buffer.
#[derive(Debug, Clone)]
pub struct RowWriter {
    /// Position in the row and record name of each field, in the order of the record names.
    fields: Vec<(usize, Field)>,
}

impl RowWriter {
    /// A writer of rows whose values stand in the order of `schema.fields`.
    pub fn new(schema: &Schema) -> Self {
        let mut fields: Vec<(usize, Field)> = schema.fields.iter().cloned().enumerate().collect();
        fields.sort_by(|a, b| a.1.record.cmp(&b.1.record));
        Self { fields }
    }

    /// Appends the Example of `row` to `out`.
    ///
    /// # Errors
    /// [`Error::WrongType`] when a value is not of its field's type, [`Error::Config`] when the row is too short;
    /// `out` is left as it was.
    pub fn write(&self, row: &[Value<'_>], out: &mut Vec<u8>) -> Result<()> {
        let mut features_len = 0;
        for (at, field) in &self.fields {
            let value = row.get(*at).ok_or_else(|| {
                Error::config(
                    "row",
                    format!("has {} values, the schema {} fields", row.len(), self.fields.len()),
                )
            })?;
            if value.dtype() != field.dtype {
                return Err(Error::WrongType {
                    file: "row".into(),
                    record: None,
                    column: field.record.clone(),
                    expected: field.dtype.to_string(),
                    got: value.dtype().to_string(),
                });
            }
            features_len += field_len(entry_len(&field.record, value));
        }
        put_header(out, 1, features_len);
        for (at, field) in &self.fields {
            put_entry(out, &field.record, &row[*at]);
        }
        Ok(())
    }
}

/// Bytes of the list's content.
#[inline]
fn list_len(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) => field_len(text.len()),
        Value::Float(_) => field_len(4),
        Value::Int64(number) => field_len(varint_len(number.cast_unsigned())),
    }
}

#[inline]
fn entry_len(key: &str, value: &Value<'_>) -> usize {
    field_len(key.len()) + field_len(field_len(list_len(value)))
}

#[inline]
fn put_entry(out: &mut Vec<u8>, key: &str, value: &Value<'_>) {
    let list = list_len(value);
    put_header(out, 1, entry_len(key, value));
    put_header(out, 1, key.len());
    out.extend_from_slice(key.as_bytes());
    put_header(out, 2, field_len(list));
    match value {
        Value::Text(text) => {
            put_header(out, BYTES_LIST, list);
            put_header(out, 1, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        Value::Float(number) => {
            put_header(out, FLOAT_LIST, list);
            put_header(out, 1, 4);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Int64(number) => {
            put_header(out, INT64_LIST, list);
            put_header(out, 1, varint_len(number.cast_unsigned()));
            put_varint(out, number.cast_unsigned());
        }
    }
}

/// Reads Examples as rows, borrowing text from the record.
#[derive(Debug, Clone)]
pub struct RowReader {
    file: String,
    fields: Vec<Field>,
    /// Field at the i-th place of the previous record: records of one file keep their order.
    order: Vec<usize>,
    /// Which fields the current record had.
    seen: Vec<bool>,
}

impl RowReader {
    /// A reader of records of `schema`; `file` is named in errors.
    pub fn new(schema: &Schema, file: impl Into<String>) -> Self {
        Self { file: file.into(), fields: schema.fields.clone(), order: Vec::new(), seen: Vec::new() }
    }

    /// Puts the values of `record` into `row`, in the order of the schema's fields. Features that the schema does not
    /// name are skipped.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::MissingColumn`], [`Error::WrongType`] (also for text that is not UTF-8) and
    /// [`Error::InvalidValue`] (no value or several), each with file and record.
    pub fn read<'a>(&mut self, record: &'a [u8], at: Position, row: &mut Vec<Value<'a>>) -> Result<()> {
        let mut view = ExampleView::new(record);
        row.clear();
        row.resize(self.fields.len(), Value::Int64(0));
        self.seen.clear();
        self.seen.resize(self.fields.len(), false);
        let mut place = 0;
        let fault = |f: super::WireFault| f.at(&self.file, at.record, at.offset_bytes);
        while let Some((key, feature)) = view.next_feature().map_err(fault)? {
            let hinted = self.order.get(place).copied().filter(|&i| self.fields[i].record.as_bytes() == key);
            let found = hinted.or_else(|| self.fields.iter().position(|f| f.record.as_bytes() == key));
            if let Some(i) = found {
                if hinted.is_none() {
                    self.order.resize(self.order.len().max(place + 1), i);
                    self.order[place] = i;
                }
                row[i] = scalar(feature, &self.fields[i], &self.file, at)?;
                self.seen[i] = true;
            }
            place += 1;
        }
        if let Some(i) = self.seen.iter().position(|seen| !seen) {
            return Err(self.missing(&self.fields[i], record, at));
        }
        Ok(())
    }

    fn missing(&self, field: &Field, record: &[u8], at: Position) -> Error {
        // A hostile record may hold millions of keys, or one of megabytes: the message needs the first few.
        let mut present = Vec::new();
        let mut view = ExampleView::new(record);
        while present.len() < MAX_FIELDS
            && let Ok(Some((key, _))) = view.next_feature()
        {
            let key = &key[..key.len().min(MAX_SHOWN_BYTES)];
            present.push(String::from_utf8_lossy(key).into_owned());
        }
        Error::MissingColumn {
            file: self.file.clone(),
            record: Some(at.record),
            field: field.name.clone(),
            column: field.record.clone(),
            present,
        }
    }
}

fn scalar<'a>(feature: FeatureView<'a>, field: &Field, file: &str, at: Position) -> Result<Value<'a>> {
    let mut count = 0usize;
    let mut value = None;
    let got = feature.dtype();
    if got != Some(field.dtype) && got.is_some() {
        return Err(wrong_type(field, file, at, got.map_or("nothing", DType::name)));
    }
    let walked = match field.dtype {
        DType::Int64 => feature.int64s(|v| (count, value) = (count + 1, Some(Value::Int64(v)))),
        DType::Float => feature.floats(|v| (count, value) = (count + 1, Some(Value::Float(v)))),
        DType::Bytes => {
            let mut bytes = None;
            let walked = feature.bytes(|v| (count, bytes) = (count + 1, Some(v)));
            match bytes.map(std::str::from_utf8) {
                Some(Ok(text)) => value = Some(Value::Text(text)),
                Some(Err(_)) => return Err(wrong_type(field, file, at, "bytes that are not UTF-8")),
                None => {}
            }
            walked
        }
    };
    walked.map_err(|f| f.at(file, at.record, at.offset_bytes))?;
    match value {
        Some(value) if count == 1 => Ok(value),
        _ => Err(Error::InvalidValue {
            file: file.into(),
            record: Some(at.record),
            column: field.record.clone(),
            reason: format!("{count} values where one is expected; write one value per feature"),
        }),
    }
}

fn wrong_type(field: &Field, file: &str, at: Position, got: &str) -> Error {
    Error::WrongType {
        file: file.into(),
        record: Some(at.record),
        column: field.record.clone(),
        expected: field.dtype.to_string(),
        got: got.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Example, Feature};
    use super::*;
    use proptest::prelude::*;

    const AT: Position = Position { record: 7, offset_bytes: 100 };

    proptest! {
        #[test]
        fn reads_what_it_wrote(text in ".{0,30}", id in any::<i64>(), revenue in any::<f32>(), ts in any::<i64>()) {
            let schema = Schema::retail();
            let row = [
                Value::Text(&text), Value::Text("x"), Value::Float(revenue), Value::Int64(ts),
                Value::Int64(id), Value::Text(""), Value::Text(&text), Value::Text("é"),
            ];
            let mut bytes = Vec::new();
            RowWriter::new(&schema).write(&row, &mut bytes).unwrap();
            let mut general = Vec::new();
            Example::decode(&bytes).unwrap().encode(&mut general);
            prop_assert_eq!(&general, &bytes, "the general encoder writes the same bytes");
            let mut back = Vec::new();
            RowReader::new(&schema, "f").read(&bytes, AT, &mut back).unwrap();
            let bits = |v: &[Value<'_>]| format!("{:?}", v.iter().map(|v| match v {
                Value::Float(f) => Value::Int64(i64::from(f.to_bits())), other => *other }).collect::<Vec<_>>());
            prop_assert_eq!(bits(&back), bits(&row));
        }
    }

    #[test]
    fn errors_name_file_record_and_column() {
        let schema = Schema::retail();
        let mut example = Example::default();
        for field in &schema.fields {
            let value = match field.dtype {
                DType::Bytes => Feature::Bytes(vec![b"v".to_vec()]),
                DType::Int64 => Feature::Int64(vec![1]),
                DType::Float => Feature::Float(vec![1.0]),
            };
            example.features.insert(field.record.clone(), value);
        }
        let read = |example: &Example| {
            let mut bytes = Vec::new();
            example.encode(&mut bytes);
            let mut row = Vec::new();
            RowReader::new(&schema, "data-00000").read(&bytes, AT, &mut row).map_err(|e| e.to_string())
        };
        assert!(read(&example).is_ok());
        for (feature, expect) in [
            (None, "column `city` of field `city` is missing in record 7"),
            (Some(Feature::Int64(vec![1])), "holds int64, expected bytes in record 7"),
            (Some(Feature::Bytes(vec![vec![0xff]])), "not UTF-8"),
            (Some(Feature::Bytes(vec![])), "0 values where one is expected"),
            (Some(Feature::Bytes(vec![vec![], vec![]])), "2 values where one is expected"),
        ] {
            let mut broken = example.clone();
            match feature {
                Some(feature) => broken.features.insert("city".into(), feature),
                None => broken.features.remove("city"),
            };
            let message = read(&broken).unwrap_err();
            assert!(message.contains("data-00000") && message.contains(expect), "{message}");
        }
    }
}
