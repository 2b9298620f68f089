//! What `recommend` runs: a question in, a tidy table out.

use crate::dataset::Origin;
use crate::errors::{Error, Result};
use crate::fit::Model;
use crate::frame::{self, Column};
use crate::ids;
use crate::question::Question;
use crate::runtime::Context;
use arrow::array::{ArrayRef, Float32Array, Int64Array, LargeStringBuilder, UInt32Array};
use arrow::compute::take;
use pyo3::prelude::*;
use recs_serve::retriever::{MAX_BATCH, Reason, Request};
use std::sync::Arc;

/// The answer, a row for each recommended product.
pub(crate) struct Answer {
    /// In the type of the question.
    customer: ArrayRef,
    /// As text.
    product: ArrayRef,
    /// From 1.
    rank: ArrayRef,
    score: ArrayRef,
    reason: ArrayRef,
}

#[derive(Default)]
struct Rows {
    customer: Vec<u32>,
    product: LargeStringBuilder,
    rank: Vec<i64>,
    score: Vec<f32>,
    reason: LargeStringBuilder,
}

impl Question {
    /// Asks the model, a thousand customers at a time.
    ///
    /// # Errors
    /// Those of the retriever; cancellation.
    pub(crate) fn answer(&self, model: &Model, context: &Context) -> Result<Answer> {
        let retriever = model.retriever(context)?;
        let mut rows = Rows::default();
        let all: Vec<usize> = (0..self.len()).collect();
        for batch in all.chunks(MAX_BATCH) {
            context.cancel.check()?;
            let requests: Vec<Request> = batch.iter().map(|&i| self.request(i)).collect();
            let answers = retriever.recommend_batch(&requests)?;
            for (&customer, answer) in batch.iter().zip(&answers) {
                for item in &answer.items {
                    rows.customer.push(customer as u32);
                    rows.product.append_value(item.product_id);
                    rows.rank.push(item.rank as i64);
                    rows.score.push(item.score);
                    rows.reason.append_value(name(item.reason));
                }
            }
        }
        rows.finish(self.customers())
    }
}

impl Answer {
    /// The answer as a table like those of `origin`, ids in their own types.
    ///
    /// # Errors
    /// When the library of the table refuses.
    pub(crate) fn table<'py>(self, py: Python<'py>, origin: &Origin) -> Result<Bound<'py, PyAny>> {
        let Origin { kind, customer, product } = origin;
        let column = |name, values, pandas| Column { name, values, pandas };
        let columns = [
            column("customer", ids::restore(self.customer, &customer.arrow), customer.pandas.as_ref()),
            column("product", ids::restore(self.product, &product.arrow), product.pandas.as_ref()),
            column("rank", self.rank, None),
            column("score", self.score, None),
            column("reason", self.reason, None),
        ];
        frame::write(py, *kind, &columns)
    }
}

impl Rows {
    fn finish(mut self, customers: &ArrayRef) -> Result<Answer> {
        let fault = |e: arrow::error::ArrowError| Error::data("customers", None, e.to_string());
        Ok(Answer {
            customer: take(customers, &UInt32Array::from(self.customer), None).map_err(fault)?,
            product: Arc::new(self.product.finish()),
            rank: Arc::new(Int64Array::from(self.rank)),
            score: Arc::new(Float32Array::from(self.score)),
            reason: Arc::new(self.reason.finish()),
        })
    }
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Model => "model",
        Reason::FeaturesOnly => "features_only",
        Reason::Segment => "segment",
        Reason::Popularity => "popularity",
        Reason::Pinned => "pinned",
        Reason::Repeat => "repeat",
    }
}
