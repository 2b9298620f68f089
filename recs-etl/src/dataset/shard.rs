//! One shard in its thread: batches in, a compressed file out.

use super::columns::Columns;
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use recs_core::example::RowWriter;
use recs_core::observe::CancelToken;
use recs_core::schema::{Role, Schema, Value};
use recs_core::tfrecord::{DEFAULT_MAX_RECORD_BYTES, RecordWriter};
use std::io::Write;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Rows on their way to their shard. The permit is its share of the bytes that may wait.
pub(super) struct Piece {
    pub(super) batch: RecordBatch,
    pub(super) first_row: u64,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What all shards of a dataset share.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) rows: RowWriter,
    pub(super) gzip_level: u32,
    pub(super) cancel: CancelToken,
    /// The first error of any shard; the store sees only that writing failed.
    pub(super) failure: Mutex<Option<Error>>,
}

/// Smallest and largest timestamp seen.
pub(super) type Span = Option<(i64, i64)>;

impl Job {
    pub(super) fn keep(&self, error: Error) -> recs_core::Error {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        recs_core::Error::Worker { doing: "writing a shard" }
    }

    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Writes the shard of `rows`. Too few pieces mean that the reader failed: then the shard must not be stored.
    pub(super) fn write(
        self: &Arc<Self>,
        sink: &mut dyn Write,
        rows: Range<u64>,
        mut pieces: mpsc::UnboundedReceiver<Piece>,
    ) -> recs_core::Result<Span> {
        let mut writer = RecordWriter::gzip(sink, self.gzip_level)?;
        let mut span = None;
        let mut record = Vec::new();
        let timestamp = self.schema.fields.iter().position(|f| f.role == Role::Timestamp);
        while let Some(piece) = pieces.blocking_recv() {
            self.cancel.check()?;
            let written = self.write_piece(&piece, &mut writer, &mut record, timestamp, &mut span);
            written.map_err(|e| match e {
                // The store knows why it stopped taking bytes.
                Error::Core(e @ recs_core::Error::Io { .. }) => e,
                e => self.keep(e),
            })?;
        }
        if writer.records() != rows.end - rows.start {
            return Err(recs_core::Error::Worker { doing: "reading the rows of a shard" });
        }
        writer.finish()?;
        Ok(span)
    }

    fn write_piece<W: Write>(
        &self,
        piece: &Piece,
        writer: &mut RecordWriter<W>,
        record: &mut Vec<u8>,
        timestamp: Option<usize>,
        span: &mut Span,
    ) -> Result<()> {
        let columns = Columns::new(&self.schema, &piece.batch, &self.name, piece.first_row)?;
        let mut row: Vec<Value<'_>> = Vec::with_capacity(self.schema.fields.len());
        for at in 0..piece.batch.num_rows() {
            columns.read(at, &mut row)?;
            if let Some(Value::Int64(seconds)) = timestamp.and_then(|t| row.get(t)) {
                let (first, last) = span.unwrap_or((*seconds, *seconds));
                *span = Some((first.min(*seconds), last.max(*seconds)));
            }
            record.clear();
            self.rows.write(&row, record)?;
            if record.len() as u64 > DEFAULT_MAX_RECORD_BYTES {
                return Err(columns.too_large(at, record.len()));
            }
            writer.write(record)?;
        }
        Ok(())
    }
}
