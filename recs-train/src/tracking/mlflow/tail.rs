//! Where the whole lines of a file end.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

/// A longer line was not written by us.
pub(super) const MAX_LINE_BYTES: u64 = 16 << 20;
/// Bytes read at a time.
const BLOCK_BYTES: u64 = 64 << 10;

/// Where the last newline of the first `len` bytes ends, searched from the end on; 0 when there is none.
///
/// # Errors
/// [`ErrorKind::InvalidData`] when more than [`MAX_LINE_BYTES`] stand after it, those of the file system.
pub(super) fn last_line_end(mut file: &File, len: u64) -> Result<u64> {
    let (mut block, mut end) = (Vec::new(), len);
    while end > 0 {
        if len - end > MAX_LINE_BYTES {
            let what = format!("its last line has more than {MAX_LINE_BYTES} bytes and no end");
            return Err(Error::new(ErrorKind::InvalidData, what));
        }
        let start = end.saturating_sub(BLOCK_BYTES);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    proptest! {
        #[test]
        fn it_ends_with_the_last_newline(lines in vec(0usize..150_000, 0..4), torn in 0usize..150_000) {
            let mut text: Vec<u8> = lines.iter().flat_map(|n| [vec![b'x'; *n], vec![b'\n']].concat()).collect();
            let whole = text.len() as u64;
            text.extend(vec![b'x'; torn]);
            prop_assert_eq!(last_line_end(&file(&text), text.len() as u64).unwrap(), whole);
        }
    }

    #[test]
    fn a_line_that_never_ends_is_none_of_ours() {
        let file = file(b"\n");
        for (len, is_ours) in [(MAX_LINE_BYTES, true), (MAX_LINE_BYTES + 2 * BLOCK_BYTES, false)] {
            file.set_len(len).unwrap();
            let end = last_line_end(&file, len);
            let refused = |e: &Error| e.kind() == ErrorKind::InvalidData && e.to_string().contains("no end");
            assert!(if is_ours { end.unwrap() == 1 } else { end.is_err_and(|e| refused(&e)) }, "{len}");
        }
    }
}
