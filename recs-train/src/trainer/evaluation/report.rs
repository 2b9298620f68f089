//! What an evaluation reports.

use recs_core::metrics::{ListStats, RankSums};
use serde::Serialize;

/// Results on a set of rows. A row is one purchase (others average per customer). None: not computed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Evaluation {
    /// Rows scored.
    pub rows: u64,
    /// Recall@5.
    pub recall_at_5: Option<f64>,
    /// Recall@10.
    pub recall_at_10: Option<f64>,
    /// Recall@50.
    pub recall_at_50: Option<f64>,
    /// Recall@100.
    pub recall_at_100: Option<f64>,
    /// NDCG@10.
    pub ndcg_at_10: Option<f64>,
    /// NDCG@100.
    pub ndcg_at_100: Option<f64>,
    /// Mean reciprocal rank over the catalogue.
    pub mrr: Option<f64>,
    /// Share of the catalogue in at least one customer's 100.
    pub coverage: Option<f64>,
    /// 1 - mean overlap of two customers' 100.
    pub personalisation: Option<f64>,
    /// Wall time.
    pub seconds: f64,
    /// The same with the term for what customers buy again, when there is one: what is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_repeat: Option<Box<Evaluation>>,
    /// The sums behind it.
    #[serde(skip)]
    pub ranks: RankSums,
}

impl Evaluation {
    /// What is served: with the repeat term where there is one.
    pub fn served(&self) -> &Self {
        self.with_repeat.as_deref().unwrap_or(self)
    }

    /// Puts ranks and lists together.
    pub fn new(ranks: RankSums, lists: Option<&ListStats>, seconds: f64) -> Self {
        Self {
            rows: ranks.rows(),
            recall_at_5: ranks.recall_at(5),
            recall_at_10: ranks.recall_at(10),
            recall_at_50: ranks.recall_at(50),
            recall_at_100: ranks.recall_at(100),
            ndcg_at_10: ranks.ndcg_at(10),
            ndcg_at_100: ranks.ndcg_at(100),
            mrr: ranks.mrr(),
            coverage: lists.and_then(ListStats::coverage),
            personalisation: lists.and_then(ListStats::personalisation),
            seconds,
            with_repeat: None,
            ranks,
        }
    }
}
