//! Candidates that may be among the k best, as far as estimates can tell.

/// Keeps every candidate whose estimate is at most `slack` below the k-th best estimate.
///
/// When two candidates whose estimates differ by more than `slack` are known to be in the order of their estimates, the k
/// best are among them: the k candidates with the best estimates are each better than any candidate that was left out.
///
/// Memory: 8 bytes for each candidate kept, at least 2k of them; with estimates that tell nothing, all.
#[derive(Debug, Default)]
pub(crate) struct Shortlist {
    k: usize,
    slack: i32,
    /// An estimate below it cannot enter.
    floor: i32,
    /// So many are collected before a cut.
    room: usize,
    /// Estimate in the upper half, ordered as numbers without sign; candidate in the lower.
    keys: Vec<u64>,
}

/// So many are collected at least before a cut.
const SMALLEST_CUT: usize = 256;

impl Shortlist {
    /// Empties it for a new selection, keeping its memory.
    pub(crate) fn reset(&mut self, k: usize, slack: i32) {
        *self = Self { k, slack, floor: i32::MIN, room: room(k), keys: std::mem::take(&mut self.keys) };
        self.keys.clear();
    }

    /// An estimate below it cannot enter.
    #[inline]
    pub(crate) fn floor(&self) -> i32 {
        self.floor
    }

    /// Offers a candidate; k must not be 0.
    #[inline]
    pub(crate) fn push(&mut self, candidate: u32, estimate: i32) {
        if estimate >= self.floor {
            self.keys.push(u64::from((estimate as u32) ^ (1 << 31)) << 32 | u64::from(candidate));
            if self.keys.len() >= self.room {
                self.cut();
            }
        }
    }

    #[cold]
    fn cut(&mut self) {
        if self.keys.len() > self.k && self.k > 0 {
            let (_, &mut worst, _) = self.keys.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.floor = estimate(worst).saturating_sub(self.slack);
            let floor = self.floor;
            self.keys.retain(|&key| estimate(key) >= floor);
        }
        self.room = room(self.keys.len());
    }

    /// The candidates kept, in no particular order, into `out`; leaves the selection empty.
    pub(crate) fn take(&mut self, out: &mut Vec<u32>) {
        self.cut();
        out.clear();
        out.extend(self.keys.drain(..).map(|key| key as u32));
    }
}

/// Twice what is held, so that a cut costs O(1) a candidate even when it cuts little.
fn room(held: usize) -> usize {
    held.saturating_mul(2).max(SMALLEST_CUT)
}

fn estimate(key: u64) -> i32 {
    ((key >> 32) as u32 ^ (1 << 31)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_what_is_within_the_slack_of_the_kth(
            estimates in proptest::collection::vec(prop_oneof![9 => -50i32..50, 1 => any::<i32>()], 1..1500),
            k in 1usize..40,
            slack in prop_oneof![0i32..20, Just(i32::MAX)],
        ) {
            let mut list = Shortlist::default();
            list.reset(k, slack);
            for (i, &estimate) in (0..).zip(&estimates) {
                list.push(i, estimate);
            }
            let mut got = Vec::new();
            list.take(&mut got);
            got.sort_unstable();
            let mut sorted = estimates.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let floor = sorted.get(k - 1).filter(|_| sorted.len() > k).map_or(i32::MIN, |kth| kth.saturating_sub(slack));
            let expected: Vec<u32> = (0..).zip(&estimates).filter(|(_, e)| **e >= floor).map(|(i, _)| i).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
