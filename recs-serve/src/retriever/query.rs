//! Requests -> rows of the query tower.

use super::Request;
use crate::error::Result;
use recs_core::model::{FeatureEncoder, InputBins, InputSnapshot, ModelConfig, TowerColumns, TowerEncoder};
use recs_core::schema::{DType, Encoding, Field, Role, Schema, Tower, Value};
use recs_core::slab::Texts;
use recs_core::vocab::Vocabulary;
use std::sync::Arc;

/// Places a request's values into the fields of the schema by their roles.
///
/// A query field that no request can fill (role `other`) gets a neutral value: empty text, which is out of vocabulary
/// unless the data had it, or the mean of the training rows. So does a field whose value a request leaves out.
#[derive(Debug)]
pub(super) struct QueryEncoder {
    encoder: TowerEncoder,
    neutral: Vec<Value<'static>>,
    customer: Option<Place>,
    city: Option<Place>,
    revenue: Option<usize>,
    timestamp: Option<usize>,
    /// Vocabulary id of each product of the catalogue, for a model that looks at histories.
    product_ids: Option<Vec<u32>>,
}

/// A text field: its position, its name, and whether any encoding reads it.
#[derive(Debug)]
struct Place {
    at: usize,
    field: String,
    is_read: bool,
}

impl QueryEncoder {
    /// Resolves the schema's roles.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) when schema and vocabulary do not fit.
    pub(super) fn new(config: &ModelConfig, vocabulary: Arc<Vocabulary>, products: &Texts) -> Result<Self> {
        let schema = &config.schema;
        let product_ids = if schema.widths(Tower::Query).has_history {
            let lookup = vocabulary.lookup(&schema.role(Role::Product)?.name)?;
            Some(products.iter().map(|id| lookup.id(id)).collect())
        } else {
            None
        };
        let neutral = schema.fields.iter().map(|f| neutral(f, &vocabulary)).collect();
        let at = |role| schema.fields.iter().position(|f| f.role == role && f.tower == Tower::Query);
        let place = |role| {
            at(role).map(|at| {
                let field = schema.fields[at].name.clone();
                let is_read = schema.query.iter().any(|e| e.fields().contains(&field.as_str()));
                Place { at, field, is_read }
            })
        };
        let (customer, city) = (place(Role::Customer), place(Role::City));
        let (revenue, timestamp) = (at(Role::Revenue), at(Role::Timestamp));
        let encoder = FeatureEncoder::new(schema, vocabulary)?.query;
        Ok(Self { encoder, neutral, customer, city, revenue, timestamp, product_ids })
    }

    /// True when the model looks at what customers bought before.
    pub(super) fn has_history(&self) -> bool {
        self.product_ids.is_some()
    }

    /// Appends what the customer of the row encoded last bought: products of the catalogue with their numbers of purchases.
    pub(super) fn push_history(&self, products: &[u32], counts: &[u32], columns: &mut TowerColumns) {
        if let Some(ids) = &self.product_ids {
            let purchases = products.iter().zip(counts);
            columns.histories.push(purchases.map(|(&product, &n)| (ids[product as usize], n as f32)));
        }
    }

    /// True when the customer is in the vocabulary.
    pub(super) fn knows_customer(&self, id: &str) -> bool {
        self.knows(self.customer.as_ref(), id)
    }

    /// True when a city makes a difference to the model.
    pub(super) fn reads_city(&self) -> bool {
        self.city.as_ref().is_some_and(|place| place.is_read)
    }

    /// Bounds between equal shares of the training rows' revenues, from what a snapshot knows of an encoding of them.
    pub(super) fn usual_revenues(&self, inputs: &InputSnapshot, schema: &Schema) -> Vec<f32> {
        let (vocabulary, revenue) = (self.encoder.vocabulary(), schema.role(Role::Revenue));
        let Ok(field) = revenue.map(|field| field.name.as_str()) else { return Vec::new() };
        let of = |name: &str| schema.encodings(Tower::Query).iter().find(|e| e.name() == name);
        let revenues = inputs.inputs.iter().filter_map(|shares| match (of(&shares.name)?, &shares.bins) {
            (Encoding::Normalised { field: of, .. }, InputBins::NumberRanges(bounds)) if of == field => {
                let stats = vocabulary.stats(field).ok()?;
                Some(bounds.iter().map(|&x| (f64::from(x) * stats.std() + stats.mean) as f32).collect())
            }
            (Encoding::Buckets { field: of, .. }, InputBins::IdRanges(bounds)) if of == field => {
                let boundaries = vocabulary.buckets(field).ok()?.boundaries();
                // Id i: at least the boundary before it.
                let revenue = |&id: &u32| boundaries.get((id as usize).saturating_sub(1)).map(|&x| x as f32);
                Some(bounds.iter().filter_map(revenue).collect())
            }
            _ => None,
        });
        revenues.max_by_key(|revenues: &Vec<f32>| revenues.len()).unwrap_or_default()
    }

    /// True when the model has seen the city.
    pub(super) fn knows_city(&self, city: &str) -> bool {
        self.knows(self.city.as_ref(), city)
    }

    fn knows(&self, place: Option<&Place>, text: &str) -> bool {
        let Some(place) = place.filter(|p| p.is_read) else { return false };
        self.encoder.vocabulary().lookup(&place.field).is_ok_and(|lookup| lookup.id(text) != 0)
    }

    /// Appends one request: `customer` and `city` as the model is to see them; `now` stands in for a missing timestamp.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) for a value that the encodings refuse.
    pub(super) fn encode(
        &self,
        request: &Request,
        customer: Option<&str>,
        city: Option<&str>,
        now: i64,
        columns: &mut TowerColumns,
    ) -> Result<()> {
        // Copied for its lifetime: the request's texts live shorter than the neutral ones.
        let mut row: Vec<Value<'_>> = self.neutral.clone();
        if let (Some(place), Some(customer)) = (&self.customer, customer) {
            row[place.at] = Value::Text(customer);
        }
        if let (Some(place), Some(city)) = (&self.city, city) {
            row[place.at] = Value::Text(city);
        }
        if let (Some(at), Some(revenue)) = (self.revenue, request.revenue) {
            row[at] = Value::Float(revenue);
        }
        if let Some(at) = self.timestamp {
            row[at] = Value::Int64(request.timestamp.unwrap_or(now));
        }
        Ok(self.encoder.encode(&row, columns)?)
    }
}

fn neutral(field: &Field, vocabulary: &Vocabulary) -> Value<'static> {
    let mean = || vocabulary.stats(&field.name).map_or(0.0, |s| s.mean);
    match field.dtype {
        DType::Bytes => Value::Text(""),
        DType::Int64 if field.has_vocabulary() => Value::Text(""),
        DType::Int64 => Value::Int64(mean().round() as i64),
        DType::Float => Value::Float(mean() as f32),
    }
}
