//! The protobuf wire form: varints, fields, and a view of an Example that borrows the record.

use crate::error::Error;
use crate::schema::DType;

/// Where a record stops being a valid Example, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFault {
    /// Offset in the record.
    pub offset_bytes: u64,
    /// What is wrong.
    pub reason: &'static str,
}

impl WireFault {
    /// The fault as an error that names the file, the record and the byte.
    pub fn at(self, file: &str, record: u64, record_offset_bytes: u64) -> Error {
        Error::Corrupt {
            file: file.into(),
            record: Some(record),
            offset_bytes: Some(record_offset_bytes + self.offset_bytes),
            reason: format!("not a tf.train.Example: {}", self.reason),
        }
    }
}

type Fault<T> = Result<T, WireFault>;

pub(super) const BYTES_LIST: u32 = 1;
pub(super) const FLOAT_LIST: u32 = 2;
pub(super) const INT64_LIST: u32 = 3;
const LENGTH_DELIMITED: u8 = 2;

/// A slice of the record together with its offset, so that faults can say where they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Slice(Cursor<'a>),
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, base: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    fn fault<T>(&self, reason: &'static str) -> Fault<T> {
        Err(WireFault { offset_bytes: (self.base + self.at) as u64, reason })
    }

    fn take(&mut self, n: usize) -> Fault<Cursor<'a>> {
        let Some(bytes) = self.rest().get(..n) else {
            return self.fault("a field is longer than what is left of the record");
        };
        let taken = Cursor { bytes, at: 0, base: self.base + self.at };
        self.at += n;
        Ok(taken)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Fault<u64> {
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        let mut value = 0u64;
        for (i, &byte) in self.rest().iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        self.fault("a varint is cut off or longer than ten bytes")
    }

    /// The next field: its number and payload.
    #[inline]
    pub(super) fn field(&mut self) -> Fault<(u32, Payload<'a>)> {
        let start = *self;
        let tag = self.varint()?;
        let number = match u32::try_from(tag >> 3) {
            Ok(n) if n != 0 && n < 1 << 29 => n,
            _ => return start.fault("a field number is out of range"),
        };
        let payload = match (tag & 7) as u8 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Payload::Fixed64
            }
            LENGTH_DELIMITED => {
                let len = self.varint()?;
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Payload::Slice(self.take(len)?)
            }
            5 => {
                let mut word = [0; 4];
                word.copy_from_slice(self.take(4)?.bytes);
                Payload::Fixed32(word)
            }
            _ => return start.fault("a field has a wire type that protobuf does not define"),
        };
        Ok((number, payload))
    }

    /// The next length-delimited field with `number`; other fields are skipped. None at the end.
    fn next_message(&mut self, number: u32) -> Fault<Option<Cursor<'a>>> {
        while !self.is_empty() {
            let start = *self;
            match self.field()? {
                (n, Payload::Slice(inner)) if n == number => return Ok(Some(inner)),
                (n, _) if n == number => return start.fault("a message field is not length-delimited"),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// A record read in place. Features come in the order in which they were written; a key may occur again, the last wins.
#[derive(Debug, Clone, Copy)]
pub struct ExampleView<'a> {
    example: Cursor<'a>,
    features: Option<Cursor<'a>>,
}

impl<'a> ExampleView<'a> {
    /// A view of one record; nothing is read yet.
    pub fn new(record: &'a [u8]) -> Self {
        Self { example: Cursor::new(record), features: None }
    }

    /// The next feature: key and value.
    ///
    /// # Errors
    /// [`WireFault`] at the first byte that is not a valid Example.
    pub fn next_feature(&mut self) -> Result<Option<(&'a [u8], FeatureView<'a>)>, WireFault> {
        loop {
            if let Some(features) = &mut self.features
                && let Some(mut entry) = features.next_message(1)?
            {
                return map_entry(&mut entry).map(Some);
            }
            match self.example.next_message(1)? {
                Some(features) => self.features = Some(features),
                None => return Ok(None),
            }
        }
    }
}

fn map_entry<'a>(entry: &mut Cursor<'a>) -> Fault<(&'a [u8], FeatureView<'a>)> {
    let (mut key, mut value) = (&[][..], Cursor { bytes: &[], at: 0, base: entry.base + entry.at });
    while !entry.is_empty() {
        let start = *entry;
        match entry.field()? {
            (1, Payload::Slice(inner)) => key = inner.bytes,
            (2, Payload::Slice(inner)) => value = inner,
            (1 | 2, _) => return start.fault("a map entry's key or value is not length-delimited"),
            _ => {}
        }
    }
    Ok((key, FeatureView::new(value)?))
}

