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
    /// What the k-th best estimate was guessed to be, at least.
    guess: i32,
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
        self.reset_at(k, slack, i32::MIN);
    }

    /// As [`Shortlist::reset`], on the guess that at least k estimates are no lower than this; whether it was right is known
    /// at the end.
    pub(crate) fn reset_at(&mut self, k: usize, slack: i32, guess: i32) {
        let (floor, mut keys) = (Self::floor_at(guess, slack), std::mem::take(&mut self.keys));
        keys.clear();
        *self = Self { k, slack, floor, guess, room: room(2 * k), keys };
    }

    /// The lowest estimate that counts when the k-th best is `kth`. With the largest slack nothing is known, and all count: two
    /// estimates may lie further apart than that number.
    fn floor_at(kth: i32, slack: i32) -> i32 {
        if slack == i32::MAX { i32::MIN } else { kth.saturating_sub(slack) }
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
        if let Some(kth) = self.kth() {
            self.floor = Self::floor_at(kth, self.slack).max(self.floor);
            let floor = self.floor;
            self.keys.retain(|&key| estimate(key) >= floor);
        }
        self.room = room(self.keys.len());
    }

    /// The k-th best estimate, if there are so many.
    fn kth(&mut self) -> Option<i32> {
        let at = self.k.checked_sub(1).filter(|&at| at < self.keys.len())?;
        let (_, &mut kth, _) = self.keys.select_nth_unstable_by(at, |a, b| b.cmp(a));
        Some(estimate(kth))
    }

    /// The candidates kept, in no particular order, into `out`; leaves the selection empty. False when the guess was wrong:
    /// then some may be missing, and the selection must begin again without.
    pub(crate) fn take(&mut self, out: &mut Vec<u32>) -> bool {
        let kth = self.kth();
        let floor = kth.map_or(i32::MIN, |kth| Self::floor_at(kth, self.slack));
        out.clear();
        out.extend(self.keys.drain(..).filter(|&key| estimate(key) >= floor).map(|key| key as u32));
        self.guess == i32::MIN || kth.is_some_and(|kth| kth >= self.guess)
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
            prop_assert!(list.take(&mut got));
            got.sort_unstable();
            let mut sorted = estimates.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let kth = sorted.get(k - 1).filter(|_| sorted.len() > k && slack < i32::MAX);
            let floor = kth.map_or(i32::MIN, |kth| kth.saturating_sub(slack));
            let expected: Vec<u32> = (0..).zip(&estimates).filter(|(_, e)| **e >= floor).map(|(i, _)| i).collect();
            prop_assert_eq!(&got, &expected);
            // On a guess the same, or word that the guess was wrong.
            for guess in [-60, -10, 0, 30, sorted[k.min(sorted.len()) - 1]] {
                list.reset_at(k, slack, guess);
                (0..).zip(&estimates).for_each(|(i, &estimate)| list.push(i, estimate));
                let is_right = list.take(&mut got);
                prop_assert_eq!(is_right, sorted.get(k - 1).is_some_and(|&kth| kth >= guess));
                got.sort_unstable();
                prop_assert!(!is_right || got == expected);
            }
        }
    }
}
