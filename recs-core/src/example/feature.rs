//! Owned Examples: any number of values per feature. For tools and tests; the hot path is `row.rs`.

use super::wire::{BYTES_LIST, ExampleView, FLOAT_LIST, FeatureView, INT64_LIST, WireFault};
use super::wire::{field_len, put_header, put_varint, varint_len};
use crate::error::{Error, Result};
use crate::schema::DType;
use std::collections::BTreeMap;

/// The values of one feature.
#[derive(Debug, Clone, PartialEq)]
pub enum Feature {
    /// `bytes_list`.
    Bytes(Vec<Vec<u8>>),
    /// `float_list`.
    Float(Vec<f32>),
    /// `int64_list`.
    Int64(Vec<i64>),
    /// A feature without a list, which TensorFlow reads as missing.
    Missing,
}

/// A `tf.train.Example`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Example {
    /// Features by key.
    pub features: BTreeMap<String, Feature>,
}

impl Example {
    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset in the record; keys that are not UTF-8 are refused.
    pub fn decode(record: &[u8]) -> Result<Self> {
        let mut view = ExampleView::new(record);
        let mut example = Self::default();
        let fault = |f: WireFault| f.at("record", 0, 0);
        while let Some((key, value)) = view.next_feature().map_err(fault)? {
            let key = std::str::from_utf8(key)
                .map_err(|_| Error::corrupt("record", "a feature key is not UTF-8"))?;
            example.features.insert(key.to_owned(), owned(value).map_err(fault)?);
        }
        Ok(example)
    }

    /// Appends the wire form, keys sorted.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let entries: Vec<(&String, Vec<u8>)> =
            self.features.iter().map(|(k, v)| (k, encode_feature(v))).collect();
        let entry_len = |key: &str, value: &[u8]| field_len(key.len()) + field_len(value.len());
        let features_len = entries.iter().map(|(k, v)| field_len(entry_len(k, v))).sum();
        put_header(out, 1, features_len);
        for (key, value) in entries {
            put_header(out, 1, entry_len(key, &value));
            put_header(out, 1, key.len());
            out.extend_from_slice(key.as_bytes());
            put_header(out, 2, value.len());
            out.extend_from_slice(&value);
        }
    }
}

fn owned(view: FeatureView<'_>) -> Result<Feature, WireFault> {
    Ok(match view.dtype() {
        Some(DType::Bytes) => {
            let mut values = Vec::new();
            view.bytes(|v| values.push(v.to_vec()))?;
            Feature::Bytes(values)
        }
        Some(DType::Float) => {
            let mut values = Vec::new();
            view.floats(|v| values.push(v))?;
            Feature::Float(values)
        }
        Some(DType::Int64) => {
            let mut values = Vec::new();
            view.int64s(|v| values.push(v))?;
            Feature::Int64(values)
        }
        None => Feature::Missing,
    })
}

fn encode_feature(feature: &Feature) -> Vec<u8> {
    let (mut list, number) = (
        Vec::new(),
        match feature {
            Feature::Bytes(_) => BYTES_LIST,
            Feature::Float(_) => FLOAT_LIST,
            Feature::Int64(_) => INT64_LIST,
            Feature::Missing => return Vec::new(),
        },
    );
    match feature {
        Feature::Bytes(values) => values.iter().for_each(|v| {
            put_header(&mut list, 1, v.len());
            list.extend_from_slice(v);
        }),
        Feature::Float(values) if !values.is_empty() => {
            put_header(&mut list, 1, 4 * values.len());
            values.iter().for_each(|v| list.extend_from_slice(&v.to_le_bytes()));
        }
        Feature::Int64(values) if !values.is_empty() => {
            put_header(&mut list, 1, values.iter().map(|v| varint_len(v.cast_unsigned())).sum());
            values.iter().for_each(|v| put_varint(&mut list, v.cast_unsigned()));
        }
        _ => {}
    }
    let mut out = Vec::with_capacity(list.len() + 8);
    put_header(&mut out, number, list.len());
    out.extend_from_slice(&list);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feature() -> impl Strategy<Value = Feature> {
        prop_oneof![
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4)
                .prop_map(Feature::Bytes),
            proptest::collection::vec(-1e30f32..1e30, 0..4).prop_map(Feature::Float),
            proptest::collection::vec(any::<i64>(), 0..4).prop_map(Feature::Int64),
            Just(Feature::Missing),
        ]
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(features in proptest::collection::btree_map("[a-z_é]{0,12}", feature(), 0..8)) {
            let example = Example { features };
            let mut bytes = Vec::new();
            example.encode(&mut bytes);
            prop_assert_eq!(Example::decode(&bytes).unwrap(), example);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Example::decode(&bytes);
        }

        #[test]
        fn a_flipped_or_cut_record_never_panics(seed in any::<u64>()) {
            let mut example = Example::default();
            example.features.insert("a".into(), Feature::Bytes(vec![b"xyz".to_vec()]));
            example.features.insert("b".into(), Feature::Int64(vec![seed.cast_signed(), -1]));
            let mut bytes = Vec::new();
            example.encode(&mut bytes);
            let at = seed as usize % bytes.len();
            let _ = Example::decode(&bytes[..at]);
            bytes[at] ^= (seed >> 32) as u8 | 1;
            let _ = Example::decode(&bytes);
        }
    }

    #[test]
    fn unpacked_lists_and_repeated_parts_are_read_as_protobuf_says() {
        // int64_list written unpacked, in two lists that follow each other: values concatenate.
        let feature = [0x1a, 4, 0x08, 1, 0x08, 2, 0x1a, 2, 0x08, 3];
        let mut entry = vec![0x0a, 1, b'k', 0x12, feature.len() as u8];
        entry.extend_from_slice(&feature);
        let mut features = vec![0x0a, entry.len() as u8];
        features.extend_from_slice(&entry);
        let mut record = vec![0x0a, features.len() as u8];
        record.extend_from_slice(&features);
        let example = Example::decode(&record).unwrap();
        assert_eq!(example.features["k"], Feature::Int64(vec![1, 2, 3]));
    }
}
