//! One function a parser, for arbitrary bytes: what is accepted survives the way out and back in. The fuzz targets and
//! the replay of their corpus call these same functions.

use recs_core::artifact::Manifest;
use recs_core::dataset::DatasetMetadata;
use recs_core::example::{Example, RowReader};
use recs_core::schema::Schema;
use recs_core::tfrecord::{Position, RecordReader, RecordWriter};
use recs_core::vocab::Vocabulary;
use recs_core::{Error, Result};

const READABLE: &str = "what was accepted and written again is readable";
const MAX_RECORD_BYTES: u64 = 1 << 20;
/// A small file of compressed empty records may hold millions.
const MAX_RECORDS: u64 = 100_000;

/// Reads every record, and the records again after writing them.
pub(crate) fn tfrecord(bytes: &[u8]) -> Result<()> {
    let mut reader = RecordReader::new(bytes, "fuzz")?.with_max_record_bytes(MAX_RECORD_BYTES);
    let mut copy = RecordWriter::plain(Vec::new());
    let mut read = 0;
    while let Some((at, record)) = reader.read()? {
        assert_eq!(at.record, read);
        copy.write(record)?;
        read += 1;
        if read == MAX_RECORDS {
            break;
        }
    }
    let file = copy.finish()?;
    let mut again = RecordReader::new(file.as_slice(), "copy").expect(READABLE);
    while again.read().expect(READABLE).is_some() {
        read -= 1;
    }
    assert_eq!(read, 0, "written records are all read");
    Ok(())
}

/// Decodes one record as a row of the retail schema, and in general; a general one is encoded and decoded again.
pub(crate) fn example(bytes: &[u8]) -> Result<()> {
    let at = Position::default();
    let mut row = Vec::new();
    let as_row = RowReader::new(&Schema::retail(), "fuzz").read(bytes, at, &mut row);
    let decoded = Example::decode(bytes)?;
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    decoded.encode(&mut once);
    Example::decode(&once).expect(READABLE).encode(&mut twice);
    assert_eq!(once, twice, "equal values give equal bytes");
    as_row
}

/// Parses for the retail schema.
pub(crate) fn vocabularies(bytes: &[u8]) -> Result<()> {
    let schema = Schema::retail();
    let vocabulary = Vocabulary::parse(bytes, &schema, "fuzz")?;
    let json = vocabulary.to_json(&schema).expect(READABLE);
    let again = Vocabulary::parse(&json, &schema, "copy").expect(READABLE);
    assert_eq!(again.sizes(&schema), vocabulary.sizes(&schema));
    Ok(())
}

/// Parses and checks.
pub(crate) fn manifest(bytes: &[u8]) -> Result<()> {
    let manifest = Manifest::parse(bytes, "fuzz")?;
    let json = manifest.to_json().expect(READABLE);
    assert_eq!(Manifest::parse(&json, "copy").expect(READABLE), manifest);
    Ok(())
}

/// Parses, checks, and compares with the retail schema.
pub(crate) fn dataset_metadata(bytes: &[u8]) -> Result<()> {
    let metadata = DatasetMetadata::parse(bytes, "fuzz")?;
    let json = metadata.to_json().expect(READABLE);
    assert_eq!(DatasetMetadata::parse(&json, "copy").expect(READABLE), metadata);
    metadata.check_schema(&Schema::retail(), "fuzz")
}

/// Variants that a file's content can cause.
pub(crate) fn blames_the_file(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. }
            | Error::TooLarge { .. }
            | Error::MissingColumn { .. }
            | Error::WrongType { .. }
            | Error::InvalidValue { .. }
            | Error::Document { .. }
            | Error::MissingVocabulary { .. }
            | Error::Version { .. }
    )
}
