//! A version that answers beside production, unseen, and is compared with it.

use super::router::Served;
use super::tenant::Loaded;
use crate::deploy::Version;
use crate::retriever::{Recommendations, Request};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two comparisons of a tenant: a hundred a second tell enough, and cost little.
const EVERY: Duration = Duration::from_millis(10);

/// Asks the shadow, if there is one and it was not asked just now, what production answered; by the workers, and only where one of
/// them has nothing to do. Nobody waits for it.
pub(super) fn compare(served: &Served, loaded: &Loaded, request: &Request, answer: &Recommendations<'_>) {
    let Some(shadow) = &loaded.serving.shadow else { return };
    if !loaded.slot.shadow_is_due(Instant::now(), EVERY) {
        return;
    }
    let listed: HashSet<String> = answer.items.iter().map(|item| item.product_id.to_owned()).collect();
    let (served, shadow) = (served.clone(), Arc::clone(shadow));
    let (tenant, request) = (loaded.tenant.clone(), request.clone());
    let workers = served.state.host().workers.clone();
    workers.spare(move || {
        let began = Instant::now();
        let compared = catch_unwind(AssertUnwindSafe(|| overlap(&shadow, &request, &listed)));
        let overlap = compared.unwrap_or(None);
        served.state.metrics().shadowed(&tenant, overlap, began.elapsed());
    });
}

/// The share of production's products that the shadow lists too; None when it failed.
fn overlap(shadow: &Version, request: &Request, listed: &HashSet<String>) -> Option<f64> {
    let answer = shadow.answer(|retriever| retriever.recommend(request)).ok()?;
    let both = answer.items.iter().filter(|item| listed.contains(item.product_id)).count();
    Some(if listed.is_empty() { 1.0 } else { both as f64 / listed.len() as f64 })
}
