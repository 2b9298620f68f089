//! Answers as JSON, written by hand where they are long: a list of products is nearly all that is sent.
//!
//! The text is that of serde_json to the byte; tests compare them.

use crate::retriever::{Item, Reason};
use axum::body::Bytes;
use serde::Serialize;

/// Bytes of an item, as a rule.
pub(super) const ITEM_BYTES: usize = 96;

/// A JSON text while it is written.
#[derive(Debug)]
pub(super) struct Json(Vec<u8>);

impl Json {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// The text so far; an empty one is left.
    pub(super) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.0).into()
    }

    /// Punctuation and names.
    pub(super) fn raw(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        if text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
            self.0.push(b'"');
            self.0.extend_from_slice(text.as_bytes());
            self.0.push(b'"');
            return self;
        }
        self.value(text)
    }

    pub(super) fn whole(&mut self, number: usize) -> &mut Self {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self
    }

    /// A finite number.
    pub(super) fn float(&mut self, number: f64) -> &mut Self {
        self.0.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
        self
    }

    /// Anything else.
    pub(super) fn value(&mut self, value: &(impl Serialize + ?Sized)) -> &mut Self {
        // Writing to memory does not fail, and everything here has text for names.
        let written = serde_json::to_writer(&mut self.0, value);
        debug_assert!(written.is_ok(), "a value that JSON cannot hold");
        self
    }

    /// A member that is left out when there is nothing to say.
    pub(super) fn member(&mut self, name: &str, value: Option<&impl Serialize>) -> &mut Self {
        if let Some(value) = value {
            self.raw(",").text(name).raw(":").value(value);
        }
        self
    }

    pub(super) fn items(&mut self, items: &[Item<'_>]) -> &mut Self {
        self.raw("[");
        for (i, item) in items.iter().enumerate() {
            self.raw(if i == 0 { "{\"product_id\":" } else { ",{\"product_id\":" }).text(item.product_id);
            self.raw(",\"score\":");
            self.0.extend_from_slice(zmij::Buffer::new().format_finite(item.score).as_bytes());
            self.raw(",\"rank\":").whole(item.rank);
            self.raw(match item.reason {
                Reason::Model => ",\"reason\":\"model\"",
                Reason::FeaturesOnly => ",\"reason\":\"features_only\"",
                Reason::Segment => ",\"reason\":\"segment\"",
                Reason::Popularity => ",\"reason\":\"popularity\"",
                Reason::Pinned => ",\"reason\":\"pinned\"",
                Reason::Repeat => ",\"reason\":\"repeat\"",
            });
            self.member("explain", item.explain.as_ref()).raw("}");
        }
        self.raw("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retriever::Parts;
    use proptest::prelude::*;

    fn reason() -> impl Strategy<Value = Reason> {
        prop_oneof![
            Just(Reason::Model),
            Just(Reason::FeaturesOnly),
            Just(Reason::Segment),
            Just(Reason::Popularity),
            Just(Reason::Pinned),
            Just(Reason::Repeat),
        ]
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_serde_json(
            ids in proptest::collection::vec("\\PC{0,6}|[\\x00-\\x7f]{0,6}|[0-9]{7}", 0..8),
            scores in proptest::collection::vec(prop_oneof![any::<f32>(), -3f32..3.0, Just(0.0f32), Just(1e30f32)], 8),
            reasons in proptest::collection::vec(reason(), 8),
            explained in any::<bool>(),
            number in -1e9f64..1e9,
        ) {
            let parts = Parts { source: Reason::Model, base: 1.5, repeat: 0.0, boost: -2.0, popularity: 3, bought: 0 };
            let items: Vec<Item<'_>> = ids.iter().zip(scores).zip(reasons).enumerate().map(|(i, ((id, score), reason))| Item {
                product_id: id,
                score: if score.is_finite() { score } else { 0.25 },
                rank: i * 37,
                reason,
                explain: explained.then_some(parts),
            }).collect();
            let mut json = Json::with_capacity(0);
            json.items(&items);
            prop_assert_eq!(String::from_utf8(json.0).unwrap(), serde_json::to_string(&items).unwrap());
            let mut json = Json::with_capacity(0);
            prop_assert_eq!(&json.float(number).0, &serde_json::to_vec(&number).unwrap());
        }
    }
}
