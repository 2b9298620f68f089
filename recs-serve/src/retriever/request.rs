//! What is asked.

use crate::error::{Error, Fault, Result};
use serde::Serialize;

/// Years 1 to 9999. Milliseconds of our time lie beyond, so they are caught.
pub(crate) const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Recommendations asked for when a request does not say.
pub const DEFAULT_K: usize = 100;
/// Most requests of one batch.
pub const MAX_BATCH: usize = 1000;
/// Largest boost, up or down: far above any score, far below where f32 ends.
pub const MAX_BOOST: f32 = 1e9;

/// Who asks, in which situation, and under which rules.
///
/// ```
/// use recs_serve::retriever::Request;
/// let request = Request {
///     customer_id: "42".into(), city: Some("store_7".into()), revenue: Some(99.5), k: 10, exclude_purchased: true,
///     ..Request::default()
/// };
/// assert!(request.timestamp.is_none()); // as of now
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// Who; empty for somebody unknown.
    pub customer_id: String,
    /// Where.
    pub city: Option<String>,
    /// The customer's total, finite and not negative. None: the mean of the training rows.
    pub revenue: Option<f32>,
    /// When, in Unix seconds. None: now, by the host's clock.
    pub timestamp: Option<i64>,
    /// Recommendations wanted, at least 1.
    pub k: usize,
    /// Leave out what the customer bought in the training rows.
    pub exclude_purchased: bool,
    /// Products never to return.
    pub exclude: Vec<String>,
    /// The only products that may be returned; an empty list allows none.
    pub allow: Option<Vec<String>>,
    /// The only categories that may be returned; an empty list allows none.
    pub categories: Option<Vec<String>>,
    /// Leave out what is not available.
    pub available_only: bool,
    /// At most so many products of each category, at least 1. Products without a category are not counted.
    pub category_cap: Option<usize>,
    /// Added to the scores of products, in the unit of the scores; negative amounts push down. The list is ordered by
    /// the sums. A product named twice gets both amounts.
    pub boost: Vec<(String, f32)>,
    /// Products put on top, in this order, unless a rule of this request forbids them: rules always win.
    pub pin: Vec<String>,
    /// Say for each product what its score is made of, and what of the request was ignored.
    pub explain: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            customer_id: String::new(),
            city: None,
            revenue: None,
            timestamp: None,
            k: DEFAULT_K,
            exclude_purchased: false,
            exclude: Vec::new(),
            allow: None,
            categories: None,
            available_only: false,
            category_cap: None,
            boost: Vec::new(),
            pin: Vec::new(),
            explain: false,
        }
    }
}

impl Request {
    /// Appends what is wrong with the values; `at` is the pointer of this request.
    fn faults(&self, at: &str, faults: &mut Vec<Fault>) {
        let mut refuse =
            |field: &str, detail: String| faults.push(Fault::new(format!("{at}/{field}"), detail));
        if let Some(revenue) = self.revenue.filter(|r| !(r.is_finite() && *r >= 0.0)) {
            refuse("revenue", format!("is {revenue}, must be finite and not negative"));
        }
        if let Some(seconds) = self.timestamp.filter(|t| !TIMESTAMPS.contains(t)) {
            let detail = format!(
                "is {seconds}, must be Unix seconds of the years 1 to 9999; milliseconds are divided by 1000"
            );
            refuse("timestamp", detail);
        }
        if self.k == 0 {
            refuse("k", "is 0, must be at least 1".into());
        }
        if self.category_cap == Some(0) {
            refuse("category_cap", "is 0, must be at least 1; leave it out for no cap".into());
        }
        for (product, amount) in self.boost.iter().filter(|(_, a)| !(a.is_finite() && a.abs() <= MAX_BOOST)) {
            let escaped = product.replace('~', "~0").replace('/', "~1");
            refuse(&format!("boost/{escaped}"), format!("is {amount}, must be within {MAX_BOOST} of 0"));
        }
    }

    /// Checks the values of one request.
    ///
    /// # Errors
    /// [`Error::Request`] with every fault.
    pub fn check(&self) -> Result<()> {
        let mut faults = Vec::new();
        self.faults("", &mut faults);
        refuse(faults)
    }

    /// Checks a batch: its size and every request in it.
    ///
    /// # Errors
    /// [`Error::Request`] with every fault, pointers beginning with `/requests/{i}`.
    pub fn check_batch(requests: &[Self]) -> Result<()> {
        let mut faults = Vec::new();
        if !(1..=MAX_BATCH).contains(&requests.len()) {
            let detail = format!("has {} requests, allowed are 1 to {MAX_BATCH}", requests.len());
            faults.push(Fault::new("/requests", detail));
        } else {
            requests.iter().enumerate().for_each(|(i, r)| r.faults(&format!("/requests/{i}"), &mut faults));
        }
        refuse(faults)
    }
}

fn refuse(faults: Vec<Fault>) -> Result<()> {
    if faults.is_empty() { Ok(()) } else { Err(Error::Request { faults, unlisted: 0 }) }
}
