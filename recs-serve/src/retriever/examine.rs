//! What a model says about itself before it serves.

use super::{DEFAULT_K, Request, Retriever};
use crate::error::Result;
use crate::index::{Filter, Query};
use recs_core::kernel::{Hit, TopK, dot_rows};

/// Products that are scored at once.
const BLOCK: usize = 1024;

impl Retriever {
    /// Requests of `most` of its own customers, evenly over all, the last of somebody unknown.
    pub(crate) fn example_requests(&self, most: usize) -> Vec<Request> {
        let (known, wanted) = (self.customers.len(), most.saturating_sub(1));
        let step = known.div_ceil(wanted.max(1)).max(1);
        let request = |customer_id: &str| Request {
            customer_id: customer_id.to_owned(),
            k: DEFAULT_K,
            explain: true,
            ..Request::default()
        };
        let customers = self.customers.ids.iter().step_by(step).take(wanted).map(request);
        customers.chain([request("")]).collect()
    }

    /// The share of the `k` best products that the index finds, over the requests that the model ranks; 1 where it ranks none.
    ///
    /// Cost: an exact search for each.
    ///
    /// # Errors
    /// Those of [`Retriever::recommend`].
    pub(crate) fn recall(&self, requests: &[Request], k: usize) -> Result<f64> {
        let plans: Vec<_> = requests.iter().map(|request| (request, self.plan(request))).collect();
        let ranked: Vec<_> =
            plans.iter().filter(|(_, p)| p.by_model.is_some()).map(|(r, p)| (*r, p)).collect();
        let (vectors, open) = (self.embed(&ranked)?, Filter::default());
        let k = k.min(self.products());
        let (mut found, mut all) = (0, 0);
        for vector in vectors.rows() {
            let vector = vector.to_slice().unwrap_or_default();
            if !self.catalogue.can_score(vector) {
                continue;
            }
            let query = Query { vector, k, filter: &open };
            let hits = self.index.search_batch(&[query], &self.scratch)?.pop().unwrap_or_default();
            let worst = self.worst_of_best(vector, k);
            // Two ways of adding up may differ in the last bits.
            let bar = worst - worst.abs() * 1e-5;
            found += hits.iter().filter(|hit| hit.score >= bar).count();
            all += k;
        }
        Ok(if all == 0 { 1.0 } else { found as f64 / all as f64 })
    }

    /// The k-th highest score of all.
    fn worst_of_best(&self, vector: &[f32], k: usize) -> f32 {
        let (mut best, mut scores) = (TopK::new(k), vec![0.0; BLOCK]);
        for (block, rows) in self.catalogue.flat().chunks(BLOCK * vector.len()).enumerate() {
            let scores = &mut scores[..rows.len() / vector.len()];
            dot_rows(vector, rows, scores);
            for (i, &score) in scores.iter().enumerate() {
                best.push(Hit { index: (block * BLOCK + i) as u32, score });
            }
        }
        best.take_sorted().last().map_or(f32::NEG_INFINITY, |hit| hit.score)
    }
}
