//! What is answered.

use serde::Serialize;

/// Why a product is in the list. Names are stable: clients and reports key on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The model, which knows the customer.
    Model,
    /// The model, which does not know the customer: city, revenue and time decided.
    FeaturesOnly,
    /// Bought most in the customer's segment.
    Segment,
    /// Bought most by everybody.
    Popularity,
    /// Pinned by the request.
    Pinned,
    /// Bought by this customer before; whichever way it was found.
    Repeat,
}

impl Reason {
    /// As it stands in answers and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::FeaturesOnly => "features_only",
            Self::Segment => "segment",
            Self::Popularity => "popularity",
            Self::Pinned => "pinned",
            Self::Repeat => "repeat",
        }
    }
}

/// What a score is made of: `score = base + repeat + boost`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parts {
    /// What found the product: `model`, `features_only`, `segment` or `popularity`.
    pub source: Reason,
    /// The source's own score. Model: dot product of the embeddings divided by the temperature. Popularity:
    /// the product's share of the training rows, from 0 to 1. Segment: that of the segment's rows, drawn towards the share of
    /// all, see [`segment_share`](recs_core::artifact::segment_share).
    pub base: f32,
    /// What the model added because the customer bought the product before.
    pub repeat: f32,
    /// What the request added.
    pub boost: f32,
    /// Training rows with this product.
    pub popularity: u64,
    /// Training rows with this product and this customer.
    pub bought: u32,
}

/// One recommended product.
///
/// Scores compare within one source only: a list that the model began and popularity filled up goes down from 3.1 to 2.8
/// and then from 0.02 to 0.01, say; its ranks are right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item<'r> {
    /// Product id.
    pub product_id: &'r str,
    /// Base score and boost together; always finite.
    pub score: f32,
    /// From 1.
    pub rank: usize,
    /// Why it is here.
    pub reason: Reason,
    /// What the score is made of, when the request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<Parts>,
}

/// Why a value of the request had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ignored {
    /// The catalogue has no such product or category.
    Unknown,
    /// Another rule of the request forbids the product.
    Filtered,
    /// The list was full, or its category was.
    NoRoom,
    /// It was named before.
    Repeated,
}

/// A value of the request that had no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IgnoredValue {
    /// Member of the request: `exclude`, `allow`, `categories`, `boost` or `pin`.
    pub field: &'static str,
    /// The value.
    pub value: String,
    /// Why.
    pub why: Ignored,
}

/// Why there are fewer products than asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// Products asked for.
    pub asked: usize,
    /// Products that the rules leave over, before the cap on categories.
    pub passed: usize,
    /// For people.
    pub detail: String,
}

/// The answer to one request.
///
/// Borrows the ids of products from the retriever, so that a batch of a thousand allocates none of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendations<'r> {
    /// Best first.
    pub items: Vec<Item<'r>>,
    /// What the list began with: `model`, `features_only`, `segment` or `popularity`.
    pub source: Reason,
    /// Values that had no effect.
    pub ignored: Vec<IgnoredValue>,
    /// Set when there are fewer than asked for, so that no list is short or empty without a reason.
    pub shortfall: Option<Shortfall>,
}
