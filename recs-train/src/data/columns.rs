//! Encoded rows of a dataset.

use recs_core::Result;
use recs_core::dataset::Dataset;
use recs_core::model::{FeatureEncoder, ModelConfig, TowerColumns};
use recs_core::observe::{CancelToken, Event, Observer};
use recs_core::schema::{Encoding, Role, Schema, Tower, Value};
use recs_core::vocab::Vocabulary;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Product of a row whose product is not in the vocabulary: not trained on, a miss in the test.
pub const NO_PRODUCT: u32 = u32::MAX;

/// All rows of a dataset as integers and numbers.
///
/// Memory: 4 bytes for each table and number of the query tower, and 28 bytes, a row.
#[derive(Debug, Clone)]
pub struct TrainData {
    /// The query tower's columns, `[rows, …]`.
    pub query: TowerColumns,
    /// Distinct rows of the candidate tower.
    pub candidates: TowerColumns,
    /// Row of `candidates` that belongs to each row. `[rows]`
    pub candidate: Vec<u32>,
    /// Position in the catalogue of each row's product, or [`NO_PRODUCT`]. `[rows]`
    pub product: Vec<u32>,
    /// Vocabulary id of each row's customer. `[rows]`
    pub customer: Vec<u32>,
    /// Vocabulary id of each row's city, 0 without such a field. `[rows]`
    pub city: Vec<u32>,
    /// Unix seconds, 0 without such a field. `[rows]`
    pub timestamp: Vec<i64>,
    /// The products, ascending by vocabulary id.
    pub catalogue: Catalogue,
}

/// The products that the rows hold.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Vocabulary id of each product. `[products]`
    pub ids: Vec<u32>,
    /// Row of [`TrainData::candidates`] of each product: that of its latest purchase. `[products]`
    pub candidate: Vec<u32>,
    /// Vocabulary id of the name in that row, 0 without such a field.
    pub name: Vec<u32>,
    /// Vocabulary id of the category in that row, 0 without such a field.
    pub category: Vec<u32>,
}

/// What one shard gives.
#[derive(Debug, Default)]
struct Part {
    query: TowerColumns,
    candidate: TowerColumns,
    labels: Vec<Labels>,
    timestamp: Vec<i64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Labels {
    customer: u32,
    city: u32,
    product: u32,
    name: u32,
    category: u32,
}

/// Where the roles stand in a row, with the lookups.
struct Roles {
    vocabulary: Arc<Vocabulary>,
    places: Vec<(Role, usize, String)>,
    timestamp: Option<usize>,
}

impl Roles {
    fn new(schema: &Schema, vocabulary: &Arc<Vocabulary>) -> Self {
        let wanted = [Role::Customer, Role::City, Role::Product, Role::ProductName, Role::Category];
        let place = |role: Role| schema.fields.iter().position(|f| f.role == role);
        let named = |role: Role| place(role).map(|at| (role, at, schema.fields[at].name.clone()));
        Self {
            vocabulary: Arc::clone(vocabulary),
            places: wanted.into_iter().filter_map(named).collect(),
            timestamp: place(Role::Timestamp),
        }
    }

