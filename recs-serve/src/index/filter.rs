//! Which candidates a search may return.

use std::fmt;
use std::sync::Arc;

/// A set of candidates, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct BitSet {
    words: Box<[u64]>,
    count: usize,
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
        let mut count = 0;
        for i in (0..len).filter(|&i| is_in(i)) {
            words[i / 64] |= 1 << (i % 64);
            count += 1;
        }
        Self { words, count }
    }

    /// True for a candidate in the set; those beyond its length are not.
    #[inline]
    pub fn contains(&self, candidate: u32) -> bool {
        let i = candidate as usize;
        self.words.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// Number of candidates in the set.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The candidates in the set, ascending. O(length / 64 + candidates).
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip((0..).step_by(64)).flat_map(|(&word, first)| {
            std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|&rest| rest != 0)
                .map(move |rest| first + rest.trailing_zeros())
        })
    }
}

/// A label for each candidate, such as its category, and the candidates of each label.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels {
    of: Box<[u32]>,
    /// Where each label's candidates begin in `members`; one more than there are labels.
    starts: Box<[u32]>,
    /// Candidates by label, ascending within each.
    members: Box<[u32]>,
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} labels of {}", self.starts.len() - 1, self.of.len())
    }
}

impl Labels {
    /// Takes the label of each candidate; labels are numbers from 0 on with few gaps. Memory: 8 bytes a candidate and 4 a label.
    pub fn new(of: impl Into<Box<[u32]>>) -> Self {
        let of = of.into();
        let labels = of.iter().max().map_or(0, |&most| most as usize + 1);
        let mut starts = vec![0u32; labels + 1];
        of.iter().for_each(|&label| starts[label as usize + 1] += 1);
        (0..labels).for_each(|label| starts[label + 1] += starts[label]);
        let (mut next, mut members) = (starts.clone(), vec![0; of.len()]);
        for (candidate, &label) in (0..).zip(&of) {
            let place = &mut next[label as usize];
            members[*place as usize] = candidate;
            *place += 1;
        }
        Self { of, starts: starts.into(), members: members.into() }
    }

    /// The label of a candidate.
    #[inline]
    pub fn of(&self, candidate: u32) -> Option<u32> {
        self.of.get(candidate as usize).copied()
    }

    /// The candidates with a label, ascending.
    pub fn members(&self, label: u32) -> &[u32] {
        let range =
            self.starts.get(label as usize..).and_then(|starts| Some(*starts.first()?..*starts.get(1)?));
        range.map_or(&[], |range| &self.members[range.start as usize..range.end as usize])
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
    Labelled { labels: Arc<Labels>, among: Arc<[u32]> },
}

impl Rule {
    #[inline]
    fn passes(&self, candidate: u32) -> bool {
        match self {
            Self::Within(set) => set.contains(candidate),
            Self::Allow(list) => list.binary_search(&candidate).is_ok(),
            Self::Deny(list) => list.binary_search(&candidate).is_err(),
            Self::Labelled { labels, among } => {
                labels.of(candidate).is_some_and(|label| among.binary_search(&label).is_ok())
            }
        }
    }

    /// How many candidates the rule lets through, where it can name them.
    fn named(&self) -> Option<usize> {
        match self {
            Self::Within(set) => Some(set.count()),
            Self::Allow(list) => Some(list.len()),
            Self::Labelled { labels, among } => {
                Some(among.iter().map(|&label| labels.members(label).len()).sum())
            }
            Self::Deny(_) => None,
        }
    }

