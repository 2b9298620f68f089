//! Which slice each row belongs to.

use super::evaluator::Evaluator;
use super::options::SliceConfig;
use crate::data::{TrainData, counted};
use crate::error::{Error, Result};
use crate::trainer::popularity::Popularity;
use recs_core::schema::{DType, Encoding, Role, Schema, Tower};
use recs_core::vocab::Vocabulary;
use std::cmp::Reverse;

/// Values of a field that have a slice of their own.
const TOP_VALUES: usize = 20;
/// Share of the training rows that the head of the catalogue makes.
const HEAD: f64 = 0.8;

/// Where the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    City,
    /// Ids of the query tower, at this place of each row.
    Table(usize),
}

/// A field by which rows are sliced.
#[derive(Debug)]
pub(super) struct FieldColumn<'s> {
    name: &'s str,
    source: Source,
    /// False for one that nobody asked for: it is left out when it says nothing.
    asked: bool,
}

impl SliceConfig {
    /// The fields to slice by.
    ///
    /// # Errors
    /// [`Error::Config`] for one that the schema does not have, or whose values are not among the encoded rows.
    pub(super) fn columns<'s>(&'s self, schema: &'s Schema) -> Result<Vec<FieldColumn<'s>>> {
        match &self.fields {
            Some(names) => names.iter().map(|name| column(schema, name)).collect(),
            None => {
                let city = schema.find_role(Role::City).filter(|field| field.tower == Tower::Query);
                let column = |name| FieldColumn { name, source: Source::City, asked: false };
                Ok(city.map(|field| column(field.name.as_str())).into_iter().collect())
            }
        }
    }
}

fn column<'s>(schema: &Schema, name: &'s str) -> Result<FieldColumn<'s>> {
    let refuse = |reason: String| Err(Error::config("train.evaluation.slices.fields", reason));
    let Some(field) = schema.fields.iter().find(|field| field.name == name) else {
        let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        return refuse(format!("there is no field `{name}`; fields are {}", names.join(", ")));
    };
    if field.tower != Tower::Query || field.dtype != DType::Bytes {
        return refuse(format!("`{name}` is no text field of the query"));
    }
    if field.role == Role::City {
        return Ok(FieldColumn { name, source: Source::City, asked: true });
    }
    let with_ids = schema.encodings(Tower::Query).iter().filter(|encoding| encoding.has_id());
    let is_own = |encoding: &Encoding| matches!(encoding, Encoding::Embedding { field, .. } if field == name);
    match with_ids.enumerate().find(|(_, encoding)| is_own(encoding)) {
        Some((at, _)) => Ok(FieldColumn { name, source: Source::Table(at), asked: true }),
        None => refuse(format!(
            "the model has no embedding of `{name}`, so its values are not among the encoded rows; add one to \
             schema.query, or slice by the field with the role `city`"
        )),
    }
}

impl FieldColumn<'_> {
    /// Vocabulary id of each row's value.
    fn ids(&self, data: &TrainData, rows: &[u32]) -> Vec<u32> {
        let tables = data.query.ids.len() / data.query.rows.max(1);
        let id = |&row: &u32| match self.source {
            Source::City => data.city[row as usize],
            Source::Table(at) => data.query.ids[row as usize * tables + at],
        };
        rows.iter().map(id).collect()
    }
}

/// What slices look at, of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// Known purchases of the row's customer, on other days.
    pub(super) purchases: u32,
    /// True when one of them is of the row's product.
    pub(super) is_repurchase: bool,
    /// Rank of the row's product by popularity.
    pub(super) popular: Option<u32>,
}

/// One way of slicing: each row is in exactly one of the slices.
#[derive(Debug)]
pub(super) struct Slicing {
    pub(super) by: String,
    pub(super) names: Vec<String>,
    /// Slice of each row.
    pub(super) of: Vec<u32>,
}

impl Slicing {
    fn new(by: &str, names: &[&str], of: impl Iterator<Item = usize>) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Self { by: by.into(), names, of: of.map(|slice| slice as u32).collect() }
    }

    /// All slicings of some rows.
    ///
    /// # Errors
    /// [`Error::Config`] as [`SliceConfig::columns`], [`Error::Core`] for a field without vocabulary.
    pub(super) fn all(
        evaluator: &Evaluator<'_>,
        (rows, facts): (&[u32], &[Facts]),
        popularity: &Popularity,
        config: &SliceConfig,
        (schema, vocabulary): (&Schema, &Vocabulary),
    ) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        if config.customers {
            let slice = |facts: &Facts| match facts.purchases {
                0 => 0,
                1..10 => 1,
                10..100 => 2,
                _ => 3,
            };
            all.push(Self::new("known_purchases", &["new", "1-9", "10-99", "100+"], facts.iter().map(slice)));
        }
        if config.products {
            let head = popularity.head(HEAD);
            let is_head = |row: &u32| head.get(evaluator.product_of(*row) as usize) == Some(&true);
            let slices = rows.iter().map(|row| usize::from(!is_head(row)));
            all.push(Self::new("product", &["head", "long_tail"], slices));
        }
        if config.repurchases {
            let slices = facts.iter().map(|facts| usize::from(!facts.is_repurchase));
            all.push(Self::new("purchase", &["repurchase", "first_purchase"], slices));
        }
        for column in config.columns(schema)? {
            let slicing = Self::by_value(&column, &column.ids(evaluator.data, rows), vocabulary)?;
            all.extend(Some(slicing).filter(|slicing| column.asked || slicing.names.len() > 1));
        }
        Ok(all)
    }

    fn by_value(column: &FieldColumn<'_>, ids: &[u32], vocabulary: &Vocabulary) -> Result<Self> {
        let mut values = counted(ids.to_vec());
        values.sort_by_key(|&(id, rows)| (Reverse(rows), id));
        let has_others = values.len() > TOP_VALUES;
        values.truncate(TOP_VALUES);
        let lookup = vocabulary.lookup(column.name)?;
        let name = |&(id, _): &(u32, u32)| lookup.text(id).unwrap_or("unknown").to_owned();
        let mut names: Vec<String> = values.iter().map(name).collect();
        if has_others {
            names.push("other".into());
        }
        let mut places: Vec<(u32, u32)> = values.iter().map(|&(id, _)| id).zip(0..).collect();
        places.sort_unstable();
        let slice = |id: &u32| match places.binary_search_by_key(id, |place| place.0) {
            Ok(at) => places[at].1,
            Err(_) => TOP_VALUES as u32,
        };
        Ok(Self { by: column.name.into(), names, of: ids.iter().map(slice).collect() })
    }
}