    fn labels(&self, row: &[Value<'_>]) -> Result<Labels> {
        let mut labels = Labels::default();
        for (role, at, field) in &self.places {
            let lookup = self.vocabulary.lookup(field)?;
            let id = match row.get(*at) {
                Some(Value::Text(text)) => lookup.id(text),
                Some(Value::Int64(n)) => lookup.id(&n.to_string()),
                _ => 0,
            };
            match role {
                Role::Customer => labels.customer = id,
                Role::City => labels.city = id,
                Role::Product => labels.product = id,
                Role::ProductName => labels.name = id,
                _ => labels.category = id,
            }
        }
        Ok(labels)
    }

    fn timestamp(&self, row: &[Value<'_>]) -> i64 {
        match self.timestamp.and_then(|at| row.get(at)) {
            Some(Value::Int64(seconds)) => *seconds,
            _ => 0,
        }
    }
}

impl TrainData {
    /// Reads and encodes a dataset, `parallelism` shards at a time. Order of rows: shard, then record.
    ///
    /// # Errors
    /// Those of [`Dataset::fold_rows`] and of the encoder.
    pub async fn load(
        dataset: &Dataset,
        schema: &Schema,
        vocabulary: Arc<Vocabulary>,
        parallelism: usize,
        observer: Arc<dyn Observer>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        const STAGE: &str = "load";
        let (started, total) = (Instant::now(), dataset.metadata().total_examples);
        observer.on_event(&Event::Started { stage: STAGE, total: Some(total), unit: "rows" });
        let encoder = FeatureEncoder::new(schema, Arc::clone(&vocabulary))?;
        let roles = Roles::new(schema, &vocabulary);
        let each = move |part: &mut Part, row: &[Value<'_>]| {
            encoder.query.encode(row, &mut part.query)?;
            encoder.candidate.encode(row, &mut part.candidate)?;
            part.labels.push(roles.labels(row)?);
            part.timestamp.push(roles.timestamp(row));
            Ok(())
        };
        let parts = dataset.fold_rows(schema, parallelism, cancel, |_| Part::default(), each).await?;
        let data = Self::assemble(parts);
        observer.on_event(&Event::Finished { stage: STAGE, seconds: started.elapsed().as_secs_f64() });
        Ok(data)
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.product.len()
    }

    fn assemble(parts: Vec<Part>) -> Self {
        let (mut query, mut labels, mut timestamp) = (TowerColumns::default(), Vec::new(), Vec::new());
        let mut distinct = Distinct::default();
        let mut candidate = Vec::new();
        for part in parts {
            candidate.extend(distinct.insert_all(&part.candidate));
            query.append(part.query);
            labels.extend(part.labels);
            timestamp.extend(part.timestamp);
        }
        let (catalogue, product) = Catalogue::build(&labels, &candidate, &timestamp);
        Self {
            query,
            candidates: distinct.columns,
            candidate,
            product,
            customer: labels.iter().map(|l| l.customer).collect(),
            city: labels.iter().map(|l| l.city).collect(),
            timestamp,
            catalogue,
        }
    }

    /// The candidate tower's columns of the catalogue, in catalogue order.
    pub fn catalogue_columns(&self) -> TowerColumns {
        select(&self.candidates, self.catalogue.candidate.iter().map(|&c| c as usize))
    }

    /// Refuses a model that reads other columns than these.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config).
    pub fn check(&self, model: &ModelConfig) -> crate::Result<()> {
        for (tower, columns) in [(Tower::Query, &self.query), (Tower::Candidate, &self.candidates)] {
            let encodings = model.schema.encodings(tower);
            let tables = encodings.iter().filter(|e| e.has_table()).count();
            let numbers: usize = encodings.iter().filter(|e| !e.has_table()).map(Encoding::width).sum();
            if (columns.ids.len(), columns.numbers.len()) != (columns.rows * tables, columns.rows * numbers) {
                let reason = format!(
                    "its {} tower reads {tables} ids and {numbers} numbers a row, the data was encoded for another \
                     schema; load it with the model's (TrainConfig::model)",
                    tower.name()
                );
                return Err(crate::Error::config("model", reason));
            }
        }
        Ok(())
    }

    /// The query tower's columns of some rows.
    pub fn query_columns(&self, rows: &[u32]) -> TowerColumns {
        select(&self.query, rows.iter().map(|&r| r as usize))
    }
}

fn select(from: &TowerColumns, rows: impl Iterator<Item = usize>) -> TowerColumns {
    let (tables, numbers) = (from.ids.len() / from.rows.max(1), from.numbers.len() / from.rows.max(1));
    let mut out = TowerColumns::default();
    for row in rows {
        out.rows += 1;
        out.ids.extend_from_slice(&from.ids[row * tables..(row + 1) * tables]);
        out.numbers.extend_from_slice(&from.numbers[row * numbers..(row + 1) * numbers]);
    }
    out
}

/// Rows of a tower, each kept once, in the order of their first coming.
#[derive(Default)]
struct Distinct {
    columns: TowerColumns,
    seen: HashMap<Vec<u32>, u32>,
}

impl Distinct {
    fn insert_all(&mut self, part: &TowerColumns) -> Vec<u32> {
        let (tables, numbers) = (part.ids.len() / part.rows.max(1), part.numbers.len() / part.rows.max(1));
        let mut key = Vec::with_capacity(tables + numbers);
        (0..part.rows)
            .map(|row| {
                let ids = &part.ids[row * tables..(row + 1) * tables];
                let values = &part.numbers[row * numbers..(row + 1) * numbers];
                key.clear();
                key.extend_from_slice(ids);
                key.extend(values.iter().map(|x| x.to_bits()));
                if let Some(&known) = self.seen.get(&key) {
                    return known;
                }
                let new = self.columns.rows as u32;
                self.seen.insert(key.clone(), new);
                self.columns.rows += 1;
                self.columns.ids.extend_from_slice(ids);
                self.columns.numbers.extend_from_slice(values);
                new
            })
            .collect()
    }
}

impl Catalogue {
    fn build(labels: &[Labels], candidate: &[u32], timestamp: &[i64]) -> (Self, Vec<u32>) {
        // Vocabulary id -> row of its latest purchase.
        let mut latest: BTreeMap<u32, usize> = BTreeMap::new();
        for (row, label) in labels.iter().enumerate().filter(|(_, l)| l.product != 0) {
            let known = latest.entry(label.product).or_insert(row);
            if timestamp[row] >= timestamp[*known] {
                *known = row;
            }
        }
        let mut catalogue = Self::default();
        let mut place = HashMap::with_capacity(latest.len());
        for (id, row) in latest {
            place.insert(id, catalogue.ids.len() as u32);
            catalogue.ids.push(id);
            catalogue.candidate.push(candidate[row]);
            catalogue.name.push(labels[row].name);
            catalogue.category.push(labels[row].category);
        }
        let product = labels.iter().map(|l| place.get(&l.product).copied().unwrap_or(NO_PRODUCT)).collect();
        (catalogue, product)
    }

    /// Number of products.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True without products.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
