//! Which candidates a search may return.

use std::fmt;
use std::sync::Arc;

/// A set of candidates, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct BitSet {
    words: Box<[u64]>,
}

impl fmt::Debug for BitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitSet of {}", self.count())
    }
}

impl BitSet {
    /// The candidates below `len` for which `is_in` holds. Memory: `len / 8` bytes.
    pub fn from_fn(len: usize, is_in: impl Fn(usize) -> bool) -> Self {
        let mut words = vec![0u64; len.div_ceil(64)].into_boxed_slice();
        for i in (0..len).filter(|&i| is_in(i)) {
            words[i / 64] |= 1 << (i % 64);
        }
        Self { words }
    }

    /// True for a candidate in the set; those beyond its length are not.
    #[inline]
    pub fn contains(&self, candidate: u32) -> bool {
        let i = candidate as usize;
        self.words.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// Number of candidates in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[derive(Clone)]
enum Rule {
    /// In a shared set.
    Within(Arc<BitSet>),
    /// In a short list, ascending.
    Allow(Arc<[u32]>),
    /// Not in a short list, ascending.
    Deny(Arc<[u32]>),
    /// With one of some labels (ascending), each candidate having one.
    Labelled { of: Arc<[u32]>, among: Arc<[u32]> },
}

impl Rule {
    #[inline]
    fn passes(&self, candidate: u32) -> bool {
        match self {
            Self::Within(set) => set.contains(candidate),
            Self::Allow(list) => list.binary_search(&candidate).is_ok(),
            Self::Deny(list) => list.binary_search(&candidate).is_err(),
            Self::Labelled { of, among } => {
                of.get(candidate as usize).is_some_and(|label| among.binary_search(label).is_ok())
            }
        }
    }
}

/// Sizes instead of contents, which may be as long as the catalogue.
impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(set) => write!(f, "within a set of {}", set.count()),
            Self::Allow(list) => write!(f, "one of {}", list.len()),
            Self::Deny(list) => write!(f, "none of {}", list.len()),
            Self::Labelled { among, .. } => write!(f, "labelled {among:?}"),
        }
    }
}

/// Rules that a candidate must all pass. The empty filter lets everything through.
///
/// What is common to many requests (availability, categories) is shared between filters; what is particular to one
/// (exclude lists, purchases) is a short sorted list. So a filter takes no memory in proportion to the catalogue, and a
/// thousand of them in one batch are cheap. Cheap to clone.
///
/// ```
/// use recs_serve::index::Filter;
/// let filter = Filter::default().allow([1, 2, 3]).deny([2]);
/// assert!(filter.passes(1) && !filter.passes(2) && !filter.passes(4));
/// assert_eq!(filter.count(10), 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    rules: Vec<Rule>,
}

impl Filter {
    /// Only candidates of a set; share the set between filters.
    #[must_use]
    pub fn within(mut self, set: Arc<BitSet>) -> Self {
        self.rules.push(Rule::Within(set));
        self
    }

    /// Only these candidates; an empty list lets nothing through.
    #[must_use]
    pub fn allow(mut self, candidates: impl IntoIterator<Item = u32>) -> Self {
        self.rules.push(Rule::Allow(ascending(candidates)));
        self
    }

    /// Not these candidates.
    #[must_use]
    pub fn deny(mut self, candidates: impl IntoIterator<Item = u32>) -> Self {
        let list = ascending(candidates);
        if !list.is_empty() {
            self.rules.push(Rule::Deny(list));
        }
        self
    }

    /// Only candidates whose label is `among` some; `of` holds each candidate's label and is shared between filters.
    #[must_use]
    pub fn labelled(mut self, of: Arc<[u32]>, among: impl IntoIterator<Item = u32>) -> Self {
        self.rules.push(Rule::Labelled { of, among: ascending(among) });
        self
    }

    /// What passes both filters.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.rules.extend_from_slice(&other.rules);
        self
    }

    /// True when it lets everything through.
    pub fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// True when the candidate may be returned. O(log of the lists' lengths).
    #[inline]
    pub fn passes(&self, candidate: u32) -> bool {
        self.rules.iter().all(|rule| rule.passes(candidate))
    }

    /// The shortest list that everything passing is in, ascending, where a rule gives one: score these one by one
    /// instead of searching. Its candidates must still pass the filter, and may lie beyond the index.
    pub fn shortlist(&self) -> Option<&[u32]> {
        let lists = self.rules.iter().filter_map(|rule| match rule {
            Rule::Allow(list) => Some(&**list),
            _ => None,
        });
        lists.min_by_key(|list| list.len())
    }

    /// How many of the candidates below `len` pass. O(len), or O(shortlist) where there is one.
    pub fn count(&self, len: usize) -> usize {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        match self.shortlist() {
            Some(list) => list.iter().filter(|&&i| i < len && self.passes(i)).count(),
            None if self.is_open() => len as usize,
            None => (0..len).filter(|&i| self.passes(i)).count(),
        }
    }
}

fn ascending(candidates: impl IntoIterator<Item = u32>) -> Arc<[u32]> {
    let mut list: Vec<u32> = candidates.into_iter().collect();
    list.sort_unstable();
    list.dedup();
    list.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn rules_are_sets_and_composing_intersects(
            allow in proptest::option::of(proptest::collection::btree_set(0u32..80, 0..40)),
            deny in proptest::collection::vec(0u32..80, 0..40),
            labels in proptest::collection::vec(0u32..4, 70),
            among in proptest::option::of(proptest::collection::btree_set(0u32..4, 0..4)),
            set in proptest::option::of(proptest::collection::btree_set(0usize..70, 0..70)),
        ) {
            let mut expected: BTreeSet<u32> = (0..70).filter(|i| !deny.contains(i)).collect();
            let mut parts = vec![Filter::default().deny(deny)];
            if let Some(allow) = allow {
                expected.retain(|i| allow.contains(i));
                parts.push(Filter::default().allow(allow));
            }
            if let Some(among) = among {
                expected.retain(|&i| among.contains(&labels[i as usize]));
                parts.push(Filter::default().labelled(labels.into(), among));
            }
            if let Some(set) = set {
                expected.retain(|&i| set.contains(&(i as usize)));
                let bits = BitSet::from_fn(70, |i| set.contains(&i));
                prop_assert_eq!(bits.count(), set.len());
                parts.push(Filter::default().within(Arc::new(bits)));
            }
            let filter = parts.iter().fold(Filter::default(), Filter::and);
            let passing: BTreeSet<u32> = (0..70).filter(|&i| filter.passes(i)).collect();
            prop_assert_eq!(filter.count(70), expected.len());
            if let Some(list) = filter.shortlist() {
                prop_assert!(passing.iter().all(|i| list.contains(i)));
            }
            prop_assert_eq!(passing, expected);
        }
    }
}
