//! What a file must stand whoever wrote it, for fuzzers and their corpus.

use super::{Sections, ServingModel, sections};
use crate::error::Result;
use crate::retriever::{Host, Request, Retriever};
use std::collections::HashSet;

impl ServingModel {
    /// Reads what [`ServingModel::write`] wrote, its checksums made to fit: files that somebody means to do harm with have checksums
    /// that fit.
    ///
    /// # Errors
    /// As [`ServingModel::map`].
    pub fn read_signed(bytes: &[u8]) -> Result<Self> {
        let mut bytes = bytes.to_vec();
        // What cannot be signed is refused for what it is.
        let _ = sections::sign(&mut bytes);
        Self::of_sections(&Sections::read(&sections::aligned(&bytes), "memory".to_owned())?)
    }
}

/// Serves a model and asks it for lists of all kinds.
///
/// # Panics
/// Where one of them is none: too long, or with a product twice.
///
/// # Errors
/// Those of [`Retriever::serving`] and of answering.
pub fn ask_all(model: ServingModel, host: &Host) -> Result<()> {
    let retriever = Retriever::serving(model, host.clone(), 1)?;
    let named = |at: usize| retriever.product(at).map(|product| product.id.to_owned());
    let some: Vec<String> = [0, 1, 7].into_iter().filter_map(named).collect();
    let like = |customer: Option<&str>| Request {
        customer_id: customer.unwrap_or_default().to_owned(),
        city: Some("alpha".into()),
        revenue: Some(50.0),
        timestamp: Some(1_514_764_800),
        k: 12,
        ..Request::default()
    };
    let mut requests = Vec::new();
    for customer in [None, retriever.customer(0), retriever.customer(3)] {
        let plain = like(customer);
        requests.extend([
            Request { exclude_purchased: true, available_only: true, explain: true, ..plain.clone() },
            Request { category_cap: Some(1), exclude: some.clone(), ..plain.clone() },
            Request { allow: Some(some.clone()), pin: some.clone(), ..plain.clone() },
            Request { boost: some.iter().map(|id| (id.clone(), 1.0)).collect(), ..plain.clone() },
            plain,
        ]);
    }
    for request in &requests {
        let list = retriever.recommend(request)?;
        let distinct: HashSet<&str> = list.items.iter().map(|item| item.product_id).collect();
        assert!(list.items.len() <= request.k && distinct.len() == list.items.len(), "{request:?}: {list:?}");
    }
    assert_eq!(retriever.recommend_batch(&requests)?.len(), requests.len());
    for id in &some {
        assert!(retriever.similar(id, 5)?.len() <= 5);
    }
    Ok(())
}
