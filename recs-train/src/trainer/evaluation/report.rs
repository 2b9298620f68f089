//! What an evaluation reports.

use recs_core::metrics::{ListStats, RankSums};
use serde::Serialize;

/// Results on a set of rows. A row is one purchase (others average per customer). None: not computed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Evaluation {
    /// Rows scored.
    pub rows: u64,
    /// Rows left out because their own product was removed as seen, see [`Seen::Remove`](super::Seen::Remove).
    pub rows_left_out: u64,
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
    /// Mean self-information of the products in customers' 100, in bits, by their shares of the training rows, see
    /// [`ListStats::novelty`].
    pub novelty: Option<f64>,
    /// How sure the numbers are; None without a bootstrap, or for fewer than two customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrapped>,
    /// The same rows in parts; the slices of each table are all rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceTable>,
    /// Wall time.
    pub seconds: f64,
    /// The same as it is served, when there is a term for what customers buy again: with that term, and where nothing is known
    /// of a customer, whom such a model describes by purchases alone, what sells in the city and everywhere.
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
            rows_left_out: 0,
            novelty: None,
            bootstrap: None,
            slices: Vec::new(),
            with_repeat: None,
            ranks,
        }
    }
}

/// How far the numbers move when customers are drawn anew, see [`BootstrapConfig`](super::BootstrapConfig).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bootstrapped {
    /// Samples.
    pub samples: usize,
    /// Customers that were drawn from.
    pub customers: usize,
    /// Of Recall@5.
    pub recall_at_5: Spread,
    /// Of Recall@10.
    pub recall_at_10: Spread,
    /// Of Recall@50.
    pub recall_at_50: Spread,
    /// Of Recall@100.
    pub recall_at_100: Spread,
    /// Of NDCG@10.
    pub ndcg_at_10: Spread,
    /// Of NDCG@100.
    pub ndcg_at_100: Spread,
    /// Of MRR.
    pub mrr: Spread,
}

/// Of one number over the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Standard deviation.
    pub standard_error: f64,
    /// 2.5 % of the samples are below.
    pub low: f64,
    /// 2.5 % of the samples are above.
    pub high: f64,
}

/// One way of slicing, with the results on each slice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SliceTable {
    /// What makes the slices: `known_purchases`, `product`, `purchase`, or the name of a field.
    pub by: String,
    /// The slices.
    pub slices: Vec<Slice>,
}

/// Results on some of the rows. None: there are no rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slice {
    /// Which, e.g. `new`, `long_tail`, or a value of the field.
    pub name: String,
    /// Rows.
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
    /// Standard error of Recall@100 by the bootstrap; None without one, or for rows of fewer than two customers.
    pub standard_error: Option<f64>,
}

impl Slice {
    pub(super) fn new(name: &str, ranks: &RankSums, standard_error: Option<f64>) -> Self {
        Self {
            name: name.into(),
            rows: ranks.rows(),
            recall_at_5: ranks.recall_at(5),
            recall_at_10: ranks.recall_at(10),
            recall_at_50: ranks.recall_at(50),
            recall_at_100: ranks.recall_at(100),
            ndcg_at_10: ranks.ndcg_at(10),
            ndcg_at_100: ranks.ndcg_at(100),
            mrr: ranks.mrr(),
            standard_error,
        }
    }
}
