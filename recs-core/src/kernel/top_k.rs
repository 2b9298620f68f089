//! The k best of many scores.

/// An index and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Position of the candidate.
    pub index: u32,
    /// Its score.
    pub score: f32,
}

impl Hit {
    /// True when `self` ranks before `other`: higher score, or the lower index at equal scores. NaN ranks last.
    #[inline]
    pub fn before(&self, other: &Self) -> bool {
        if self.score == other.score || (self.score.is_nan() && other.score.is_nan()) {
            self.index < other.index
        } else {
            self.score > other.score || other.score.is_nan()
        }
    }
}

/// Keeps the k best hits seen: up to 2k of them are collected unsorted, then the lower half is thrown away.
///
/// Cost: one comparison for a score that does not enter, O(1) amortised for one that does. Memory: 2k keys of 8 bytes,
/// kept from one selection to the next. The result does not depend on the order in which candidates come.
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    /// Unsorted; holds the k best hits seen so far, and others.
    keys: Vec<Key>,
    /// A key must be above it to enter; at least k of those seen are not below it.
    floor: Key,
}

/// Orders as [`Hit::before`], the better one higher: the score's bits in the order of the numbers, then the index
/// turned around. Only NaN at the last of 2^32 places has the key 0.
type Key = u64;

/// So many are collected at least before a cut: a small k would otherwise cut at every other hit.
const SMALLEST_CUT: usize = 64;

fn key(hit: Hit) -> Key {
    let rank = if hit.score.is_nan() {
        0
    } else {
        // Adding zero makes the two zeros equal.
        let bits = (hit.score + 0.0).to_bits();
        bits ^ if bits >> 31 == 1 { u32::MAX } else { 1 << 31 }
    };
    (u64::from(rank) << 32) | u64::from(!hit.index)
}

fn hit(key: Key) -> Hit {
    let rank = (key >> 32) as u32;
    let score = match rank {
        0 => f32::NAN,
        rank => f32::from_bits(rank ^ if rank >> 31 == 0 { u32::MAX } else { 1 << 31 }),
    };
    Hit { index: !(key as u32), score }
}

impl Default for TopK {
    fn default() -> Self {
        Self::new(0)
    }
}

impl TopK {
    /// An empty selection of at most `k`.
    pub fn new(k: usize) -> Self {
        let mut selection = Self { k, keys: Vec::new(), floor: 0 };
        selection.reset(k);
        selection
    }

    /// Empties it for a new selection, keeping its memory.
    pub fn reset(&mut self, k: usize) {
        self.k = k;
        self.keys.clear();
        self.floor = if k == 0 { Key::MAX } else { 0 };
    }

    /// A score below this cannot enter; negative infinity while every number can.
    #[inline]
    pub fn threshold(&self) -> f32 {
        match self.floor {
            0 => f32::NEG_INFINITY,
            Key::MAX => f32::INFINITY,
            floor => hit(floor).score.max(f32::NEG_INFINITY),
        }
    }

    /// Offers a candidate.
    #[inline]
    pub fn push(&mut self, hit: Hit) {
        let key = key(hit);
        if key > self.floor {
            self.keys.push(key);
            if self.keys.len() >= self.k.saturating_mul(2).max(SMALLEST_CUT) {
                self.cut();
            }
        }
    }

    /// Offers consecutive candidates beginning at index `first`.
    pub fn push_scores(&mut self, first: u32, scores: &[f32]) {
        for (chunk, at) in scores.chunks(16).zip((first..).step_by(16)) {
            let threshold = self.threshold();
            // One vector comparison skips sixteen scores that cannot enter; NaN may not hide behind it while there is room.
            if threshold > f32::NEG_INFINITY && !chunk.iter().fold(false, |any, &s| any | (s >= threshold)) {
                continue;
            }
            for (index, &score) in (at..).zip(chunk) {
                self.push(Hit { index, score });
            }
        }
    }

    #[cold]
    fn cut(&mut self) {
        if self.keys.len() > self.k && self.k > 0 {
            let (_, &mut worst, _) = self.keys.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.floor = worst;
            self.keys.truncate(self.k);
        }
    }

    /// The hits, best first; leaves the selection empty.
    pub fn take_sorted(&mut self) -> Vec<Hit> {
        let mut hits = Vec::new();
        self.take_sorted_into(&mut hits);
        hits
    }

    /// As [`TopK::take_sorted`], in place of what `hits` held; allocates only when they are too short.
    pub fn take_sorted_into(&mut self, hits: &mut Vec<Hit>) {
        self.cut();
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        hits.clear();
        hits.extend(self.keys.drain(..).map(hit));
        self.reset(self.k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_full_sort(scores in proptest::collection::vec(prop_oneof![-3i8..3, Just(-3i8)], 0..200), k in 0usize..60) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut expected: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut top = TopK::new(k);
            top.push_scores(0, &scores);
            let got: Vec<(usize, f32)> = top.take_sorted().iter().map(|h| (h.index as usize, h.score)).collect();
            prop_assert_eq!(got, &expected[..k.min(scores.len())]);
        }
    }

    proptest! {
        #[test]
        fn keys_order_as_hits(a in any::<f32>(), b in any::<f32>(), i in 0u32..9, j in 0u32..9) {
            let (a, b) = (Hit { index: i, score: a }, Hit { index: j, score: b });
            prop_assert_eq!(key(a) > key(b), a.before(&b));
            let back = hit(key(a));
            prop_assert!(back.index == a.index && (back.score == a.score || back.score.is_nan() && a.score.is_nan()));
        }

        /// Many more than k, in one selection used again, with a cut every few hits.
        #[test]
        fn long_inputs_and_reuse(scores in proptest::collection::vec(-99i16..99, 300..900), k in 1usize..40) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut expected: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
            expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let (mut top, mut hits) = (TopK::new(3), vec![Hit { index: 7, score: 7.0 }]);
            top.push_scores(0, &[5.0; 200]);
            for _ in 0..2 {
                top.reset(k);
                top.push_scores(0, &scores);
                top.take_sorted_into(&mut hits);
                let got: Vec<(usize, f32)> = hits.iter().map(|h| (h.index as usize, h.score)).collect();
                prop_assert_eq!(&got, &expected[..k]);
            }
        }
    }

    #[test]
    fn nan_ranks_last() {
        let mut top = TopK::new(2);
        top.push_scores(0, &[f32::NAN, 1.0, f32::NAN, 0.0]);
        assert_eq!(top.take_sorted().iter().map(|h| h.index).collect::<Vec<_>>(), [1, 3]);
    }
}
