//! Row groups of one or more files as Arrow batches.

use super::{prune, types};
use crate::error::{Cause, Error, Place, Result};
use crate::source::pump::{Flow, Outlet};
use crate::source::request::ReadRequest;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use arrow::datatypes::SchemaRef;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the footers of a table's files say.
pub(super) struct Header {
    pub(super) schema: SchemaRef,
    pub(super) rows: u64,
}

/// Reads the footers; all files must have one schema.
pub(super) fn header(files: &[PathBuf], table: &str) -> Result<Header> {
    let mut rows = 0;
    let mut first: Option<SchemaRef> = None;
    for path in files {
        let (_, metadata) = open(path)?;
        let schema = Arc::clone(metadata.schema());
        let counted = metadata.metadata().file_metadata().num_rows();
        let refuse =
            |problem: String| Error::Row { place: Box::new(Place::table(origin(path), table)), problem };
        rows += u64::try_from(counted).map_err(|_| refuse(format!("the footer counts {counted} rows")))?;
        match &first {
            None => first = Some(schema),
            Some(first) if *first == schema => {}
            Some(first) => {
                return Err(refuse(format!(
                    "its schema {schema} differs from the first file's, {first}; write it again"
                )));
            }
        }
    }
    let schema = first.ok_or_else(|| Error::config(format!("parquet.tables.{table}"), "names no file"))?;
    Ok(Header { schema, rows })
}

fn origin(path: &Path) -> String {
    format!("parquet {}", path.display())
}

fn open(path: &Path) -> Result<(File, ArrowReaderMetadata)> {
    let refuse = |cause| Error::Open { origin: origin(path), cause };
    let file = File::open(path).map_err(|e| refuse(Cause::new(e)))?;
    let stored =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|e| refuse(Cause::new(e)))?;
    let options = ArrowReaderOptions::new().with_schema(types::plain(stored.schema()));
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(stored.metadata()), options);
    Ok((file, metadata.map_err(|e| refuse(Cause::new(e)))?))
}

/// Everything a reading thread needs.
pub(super) struct Job {
    pub(super) files: Vec<PathBuf>,
    pub(super) schema: SchemaRef,
    pub(super) columns: Vec<usize>,
    pub(super) request: ReadRequest,
}

impl Job {
    pub(super) fn run(&self, outlet: &mut Outlet) -> Result<()> {
        let mut before = 0u64;
        for path in &self.files {
            let (file, metadata) = open(path)?;
            let place = Place::table(origin(path), &self.request.table);
            if metadata.schema() != &self.schema {
                let problem = "its schema changed; read the schema again".into();
                return Err(Error::Row { place: Box::new(place), problem });
            }
            let groups = prune::row_groups(&metadata, &self.schema, &self.request.predicates);
            let mask = ProjectionMask::roots(metadata.parquet_schema(), self.columns.iter().copied());
            let failed = |row, cause| Error::Read { place: Box::new(place.clone().at_row(row)), cause };
            let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                .with_projection(mask)
                .with_row_groups(groups)
                .with_batch_size(self.request.batch_rows)
                .build()
                .map_err(|e| failed(before + 1, Cause::new(e)))?;
            for batch in batches {
                let batch = batch.map_err(|e| failed(before + 1, Cause::new(e)))?;
                before += batch.num_rows() as u64;
                if outlet.put(batch)? == Flow::Enough {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
