//! Entries -> requests within the server's limits.

use super::entry::{Entry, number};
use serde::Serialize;

/// Metrics of one `runs/log-batch`, and entries of any kind.
const MAX_ENTRIES: usize = 1000;
const MAX_PARAMS: usize = 100;
const MAX_TAGS: usize = 100;
/// Bytes of one request; the server's limit is 1,000,000.
const MAX_BYTES: usize = 900_000;

/// Body of `runs/log-batch`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Batch<'a> {
    run_id: &'a str,
    pub(super) metrics: Vec<Metric<'a>>,
    pub(super) params: Vec<KeyValue<'a>>,
    pub(super) tags: Vec<KeyValue<'a>>,
}

/// A point.
#[derive(Debug, Serialize)]
pub(super) struct Metric<'a> {
    key: &'a str,
    #[serde(with = "number")]
    value: f64,
    timestamp: i64,
    step: i64,
}

/// A parameter or tag.
#[derive(Debug, Serialize)]
pub(super) struct KeyValue<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> Batch<'a> {
    /// The body of `entries`, which must fit: see [`fitting`].
    pub(super) fn new(run_id: &'a str, entries: &'a [Entry]) -> Self {
        let mut batch = Self { run_id, ..Self::default() };
        for entry in entries {
            match entry {
                Entry::Metric { key, value, timestamp, step } => {
                    batch.metrics.push(Metric { key, value: *value, timestamp: *timestamp, step: *step });
                }
                Entry::Param { key, value } => batch.params.push(KeyValue { key, value }),
                Entry::Tag { key, value } => batch.tags.push(KeyValue { key, value }),
                _ => {}
            }
        }
        batch
    }
}

/// How many of the first `entries` go into one request: at least one when the first is a metric, parameter or tag.
pub(super) fn fitting<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> usize {
    let (mut params, mut tags, mut bytes, mut n) = (0, 0, 0, 0);
    for entry in entries {
        match entry {
            Entry::Param { .. } => params += 1,
            Entry::Tag { .. } => tags += 1,
            Entry::Metric { .. } => {}
            _ => break,
        }
        bytes += size_bytes(entry);
        let full = params > MAX_PARAMS || tags > MAX_TAGS || n == MAX_ENTRIES || bytes > MAX_BYTES;
        if full && n > 0 {
            break;
        }
        n += 1;
    }
    n
}

/// At least what the entry takes in a body. A character may become six in JSON, e.g. `\u0000`.
fn size_bytes(entry: &Entry) -> usize {
    let text = |text: &str| {
        text.bytes()
            .map(|b| if b < b' ' { 6 } else { 1 + usize::from(b == b'"' || b == b'\\') })
            .sum::<usize>()
    };
    128 + match entry {
        Entry::Metric { key, .. } => text(key),
        Entry::Param { key, value } | Entry::Tag { key, value } => text(key) + text(value),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::mlflow::entry::Outcome;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let key = || "[a-z/\u{0}\"]{1,250}";
        prop_oneof![
            8 => (key(), any::<f64>(), any::<i64>(), any::<i64>())
                .prop_map(|(key, value, timestamp, step)| Entry::Metric { key, value, timestamp, step }),
            4 => (key(), 0usize..6000).prop_map(|(key, n)| Entry::Param { key, value: "\u{1}".repeat(n) }),
            4 => (key(), 0usize..5000).prop_map(|(key, n)| Entry::Tag { key, value: "é".repeat(n) }),
            1 => Just(Entry::End { status: Outcome::Failed, timestamp: 0 }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn batches_take_every_entry_once_in_order_within_the_limits(
            entries in prop::collection::vec(entry(), 0..3000),
        ) {
            let mut at = 0;
            while at < entries.len() {
                let n = fitting(&entries[at..]);
                prop_assert_eq!(n == 0, matches!(entries[at], Entry::End { .. }));
                let chosen = &entries[at..at + n];
                let batch = Batch::new("0123456789abcdef0123456789abcdef", chosen);
                prop_assert!(batch.params.len() <= 100 && batch.tags.len() <= 100);
                prop_assert_eq!(batch.metrics.len() + batch.params.len() + batch.tags.len(), n);
                prop_assert!(n <= 1000 && serde_json::to_vec(&batch).unwrap().len() < 1_000_000);
                at += n.max(1);
            }
        }
    }

    #[test]
    fn a_batch_is_as_full_as_it_may_be() {
        let metrics: Vec<Entry> = (0..1500).map(|step| Entry::metric("m", step, 1.0)).collect();
        assert_eq!(fitting(&metrics), 1000);
        let tags: Vec<Entry> =
            (0..150).map(|i| Entry::Tag { key: i.to_string(), value: String::new() }).collect();
        assert_eq!(fitting(&tags), 100);
        assert_eq!(serde_json::to_value(Batch::new("r", &metrics[..1])).unwrap()["metrics"][0]["value"], 1.0);
    }
}
