//! Damaged and hostile TFRecord files.

use proptest::prelude::*;
use recs_core::Error;
use recs_core::tfrecord::{RecordReader, RecordWriter};
use std::io::Write;

fn read_all(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = RecordReader::new(bytes, "f.tfrecord.gz")?.with_max_record_bytes(1 << 20);
    let mut records = Vec::new();
    while let Some((_, data)) = reader.read()? {
        records.push(data.to_vec());
    }
    Ok(records)
}

fn write(records: &[Vec<u8>], gzip: bool) -> Vec<u8> {
    let mut writer =
        if gzip { RecordWriter::gzip(Vec::new(), 6).unwrap() } else { RecordWriter::plain(Vec::new()) };
    records.iter().for_each(|r| writer.write(r).unwrap());
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reads_what_was_written(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20), gzip in any::<bool>()) {
        let file = write(&records, gzip);
        prop_assert_eq!(&read_all(&file).unwrap(), &records);
        prop_assert_eq!(write(&records, gzip), file, "equal records give equal bytes");
    }

    #[test]
    fn a_cut_file_is_an_error_that_names_the_place(cut in 1usize..2000, gzip in any::<bool>()) {
        let records: Vec<Vec<u8>> = (0..8u8).map(|i| (0..100u8).map(|j| j.wrapping_mul(31) ^ i.wrapping_mul(77)).collect()).collect();
        let file = write(&records, gzip);
        let cut = cut % file.len();
        match read_all(&file[..cut]) {
            Err(Error::Corrupt { file, record: Some(_), offset_bytes: Some(_), .. }) => prop_assert_eq!(file, "f.tfrecord.gz"),
            // A plain file cut between two records is a shorter file; nothing in it tells. An empty one has no record.
            Ok(read) => prop_assert!(cut == 0 || !gzip && cut.is_multiple_of(116) && read.len() == cut / 116),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_flipped_bit_never_changes_a_record(at in any::<prop::sample::Index>(), bit in 0u8..8, gzip in any::<bool>()) {
        let records: Vec<Vec<u8>> = (0..5u8).map(|i| vec![i; 50]).collect();
        let mut file = write(&records, gzip);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        // Some header bits of gzip (time, operating system) mean nothing; then the records are the same.
        if let Ok(read) = read_all(&file) {
            prop_assert_eq!(read, records);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_all(&bytes);
    }
}

#[test]
fn several_gzip_members_are_one_file() {
    let mut file = write(&[b"a".to_vec()], true);
    file.extend(write(&[b"b".to_vec(), vec![]], true));
    assert_eq!(read_all(&file).unwrap(), [b"a".to_vec(), b"b".to_vec(), vec![]]);
}

#[test]
fn rubbish_after_the_last_member_is_refused() {
    let mut file = write(&[b"a".to_vec()], true);
    file.extend(b"rubbish");
    assert!(matches!(read_all(&file), Err(Error::Corrupt { .. })));
}

/// Lengths whose low bytes are gzip's magic number, with and without its compression method.
#[test]
fn a_plain_file_that_begins_like_gzip_is_read() {
    for len in [0x8b1f, 0x08_8b1f] {
        let records = [vec![b'z'; len], b"second".to_vec()];
        assert_eq!(read_all(&write(&records, false)).unwrap(), records);
    }
}

/// A source that gives one byte at a time, as a slow network may.
#[test]
fn the_form_of_a_file_does_not_depend_on_the_size_of_reads() {
    struct Drip<'a>(&'a [u8]);
    impl std::io::Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = buf.len().min(1);
            std::io::Read::read(&mut self.0, &mut buf[..n])
        }
    }
    // 0x1f, gzip's first byte, is the first byte of this length.
    let records = [vec![7u8; 0x1f]];
    for gzip in [false, true] {
        let file = write(&records, gzip);
        let mut reader = RecordReader::new(Drip(&file), "drip").unwrap();
        assert_eq!(reader.read().unwrap().unwrap().1, records[0]);
        assert!(reader.read().unwrap().is_none());
    }
}

/// A header with a valid checksum that claims 2^60 bytes: refused before anything is allocated.
#[test]
fn an_absurd_length_is_refused() {
    let length = (1u64 << 60).to_le_bytes();
    let mut file = length.to_vec();
    file.extend(recs_core::tfrecord::masked_crc32c(&length).to_le_bytes());
    let error = read_all(&file).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 0x10_0000, .. }), "{error}");
    assert!(error.to_string().contains("record 0, at byte 0"));
}

/// A length just below the limit that the file does not hold costs no more memory than the file has.
#[test]
fn a_length_beyond_the_file_is_cut_off_not_allocated() {
    let length = (1u64 << 20).to_le_bytes();
    let mut file = length.to_vec();
    file.extend(recs_core::tfrecord::masked_crc32c(&length).to_le_bytes());
    file.extend([0; 10]);
    let error = read_all(&file).unwrap_err();
    assert!(error.to_string().contains("ends inside a record"), "{error}");
}

/// A thousandfold compressed stream of zeros is not a record, and is not inflated as a whole.
#[test]
fn a_gzip_bomb_is_refused_at_its_first_frame() {
    let mut encoder = flate2_like_gzip();
    let zeros = vec![0u8; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let error = read_all(&bomb).unwrap_err();
    assert!(error.to_string().contains("checksum of a record's length"), "{error}");
}

fn flate2_like_gzip() -> flate2::write::GzEncoder<Vec<u8>> {
    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best())
}
