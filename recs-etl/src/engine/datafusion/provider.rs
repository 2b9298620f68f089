//! A table of a [`Source`](crate::source::Source) as DataFusion sees it.

use super::Failure;
use super::translate::predicate;
use crate::engine::BoundTable;
use crate::error::Result;
use crate::source::{Predicate, Pushdown, ReadRequest};
use ::datafusion::catalog::{Session, TableProvider};
use ::datafusion::common::Result as DataFusionResult;
use ::datafusion::execution::{SendableRecordBatchStream, TaskContext};
use ::datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use ::datafusion::physical_plan::ExecutionPlan;
use ::datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use ::datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;

/// A bound table with its schema, read once.
#[derive(Debug)]
pub(super) struct SourceTable {
    bound: BoundTable,
    schema: SchemaRef,
    failure: Failure,
}

impl SourceTable {
    pub(super) async fn open(bound: &BoundTable, failure: Failure) -> Result<Self> {
        let schema = bound.source.schema(&bound.table).await?;
        Ok(Self { bound: bound.clone(), schema, failure })
    }

    /// The predicate for `filter`, if the source has any use for it.
    fn push(&self, filter: &Expr) -> Option<(Predicate, Pushdown)> {
        let predicate = predicate(filter)?;
        match self.bound.source.pushdown(&self.bound.table, &self.schema, &predicate) {
            Pushdown::Unsupported => None,
            how => Some((predicate, how)),
        }
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let how = |filter: &&Expr| match self.push(filter) {
            Some((_, Pushdown::Exact)) => TableProviderFilterPushDown::Exact,
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(how).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let pushed: Vec<(Predicate, Pushdown)> = filters.iter().filter_map(|f| self.push(f)).collect();
        let all_exact =
            pushed.len() == filters.len() && pushed.iter().all(|(_, how)| *how == Pushdown::Exact);
        let request = ReadRequest {
            table: self.bound.table.clone(),
            projection: Some(schema.fields().iter().map(|f| f.name().clone()).collect()),
            predicates: pushed.into_iter().map(|(predicate, _)| predicate).collect(),
            limit: limit.filter(|_| all_exact).map(|l| l as u64),
            batch_rows: state.config().batch_size(),
        };
        let scan = Scan {
            bound: self.bound.clone(),
            schema: Arc::clone(&schema),
            request,
            failure: self.failure.clone(),
        };
        let plan = StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// One read of a source.
#[derive(Debug)]
struct Scan {
    bound: BoundTable,
    schema: SchemaRef,
    request: ReadRequest,
    failure: Failure,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (source, request) = (Arc::clone(&self.bound.source), self.request.clone());
        let failure = self.failure.clone();
        let batches = stream::once(async move { source.read(request).await })
            .try_flatten()
            .map(move |batch| batch.map_err(|e| failure.keep(e)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
