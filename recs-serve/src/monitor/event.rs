//! What customers did with what they were shown.

use super::prediction::{at_column, repeated, time_field};
use crate::error::Result;
use crate::listed::{batch, dictionary};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMillisecondType, UInt32Type};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The customer saw the product.
    Shown,
    /// And looked closer.
    Clicked,
    /// And bought it.
    Bought,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shown, Self::Clicked, Self::Bought];

    /// As it stands in requests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Clicked => "clicked",
            Self::Bought => "bought",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Where a version would have listed a product that was bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Which version.
    pub model_version: String,
    /// From 1; None: not within the first [`JUDGED_LENGTH`].
    pub rank: Option<u32>,
}

/// Length of the lists that purchases are looked for in.
pub const JUDGED_LENGTH: usize = 100;

/// What the list was asked with, as far as the client says: with it versions are judged by the list that they would have made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AskedWith {
    /// As in the request.
    pub city: Option<String>,
    /// As in the request.
    pub revenue: Option<f32>,
}

/// One thing that a customer did with one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it came here: its day says in which table it is.
    pub received_ms: i64,
    /// Who.
    pub customer_id: String,
    /// With what.
    pub product_id: String,
    /// What.
    pub outcome: Outcome,
    /// Which version's list it was: as the client says, otherwise the one that answers the customer now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// The client said so.
    #[serde(default)]
    pub is_told: bool,
    /// `X-Request-Id` of the answer with the list, where the client says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The client's own name for it: an event that comes again under the same is counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// For judging; not kept.
    #[serde(skip)]
    pub asked: AskedWith,
    /// Of a purchase: where each version that was serving, trials and shadow too, would have listed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judged: Vec<Judged>,
}

fn item(of: DataType, nullable: bool) -> Arc<Field> {
    Arc::new(Field::new("item", of, nullable))
}

fn schema() -> SchemaRef {
    let list = |name: &str, of, nullable| Field::new(name, DataType::List(item(of, nullable)), false);
    Arc::new(Schema::new(vec![
        time_field("at"),
        time_field("received"),
        Field::new("customer_id", DataType::Utf8, false),
        Field::new("product_id", DataType::Utf8, false),
        Field::new("outcome", dictionary(), false),
        Field::new("model_version", DataType::Utf8, true),
        Field::new("is_told", DataType::Boolean, false),
        Field::new("request_id", DataType::Utf8, true),
        Field::new("event_id", DataType::Utf8, true),
        list("judged_versions", DataType::Utf8, false),
        list("judged_ranks", DataType::UInt32, true),
    ]))
}

/// The rows of `events-{date}`.
///
/// # Errors
/// None in practice.
pub(super) fn rows(events: &[Event]) -> Result<RecordBatch> {
    let mut versions = ListBuilder::new(StringBuilder::new()).with_field(item(DataType::Utf8, false));
    let mut ranks = ListBuilder::new(UInt32Builder::new()).with_field(item(DataType::UInt32, true));
    for event in events {
        for judged in &event.judged {
            versions.values().append_value(&judged.model_version);
            ranks.values().append_option(judged.rank);
        }
        versions.append(true);
        ranks.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        at_column(events.iter().map(|event| event.at_ms)),
        at_column(events.iter().map(|event| event.received_ms)),
        Arc::new(StringArray::from_iter_values(events.iter().map(|event| &event.customer_id))),
        Arc::new(StringArray::from_iter_values(events.iter().map(|event| &event.product_id))),
        repeated(events.iter().map(|event| event.outcome.name())),
        Arc::new(StringArray::from_iter(events.iter().map(|event| event.model_version.as_deref()))),
        Arc::new(BooleanArray::from_iter(events.iter().map(|event| Some(event.is_told)))),
        Arc::new(StringArray::from_iter(events.iter().map(|event| event.request_id.as_deref()))),
        Arc::new(StringArray::from_iter(events.iter().map(|event| event.event_id.as_deref()))),
        Arc::new(versions.finish()),
        Arc::new(ranks.finish()),
    ];
    batch(&schema(), columns)
}

/// Reads rows of `events-{date}` back; None for columns of another shape.
pub(super) fn read(rows: &RecordBatch) -> Option<Vec<Event>> {
    let texts = |name: &str| rows.column_by_name(name)?.as_string_opt::<i32>();
    let time = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<TimestampMillisecondType>();
    let (at, received) = (time("at")?, time("received")?);
    let outcomes = arrow::compute::cast(rows.column_by_name("outcome")?, &DataType::Utf8).ok()?;
    let outcomes = outcomes.as_string_opt::<i32>()?;
    let (customers, products) = (texts("customer_id")?, texts("product_id")?);
    let (versions, requests, names) = (texts("model_version")?, texts("request_id")?, texts("event_id")?);
    let told = rows.column_by_name("is_told")?.as_boolean_opt()?;
    let judged_versions = rows.column_by_name("judged_versions")?.as_list_opt::<i32>()?;
    let judged_ranks = rows.column_by_name("judged_ranks")?.as_list_opt::<i32>()?;
    let optional = |texts: &StringArray, row| texts.is_valid(row).then(|| texts.value(row).to_owned());
    let event = |row| {
        let (of, ranks) = (judged_versions.value(row), judged_ranks.value(row));
        let (of, ranks) = (of.as_string_opt::<i32>()?, ranks.as_primitive_opt::<UInt32Type>()?);
        let judged = of.iter().zip(ranks.iter());
        Some(Event {
            at_ms: at.value(row),
            received_ms: received.value(row),
            customer_id: customers.value(row).to_owned(),
            product_id: products.value(row).to_owned(),
            outcome: Outcome::parse(outcomes.value(row))?,
            model_version: optional(versions, row),
            is_told: told.value(row),
            request_id: optional(requests, row),
            event_id: optional(names, row),
            asked: AskedWith::default(),
            judged: judged
                .map(|(version, rank)| Some(Judged { model_version: version?.to_owned(), rank }))
                .collect::<Option<_>>()?,
        })
    };
    (0..rows.num_rows()).map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back() {
        let judged = |version: &str, rank| Judged { model_version: version.into(), rank };
        let event = Event {
            at_ms: 1_700_000_000_123,
            received_ms: 1_700_000_000_456,
            customer_id: "42".into(),
            product_id: "p7".into(),
            outcome: Outcome::Bought,
            model_version: Some("v1".into()),
            is_told: true,
            request_id: None,
            event_id: Some("e1".into()),
            asked: AskedWith::default(),
            judged: vec![judged("v1", Some(3)), judged("v2", None)],
        };
        let plain =
            Event { outcome: Outcome::Shown, model_version: None, judged: Vec::new(), ..event.clone() };
        let events = [event, plain];
        assert_eq!(read(&rows(&events).unwrap()).unwrap(), events);
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::json!(outcome), outcome.name());
        }
    }
}