/// The values of one feature, read in place.
#[derive(Debug, Clone, Copy)]
pub struct FeatureView<'a> {
    kind: Option<u32>,
    /// From the first list of `kind` on; lists of one kind that follow each other are one list.
    lists: Cursor<'a>,
}

impl<'a> FeatureView<'a> {
    fn new(feature: Cursor<'a>) -> Fault<Self> {
        let (mut kind, mut lists) = (None, feature);
        let mut at = feature;
        while !at.is_empty() {
            let start = at;
            match at.field()? {
                (n @ BYTES_LIST..=INT64_LIST, Payload::Slice(_)) if kind == Some(n) => {}
                (n @ BYTES_LIST..=INT64_LIST, Payload::Slice(_)) => (kind, lists) = (Some(n), start),
                (BYTES_LIST..=INT64_LIST, _) => return start.fault("a value list is not length-delimited"),
                _ => {}
            }
        }
        Ok(Self { kind, lists })
    }

    /// Type of the values; None for a feature without a list.
    pub fn dtype(&self) -> Option<DType> {
        match self.kind {
            Some(BYTES_LIST) => Some(DType::Bytes),
            Some(FLOAT_LIST) => Some(DType::Float),
            Some(INT64_LIST) => Some(DType::Int64),
            _ => None,
        }
    }

    /// Calls `each` with every value of a list of bytes, in order. Other lists give nothing.
    ///
    /// # Errors
    /// [`WireFault`].
    pub fn bytes(&self, mut each: impl FnMut(&'a [u8])) -> Result<(), WireFault> {
        self.walk(BYTES_LIST, |start, payload| match payload {
            Payload::Slice(value) => {
                each(value.bytes);
                Ok(())
            }
            _ => start.fault("a bytes value is not length-delimited"),
        })
    }

    /// Calls `each` with every value of a list of floats, in order, packed or not.
    ///
    /// # Errors
    /// [`WireFault`].
    pub fn floats(&self, mut each: impl FnMut(f32)) -> Result<(), WireFault> {
        self.walk(FLOAT_LIST, |start, payload| match payload {
            Payload::Fixed32(word) => {
                each(f32::from_le_bytes(word));
                Ok(())
            }
            Payload::Slice(packed) => {
                let words = packed.bytes.chunks_exact(4);
                if !words.remainder().is_empty() {
                    return packed.fault("packed floats are not a multiple of four bytes");
                }
                words.for_each(|w| each(f32::from_le_bytes([w[0], w[1], w[2], w[3]])));
                Ok(())
            }
            _ => start.fault("a float value has another wire type"),
        })
    }

    /// Calls `each` with every value of a list of integers, in order, packed or not.
    ///
    /// # Errors
    /// [`WireFault`].
    pub fn int64s(&self, mut each: impl FnMut(i64)) -> Result<(), WireFault> {
        self.walk(INT64_LIST, |start, payload| match payload {
            Payload::Varint(value) => {
                each(value.cast_signed());
                Ok(())
            }
            Payload::Slice(mut packed) => {
                while !packed.is_empty() {
                    each(packed.varint()?.cast_signed());
                }
                Ok(())
            }
            _ => start.fault("an int64 value has another wire type"),
        })
    }

    fn walk(&self, kind: u32, mut each: impl FnMut(Cursor<'a>, Payload<'a>) -> Fault<()>) -> Fault<()> {
        if self.kind != Some(kind) {
            return Ok(());
        }
        let mut lists = self.lists;
        while let Some(mut list) = lists.next_message(kind)? {
            while !list.is_empty() {
                let start = list;
                let (number, payload) = list.field()?;
                if number == 1 {
                    each(start, payload)?;
                }
            }
        }
        Ok(())
    }
}

/// Appends a varint.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] appends.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends tag and length of a length-delimited field.
#[inline]
pub(super) fn put_header(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, u64::from(number) << 3 | u64::from(LENGTH_DELIMITED));
    put_varint(out, len as u64);
}

/// Bytes of a length-delimited field with a one-byte tag.
#[inline]
pub(super) fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}
