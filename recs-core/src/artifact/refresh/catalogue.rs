//! The new catalogue.

use super::{Changes, Missing, Product};
use crate::artifact::{Candidates, Customers, ModelArtifact};
use crate::error::Result;
use crate::schema::{Role, Schema};
use ndarray::{Array2, Axis, concatenate};
use std::collections::HashMap;
use std::sync::Arc;

/// The model's own products as the list has them, and its customers.
pub(super) struct Listed {
    pub(super) candidates: Candidates,
    pub(super) customers: Arc<Customers>,
}

/// Updates the model's own products; their order stays.
pub(super) fn update(
    artifact: &ModelArtifact,
    products: &[Product],
    missing: Missing,
    changes: &mut Changes,
) -> Listed {
    let (schema, mut candidates) = (&artifact.config.schema, Candidates::clone(&artifact.candidates));
    let listed: HashMap<&str, &Product> = products.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut kept = Vec::with_capacity(candidates.len());
    for at in 0..candidates.len() {
        let Some(product) = listed.get(candidates.ids[at].as_str()) else {
            changes.missing += 1;
            candidates.available[at] &= missing != Missing::Unavailable;
            if missing != Missing::Remove {
                kept.push(at);
            }
            continue;
        };
        kept.push(at);
        let name = product.text(schema, Role::ProductName).unwrap_or_else(|| candidates.names[at].clone());
        let category = product.text(schema, Role::Category);
        let category = category.unwrap_or_else(|| candidates.categories[at].clone());
        let is_same = product.available == candidates.available[at]
            && name == candidates.names[at]
            && category == candidates.categories[at];
        changes.updated += usize::from(!is_same);
        candidates.available[at] = product.available;
        (candidates.names[at], candidates.categories[at]) = (name, category);
    }
    if kept.len() == candidates.len() {
        return Listed { candidates, customers: Arc::clone(&artifact.customers) };
    }
    let customers = Arc::new(without(&artifact.customers, &kept, candidates.len()));
    Listed { candidates: select(&candidates, &kept), customers }
}

fn select(of: &Candidates, kept: &[usize]) -> Candidates {
    let texts = |from: &[String]| kept.iter().map(|&at| from[at].clone()).collect();
    Candidates {
        ids: texts(&of.ids),
        names: texts(&of.names),
        categories: texts(&of.categories),
        available: kept.iter().map(|&at| of.available[at]).collect(),
        popularity: kept.iter().map(|&at| of.popularity[at]).collect(),
        vectors: of.vectors.select(Axis(0), kept),
    }
}

/// Customers without their purchases of products that are not kept; numbers of products are those among the kept.
fn without(customers: &Customers, kept: &[usize], products: usize) -> Customers {
    let mut places = vec![None; products];
    kept.iter().zip(0u32..).for_each(|(&at, place)| places[at] = Some(place));
    let mut left = Customers {
        ids: customers.ids.clone(),
        offsets: vec![0],
        last_day: customers.last_day.clone(),
        segment: customers.segment.clone(),
        ..Customers::default()
    };
    for customer in customers.offsets.windows(2) {
        for at in customer[0]..customer[1] {
            let Some(place) = places[customers.products[at] as usize] else { continue };
            left.products.push(place);
            left.counts.push(customers.counts[at]);
            left.repeat.extend(customers.repeat.get(at));
        }
        left.offsets.push(left.products.len());
    }
    left
}

/// Appends new products.
pub(super) fn append(
    to: &Candidates,
    schema: &Schema,
    new: &[&Product],
    vectors: &Array2<f32>,
) -> Result<Candidates> {
    let mut all = to.clone();
    for product in new {
        all.ids.push(product.id.clone());
        all.names.push(product.text(schema, Role::ProductName).unwrap_or_default());
        all.categories.push(product.text(schema, Role::Category).unwrap_or_default());
        all.available.push(product.available);
        all.popularity.push(0);
    }
    if !new.is_empty() {
        let shape = |_| crate::Error::Shape {
            file: crate::artifact::CANDIDATES_FILE.into(),
            tensor: "vector".into(),
            expected: vec![new.len(), to.vectors.ncols()],
            got: vectors.shape().to_vec(),
        };
        all.vectors = concatenate(Axis(0), &[to.vectors.view(), vectors.view()]).map_err(shape)?;
    }
    Ok(all)
}
