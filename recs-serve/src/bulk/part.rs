//! Requests -> one Parquet file.

use super::Asked;
use super::state::{BulkPart, Settings};
use crate::error::{Error, Result};
use crate::listed::{ListedColumns, batch, dictionary};
use crate::retriever::{MAX_BATCH, Recommendations, Request, Retriever};
use arrow::array::{ArrayRef, StringArray, StringDictionaryBuilder};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use recs_core::artifact::{Digest, parquet_properties};
use std::sync::Arc;

/// What became of the next requests of a run.
pub(super) enum Part {
    /// There are no more.
    Empty,
    /// An earlier call answered them.
    Known,
    /// Answered now.
    Made {
        rows: u64,
        /// Products in all lists.
        items: u64,
        /// Digest of the requests.
        asked: Digest,
        file: Bytes,
    },
}

impl Part {
    /// Passes over the requests of a part that is done.
    ///
    /// # Errors
    /// [`Error::Config`] when they are others than those that were answered.
    pub(super) fn pass_over(requests: &mut Asked, settings: &Settings, done: &BulkPart) -> Result<Self> {
        let next = take(requests, settings)?;
        if digest(&next)?.sha256 != done.asked_sha256 {
            let reason = format!(
                "the requests of {} are others than when it was made: give the run another name",
                done.file
            );
            return Err(Error::config("run", reason));
        }
        Ok(Self::Known)
    }

    /// Answers the next requests.
    pub(super) fn make(requests: &mut Asked, settings: &Settings, retriever: &Retriever) -> Result<Self> {
        let mut next = take(requests, settings)?;
        if next.is_empty() {
            return Ok(Self::Empty);
        }
        let asked = digest(&next)?;
        next.iter_mut().for_each(|request| {
            request.timestamp.get_or_insert(settings.timestamp);
        });
        let fault =
            |e: parquet::errors::ParquetError| recs_core::Error::document("a table of lists", e.to_string());
        let schema = schema();
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(parquet_properties()))
            .map_err(fault)?;
        let mut items = 0;
        for requests in next.chunks(MAX_BATCH) {
            let lists = retriever.recommend_batch(requests)?;
            items += lists.iter().map(|list| list.items.len() as u64).sum::<u64>();
            writer.write(&batch(&schema, columns(requests, &lists))?).map_err(fault)?;
        }
        let file = Bytes::from(writer.into_inner().map_err(fault)?);
        Ok(Self::Made { rows: next.len() as u64, items, asked, file })
    }
}

fn take(requests: &mut Asked, settings: &Settings) -> Result<Vec<Request>> {
    requests.take(settings.part_requests).collect()
}

fn digest(requests: &[Request]) -> Result<Digest> {
    let bytes =
        serde_json::to_vec(requests).map_err(|e| recs_core::Error::document("requests", e.to_string()))?;
    Ok(Digest::of(&bytes))
}

fn schema() -> SchemaRef {
    let [products, scores, reasons] = ListedColumns::fields();
    let customer = Field::new("customer_id", DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        customer,
        Field::new("source", dictionary(), false),
        products,
        scores,
        reasons,
    ]))
}

fn columns(requests: &[Request], lists: &[Recommendations<'_>]) -> Vec<ArrayRef> {
    let customers = StringArray::from_iter_values(requests.iter().map(|request| &request.customer_id));
    let mut sources = StringDictionaryBuilder::<Int32Type>::new();
    let mut listed = ListedColumns::default();
    for list in lists {
        sources.append_value(list.source.name());
        listed.push(&list.items);
    }
    let [products, scores, reasons] = listed.finish();
    vec![Arc::new(customers), Arc::new(sources.finish()), products, scores, reasons]
}
