//! A source that stops when a job is cancelled.

use super::predicate::Predicate;
use super::request::ReadRequest;
use super::{BatchStream, Pushdown, Source, TableInfo};
use crate::error::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use recs_core::observe::CancelToken;
use std::sync::Arc;

/// Asks the token before every batch, so that a job is stopped while an engine still aggregates or sorts.
#[derive(Debug)]
pub(crate) struct Cancellable {
    inner: Arc<dyn Source>,
    cancel: CancelToken,
}

impl Cancellable {
    pub(crate) fn new(inner: Arc<dyn Source>, cancel: CancelToken) -> Self {
        Self { inner, cancel }
    }
}

#[async_trait]
impl Source for Cancellable {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn tables(&self) -> Result<Vec<TableInfo>> {
        self.inner.tables().await
    }

    async fn schema(&self, table: &str) -> Result<SchemaRef> {
        self.inner.schema(table).await
    }

    async fn row_estimate(&self, table: &str) -> Result<Option<u64>> {
        self.inner.row_estimate(table).await
    }

    fn pushdown(&self, table: &str, schema: &SchemaRef, predicate: &Predicate) -> Pushdown {
        self.inner.pushdown(table, schema, predicate)
    }

    async fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let cancel = self.cancel.clone();
        cancel.check()?;
        let batches = self.inner.read(request).await?;
        Ok(batches.map(move |batch| cancel.check().map_err(Into::into).and(batch)).boxed())
    }

    async fn preview(&self, table: &str, rows: usize) -> Result<RecordBatch> {
        self.inner.preview(table, rows).await
    }
}
