//! One list that was served, as it is kept.

use crate::deploy::{Side, Version};
use crate::error::Result;
use crate::listed::{ListedColumns, batch, dictionary};
use crate::retriever::{Item, Parts, Reason, Recommendations, Request};
use arrow::array::{
    ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray, StringDictionaryBuilder,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;
use std::time::Duration;

/// A request, and the list that answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// As the answer's `X-Request-Id` has it.
    pub request_id: String,
    /// What was asked, without its lists of products.
    pub request: Request,
    /// No rule of the request had a say in the list.
    pub is_plain: bool,
    /// Which version answered.
    pub model_version: String,
    /// Whether that is the one in production.
    pub side: Side,
    /// What the list began with.
    pub source: Reason,
    /// Time to find the list.
    pub took: Duration,
    /// Products, scores and reasons, the best first.
    pub listed: Vec<(String, f32, Reason)>,
}

impl Prediction {
    pub(super) fn items(&self) -> Vec<Item<'_>> {
        let items = self.listed.iter().enumerate();
        let explain: Option<Parts> = None;
        items
            .map(|(i, (id, score, reason))| Item {
                product_id: id,
                score: *score,
                rank: i + 1,
                reason: *reason,
                explain,
            })
            .collect()
    }

    /// About as many as it takes in memory.
    pub fn bytes(&self) -> usize {
        let Request { customer_id, city, .. } = &self.request;
        let texts =
            [&self.request_id, customer_id, &self.model_version].map(String::len).iter().sum::<usize>();
        let listed = self.listed.iter().map(|item| size_of_val(item) + item.0.len());
        size_of::<Self>() + texts + city.as_ref().map_or(0, String::len) + listed.sum::<usize>()
    }

    /// An answer, with neither time nor id yet.
    pub fn of((version, side): (&Version, Side), request: &Request, answer: &Recommendations<'_>) -> Self {
        let kept = without_lists(request);
        let listed = answer.items.iter().map(|item| (item.product_id.to_owned(), item.score, item.reason));
        Self {
            at_ms: 0,
            request_id: String::new(),
            is_plain: kept == *request
                && !request.exclude_purchased
                && !request.available_only
                && request.category_cap.is_none(),
            request: kept,
            model_version: version.name().to_owned(),
            side,
            source: answer.source,
            took: Duration::ZERO,
            listed: listed.collect(),
        }
    }
}

/// The request without what may be long and says nothing of the customer.
fn without_lists(request: &Request) -> Request {
    Request {
        customer_id: request.customer_id.clone(),
        city: request.city.clone(),
        exclude: Vec::new(),
        allow: None,
        categories: None,
        boost: Vec::new(),
        pin: Vec::new(),
        ..*request
    }
}

pub(super) fn time_field(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false)
}

pub(super) fn at_column(at: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(at).with_timezone("UTC"))
}

/// A column of few distinct texts.
pub(super) fn repeated<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    let mut column = StringDictionaryBuilder::<Int32Type>::new();
    texts.for_each(|text| column.append_value(text));
    Arc::new(column.finish())
}

fn schema() -> SchemaRef {
    let [products, scores, reasons] = ListedColumns::fields();
    Arc::new(Schema::new(vec![
        time_field("at"),
        Field::new("request_id", DataType::Utf8, false),
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("city", DataType::Utf8, true),
        Field::new("revenue", DataType::Float32, true),
        Field::new("timestamp", DataType::Int64, true),
        Field::new("num_recommendations", DataType::UInt32, false),
        Field::new("model_version", dictionary(), false),
        Field::new("side", dictionary(), false),
        Field::new("source", dictionary(), false),
        Field::new("microseconds", DataType::UInt32, false),
        products,
        scores,
        reasons,
    ]))
}

/// The rows of `served-{date}`.
///
/// # Errors
/// None in practice.
pub(super) fn rows(predictions: &[Prediction]) -> Result<RecordBatch> {
    let of = |text: fn(&Prediction) -> &str| predictions.iter().map(text);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut listed = ListedColumns::default();
    predictions.iter().for_each(|prediction| listed.push(&prediction.items()));
    let [products, scores, reasons] = listed.finish();
    let micros = |p: &Prediction| u32::try_from(p.took.as_micros()).unwrap_or(u32::MAX);
    let columns: Vec<ArrayRef> = vec![
        at_column(predictions.iter().map(|p| p.at_ms)),
        Arc::new(StringArray::from_iter_values(of(|p| &p.request_id))),
        Arc::new(StringArray::from_iter_values(of(|p| &p.request.customer_id))),
        Arc::new(StringArray::from_iter(predictions.iter().map(|p| p.request.city.as_deref()))),
        Arc::new(Float32Array::from_iter(predictions.iter().map(|p| p.request.revenue))),
        Arc::new(Int64Array::from_iter(predictions.iter().map(|p| p.request.timestamp))),
        Arc::new(UInt32Array::from_iter_values(predictions.iter().map(|p| number(p.request.k)))),
        repeated(of(|p| &p.model_version)),
        repeated(of(|p| p.side.name())),
        repeated(of(|p| p.source.name())),
        Arc::new(UInt32Array::from_iter_values(predictions.iter().map(micros))),
        products,
        scores,
        reasons,
    ];
    batch(&schema(), columns)
}
