//! Test rows that a server judges the model by.

use super::artifact::texts;
use crate::data::{Purchases, TrainData};
use crate::error::Result;
use recs_core::artifact::Probe;
use recs_core::hash::fingerprint64;
use recs_core::schema::{Role, Schema};
use recs_core::vocab::Vocabulary;
use std::collections::BTreeSet;

/// Enough that recall of two models is told apart to a few percent, few enough to be asked in a moment.
const CUSTOMERS: usize = 256;

/// Known customers of the test rows, those with the lowest hashes: of two versions mostly the same ones.
pub(super) fn probe(
    data: &TrainData,
    test: &[u32],
    vocabulary: &Vocabulary,
    schema: &Schema,
) -> Result<Vec<Probe>> {
    let bought = Purchases::new(data, test);
    let ids: Vec<u32> = (1..bought.customers()).filter(|&id| !bought.of(id).is_empty()).collect();
    let names = texts(vocabulary, schema, Role::Customer, &ids)?;
    let mut order: Vec<(u64, String, u32)> =
        names.into_iter().zip(ids).map(|(name, id)| (fingerprint64(name.as_bytes()), name, id)).collect();
    order.sort_unstable();
    order.truncate(CUSTOMERS);
    let of = |(_, customer_id, id): (u64, String, u32)| {
        let rows = bought.of(id);
        let first = rows.first().map_or(0, |&row| row as usize);
        let products: BTreeSet<u32> =
            rows.iter().map(|&row| data.catalogue.ids[data.product[row as usize] as usize]).collect();
        let products: Vec<u32> = products.into_iter().collect();
        Ok(Probe {
            customer_id,
            city: texts(vocabulary, schema, Role::City, &data.city[first..=first])?.concat(),
            timestamp: data.timestamp[first],
            product_ids: texts(vocabulary, schema, Role::Product, &products)?,
        })
    };
    order.into_iter().map(of).collect()
}
