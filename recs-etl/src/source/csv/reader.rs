//! Records of one or more files as Arrow batches.

use super::config::{CsvConfig, CsvTable};
use super::types::TypedHeader;
use crate::error::{Cause, Error, Place, Result, shown};
use crate::source::builder::ColumnBuilder;
use crate::source::pump::{Flow, Outlet};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes read from a file at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// A batch ends early at so much text, whatever its rows.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// A file that refuses to deliver more than `allowance` bytes before it is asked for the next record.
struct Bounded {
    file: File,
    allowance: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.allowance == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the record is longer than max_record_bytes; a closing quote may be missing, or raise the limit",
            ));
        }
        let most = buffer.len().min(self.allowance);
        let read = self.file.read(&mut buffer[..most])?;
        self.allowance -= read;
        Ok(read)
    }
}

/// Records of one file, one at a time, in one reused buffer.
pub(super) struct Records {
    reader: ::csv::Reader<Bounded>,
    record: ::csv::ByteRecord,
    place: Place,
    row: u64,
    max_record_bytes: usize,
}

impl Records {
    pub(super) fn open(config: &CsvConfig, path: &Path, table: &str) -> Result<Self> {
        let origin = format!("csv {}", path.display());
        let file =
            File::open(path).map_err(|e| Error::Open { origin: origin.clone(), cause: Cause::new(e) })?;
        let allowance = config.max_record_bytes + BUFFER_BYTES;
        let reader = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(config.delimiter as u8)
            .quote(config.quote as u8)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(Bounded { file, allowance });
        let place = Place::table(origin, table);
        let record = ::csv::ByteRecord::new();
        Ok(Self { reader, record, place, row: 0, max_record_bytes: config.max_record_bytes })
    }

    pub(super) fn place(&self) -> Place {
        if self.row == 0 { self.place.clone() } else { self.place.clone().at_row(self.row) }
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Row { place: Box::new(self.place()), problem }
    }

    fn advance(&mut self) -> Result<bool> {
        self.reader.get_mut().allowance = self.max_record_bytes + BUFFER_BYTES;
        match self.reader.read_byte_record(&mut self.record) {
            Ok(more) => Ok(more),
            Err(error) => match error.into_kind() {
                ::csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
                    self.row += 1;
                    Err(self.refuse(e.to_string()))
                }
                kind => Err(Error::Read {
                    place: Box::new(self.place()),
                    cause: Cause::new(io::Error::other(format!("{kind:?}"))),
                }),
            },
        }
    }

    /// The header line: UTF-8, no empty and no double names.
    pub(super) fn header(&mut self) -> Result<Vec<String>> {
        if !self.advance()? {
            return Err(self.refuse("the file is empty; it needs a header line with column names".into()));
        }
        let mut names: Vec<String> = Vec::with_capacity(self.record.len());
        let mut seen = HashSet::with_capacity(self.record.len());
        for (at, field) in self.record.iter().enumerate() {
            let name = std::str::from_utf8(field).map_err(|_| {
                self.refuse(format!("name {} of the header is not UTF-8; convert the file", at + 1))
            })?;
            if name.is_empty() || !seen.insert(name) {
                let what = if name.is_empty() { "empty" } else { "there twice" };
                return Err(
                    self.refuse(format!("name {} of the header, `{name}`, is {what}; rename it", at + 1))
                );
            }
            names.push(name.to_owned());
        }
        Ok(names)
    }

    /// Moves to the next record; false at the end of the file.
    pub(super) fn next(&mut self) -> Result<bool> {
        let more = self.advance()?;
        self.row += u64::from(more);
        Ok(more)
    }

    /// A field of the current record.
    pub(super) fn field(&self, at: usize) -> Result<&str> {
        let bytes = self.record.get(at).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| Error::Value {
            place: Box::new(self.place().in_column(format!("number {}", at + 1))),
            expected: "UTF-8 text".into(),
            got: shown(&String::from_utf8_lossy(bytes)),
            remedy: "convert the file to UTF-8".into(),
        })
    }
}

/// Everything a reading thread needs.
pub(super) struct Job {
    pub(super) config: Arc<CsvConfig>,
    pub(super) table: CsvTable,
    pub(super) name: String,
    pub(super) header: TypedHeader,
    pub(super) columns: Vec<usize>,
    pub(super) batch_rows: usize,
}

impl Job {
    pub(super) fn run(&self, outlet: &mut Outlet) -> Result<()> {
        let mut batch = Building::new(self);
        for file in &self.table.files {
            let mut records = Records::open(&self.config, file, &self.name)?;
            let header = records.header()?;
            if !header.iter().eq(self.header.columns.iter().map(|(name, _)| name)) {
                return Err(
                    records.refuse(format!("the header changed to {header:?}; read the schema again"))
                );
            }
            let mut more = true;
            while more {
                more = records.next()?;
                if more {
                    batch.push(self, &records)?;
                }
                let full = batch.rows == self.batch_rows || batch.text_bytes >= MAX_BATCH_BYTES;
                if (full || !more && batch.rows > 0) && outlet.put(batch.finish(&records)?)? == Flow::Enough {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The batch that is being filled.
struct Building {
    schema: SchemaRef,
    builders: Vec<ColumnBuilder>,
    rows: usize,
    text_bytes: usize,
}

impl Building {
    fn new(job: &Job) -> Self {
        let columns = job.columns.iter().map(|&at| &job.header.columns[at]);
        let fields: Vec<Field> = columns.clone().map(|(name, t)| Field::new(name, t.arrow(), true)).collect();
        let builders = columns.map(|(_, t)| ColumnBuilder::new(*t)).collect();
        Self { schema: Arc::new(Schema::new(fields)), builders, rows: 0, text_bytes: 0 }
    }

    fn push(&mut self, job: &Job, records: &Records) -> Result<()> {
        let (expected, got) = (job.header.columns.len(), records.record.len());
        if expected != got {
            let problem = format!("the header has {expected} fields, this row {got}; mend or remove the row");
            return Err(records.refuse(problem));
        }
        for (builder, &at) in self.builders.iter_mut().zip(&job.columns) {
            let text = records.field(at)?;
            if job.config.is_null(text) {
                builder.append_null();
            } else if builder.append_text(text).is_none() {
                let (name, column_type) = &job.header.columns[at];
                let declared = if job.table.types.contains_key(name) { "declared" } else { "inferred" };
                return Err(Error::Value {
                    place: Box::new(records.place().in_column(name)),
                    expected: format!("{column_type} ({declared})"),
                    got: shown(text),
                    remedy: format!(
                        "mend the value, declare `types.{name}` as text, or add it to null_strings"
                    ),
                });
            }
        }
        self.text_bytes += records.record.as_slice().len();
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, records: &Records) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.text_bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| Error::Read { place: Box::new(records.place()), cause: Cause::new(e) })
    }
}
