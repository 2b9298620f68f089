//! The byte stream of a binary `COPY` -> rows.
//!
//! ```text
//!  "PGCOPY\n\xff\r\n\0" | u32 flags | u32 length of an extension, skipped
//!  per row: i16 number of fields | per field: i32 length, -1 for null | bytes
//!  end: i16 -1
//! ```
//! <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format". The server cuts the stream into messages, mostly one a
//! row; nothing here relies on where.

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Signature, flags, length of the extension.
const HEADER: usize = SIGNATURE.len() + 8;

/// The stream is no binary `COPY` of so many columns, or ended in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the data does not begin as a binary COPY")]
    Signature,
    #[error("a row of {got} fields came, expected are {expected}")]
    Fields { got: i16, expected: usize },
    #[error("a field has the length {0}")]
    Length(i32),
    #[error("data came behind the end")]
    BehindEnd,
    #[error("the data ended in the middle")]
    Truncated,
}

/// A row: its bytes, and where in them each field lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    bytes: &'a [u8],
    fields: &'a [Option<(usize, usize)>],
}

impl<'a> Frame<'a> {
    pub(super) fn field(&self, at: usize) -> Option<&'a [u8]> {
        self.fields.get(at).copied().flatten().and_then(|(from, to)| self.bytes.get(from..to))
    }
}

/// Cuts the stream into rows.
#[derive(Debug)]
pub(super) struct Frames {
    expected: usize,
    fields: Vec<Option<(usize, usize)>>,
    /// What came of a row that is not complete.
    carry: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Rows,
    End,
}

impl Frames {
    /// Of rows with `expected` fields.
    pub(super) fn new(expected: usize) -> Self {
        Self { expected, fields: Vec::with_capacity(expected), carry: Vec::new(), state: State::Header }
    }

    /// Takes the next piece and calls `row` for every row that is complete with it.
    pub(super) fn feed<E: From<Malformed>>(
        &mut self,
        piece: &[u8],
        mut row: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.carry.is_empty() {
            let used = self.consume(piece, &mut row)?;
            self.carry.extend_from_slice(&piece[used..]);
            return Ok(());
        }
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(piece);
        let used = self.consume(&carry, &mut row)?;
        carry.drain(..used);
        self.carry = carry;
        Ok(())
    }

    /// Nothing may be missing when the stream has ended.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.state == State::End && self.carry.is_empty() { Ok(()) } else { Err(Malformed::Truncated) }
    }

    fn consume<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        row: &mut impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut at = 0;
        if self.state == State::Header {
            match header(bytes)? {
                Some(length) => (at, self.state) = (length, State::Rows),
                None => return Ok(0),
            }
        }
        while let Some(end) = self.next(bytes, at)? {
            if self.state == State::End {
                return if end == bytes.len() { Ok(end) } else { Err(Malformed::BehindEnd.into()) };
            }
            row(Frame { bytes, fields: &self.fields })?;
            at = end;
        }
        Ok(at)
    }

    /// Where the row that begins at `at` ends, its fields noted; `None` while it is not complete.
    fn next(&mut self, bytes: &[u8], mut at: usize) -> Result<Option<usize>, Malformed> {
        if self.state == State::End {
            return if at == bytes.len() { Ok(None) } else { Err(Malformed::BehindEnd) };
        }
        let Some(count) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
        at += 2;
        match i16::from_be_bytes(*count) {
            -1 => {
                self.state = State::End;
                return Ok(Some(at));
            }
            got if usize::try_from(got) != Ok(self.expected) => {
                return Err(Malformed::Fields { got, expected: self.expected });
            }
            _ => self.fields.clear(),
        }
        for _ in 0..self.expected {
            let Some(length) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            at += 4;
            match i32::from_be_bytes(*length) {
                -1 => self.fields.push(None),
                length => {
                    let end = at + usize::try_from(length).map_err(|_| Malformed::Length(length))?;
                    if end > bytes.len() {
                        return Ok(None);
                    }
                    self.fields.push(Some((at, end)));
                    at = end;
                }
            }
        }
        Ok(Some(at))
    }
}

/// Length of the header; `None` while it is not complete.
fn header(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(Malformed::Signature);
    }
    let Some(extension) = bytes.get(HEADER - 4..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    let length = i32::from_be_bytes(*extension);
    let length = HEADER + usize::try_from(length).map_err(|_| Malformed::Length(length))?;
    Ok((bytes.len() >= length).then_some(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Rows = Vec<Vec<Option<Vec<u8>>>>;

    fn encoded(rows: &Rows) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 4]);
        bytes.extend(3u32.to_be_bytes());
        bytes.extend(b"ext");
        for row in rows {
            bytes.extend((row.len() as u16).to_be_bytes());
            for field in row {
                match field {
                    None => bytes.extend((-1i32).to_be_bytes()),
                    Some(value) => {
                        bytes.extend((value.len() as u32).to_be_bytes());
                        bytes.extend(value);
                    }
                }
            }
        }
        bytes.extend((-1i16).to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8], cuts: &[usize], fields: usize) -> Result<Rows, Malformed> {
        let mut frames = Frames::new(fields);
        let mut rows = Rows::new();
        let mut from = 0;
        for to in cuts.iter().map(|c| c % (bytes.len() + 1)).chain([bytes.len()]) {
            if to >= from {
                frames.feed(&bytes[from..to], |frame| {
                    rows.push((0..fields).map(|at| frame.field(at).map(<[u8]>::to_vec)).collect());
                    Ok::<(), Malformed>(())
                })?;
                from = to;
            }
        }
        frames.end().map(|()| rows)
    }

    fn tables() -> impl Strategy<Value = Rows> {
        (0usize..4).prop_flat_map(|fields| {
            let field = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6));
            proptest::collection::vec(proptest::collection::vec(field, fields), 0..8)
        })
    }

    proptest! {
        #[test]
        fn rows_come_back_wherever_the_stream_is_cut(
            rows in tables(),
            mut cuts in proptest::collection::vec(any::<usize>(), 0..12),
        ) {
            let bytes = encoded(&rows);
            let fields = rows.first().map_or(0, Vec::len);
            cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
            cuts.sort_unstable();
            prop_assert_eq!(read(&bytes, &cuts, fields), Ok(rows));
            for short in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..short], &[], fields), Err(Malformed::Truncated));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), fields in 0usize..4) {
            let mut whole = encoded(&Rows::new());
            whole.truncate(whole.len() - 2);
            whole.extend(bytes);
            let _ = read(&whole, &[], fields);
        }
    }

    #[test]
    fn another_stream_is_refused() {
        assert_eq!(read(b"1\tanna\n", &[], 2), Err(Malformed::Signature));
        let two = encoded(&vec![vec![None, None]]);
        assert_eq!(read(&two, &[], 3), Err(Malformed::Fields { got: 2, expected: 3 }));
        let mut behind = encoded(&Rows::new());
        behind.push(0);
        assert_eq!(read(&behind, &[], 3), Err(Malformed::BehindEnd));
    }
}