    /// Calls `each` with those candidates.
    fn name(&self, mut each: impl FnMut(u32)) {
        match self {
            Self::Within(set) => set.iter().for_each(each),
            Self::Allow(list) => list.iter().copied().for_each(each),
            Self::Labelled { labels, among } => {
                among.iter().flat_map(|&label| labels.members(label)).for_each(|&candidate| each(candidate));
            }
            Self::Deny(_) => {}
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

    /// Only candidates whose label is `among` some; share the labels between filters.
    #[must_use]
    pub fn labelled(mut self, labels: Arc<Labels>, among: impl IntoIterator<Item = u32>) -> Self {
        self.rules.push(Rule::Labelled { labels, among: ascending(among) });
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

    /// How many candidates it stops at most, where it only stops some by number.
    pub(crate) fn denied(&self) -> Option<usize> {
        self.rules.iter().try_fold(0, |sum, rule| match rule {
            Rule::Deny(list) => Some(sum + list.len()),
            _ => None,
        })
    }

    /// Candidates that [`Filter::sample`] asks about.
    pub(crate) const SAMPLE: usize = 256;

    /// How many of 256 candidates, spread evenly over `len`, pass.
    pub(crate) fn sample(&self, len: usize) -> usize {
        // Multiples of the golden ratio are in no step with whatever orders the catalogue.
        let place = |i: usize| (u64::from((i as u32).wrapping_mul(0x9e37_79b9)) * len as u64) >> 32;
        (0..Self::SAMPLE).filter(|&i| self.passes(place(i) as u32)).count()
    }

    /// The rule that lets the fewest through, and how many these are.
    fn narrowest(&self) -> Option<(usize, &Rule)> {
        let named = self.rules.iter().filter_map(|rule| Some((rule.named()?, rule)));
        named.min_by_key(|(count, _)| *count)
    }

    /// True when a rule says that at most so many can pass.
    pub(crate) fn is_within(&self, most: usize) -> bool {
        self.narrowest().is_some_and(|(count, _)| count <= most)
    }

    /// True when so few of `len` candidates can pass that to score them one by one costs less than to look at all.
    /// O(rules).
    pub fn is_few(&self, len: usize) -> bool {
        self.narrowest().is_some_and(|(count, _)| count <= len / FEW)
    }

    /// Puts the candidates below `len` that pass into `out`, in no particular order. O(those that the narrowest rule lets
    /// through), or O(len) when no rule names any.
    pub fn passing(&self, len: usize, out: &mut Vec<u32>) {
        out.clear();
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let mut push = |candidate: u32| {
            if candidate < len && self.passes(candidate) {
                out.push(candidate);
            }
        };
        match self.narrowest() {
            Some((_, rule)) => rule.name(push),
            None => (0..len).for_each(&mut push),
        }
    }

    /// How many of the candidates below `len` pass. Costs what [`Filter::passing`] does.
    pub fn count(&self, len: usize) -> usize {
        if self.is_open() {
            return len;
        }
        let mut passing = Vec::new();
        self.passing(len, &mut passing);
        passing.len()
    }
}

/// Scoring a vector that lies anywhere costs so many times what a scan spends on one.
const FEW: usize = 8;

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
                parts.push(Filter::default().labelled(Arc::new(Labels::new(labels)), among));
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
            let mut named = Vec::new();
            filter.passing(70, &mut named);
            named.sort_unstable();
            prop_assert_eq!(named, passing.iter().copied().collect::<Vec<_>>());
            prop_assert!(!filter.is_few(70) || passing.len() <= 70 / FEW);
            prop_assert_eq!(passing, expected);
        }

        #[test]
        fn sets_and_labels_name_their_members(members in proptest::collection::btree_set(0u32..300, 0..300)) {
            let set = BitSet::from_fn(300, |i| members.contains(&(i as u32)));
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), members.clone());
            prop_assert_eq!(set.count(), members.len());
            let labels = Labels::new((0..300).map(|i| if members.contains(&i) { 5 } else { i % 3 }).collect::<Vec<_>>());
            prop_assert!(labels.members(5).iter().eq(members.iter()));
            prop_assert!(labels.members(4).is_empty() && labels.members(99).is_empty());
            prop_assert_eq!((0..9).map(|label| labels.members(label).len()).sum::<usize>(), 300);
        }
    }
}
