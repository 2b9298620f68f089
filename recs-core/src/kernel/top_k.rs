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

/// Keeps the k best hits seen: a heap whose root is the worst of them.
///
/// Cost: one comparison for a score that does not enter, O(log k) for one that does. The result does not depend on the
/// order in which candidates come.
#[derive(Debug, Clone, Default)]
pub struct TopK {
    k: usize,
    heap: Vec<Hit>,
}

impl TopK {
    /// An empty selection of at most `k`.
    pub fn new(k: usize) -> Self {
        Self { k, heap: Vec::new() }
    }

    /// Empties it for a new selection, keeping its memory.
    pub fn reset(&mut self, k: usize) {
        self.k = k;
        self.heap.clear();
    }

    /// The score that a candidate must at least have to enter; negative infinity while there is room.
    #[inline]
    pub fn threshold(&self) -> f32 {
        if self.heap.len() < self.k {
            f32::NEG_INFINITY
        } else {
            self.heap.first().map_or(f32::INFINITY, |h| h.score)
        }
    }

    /// Offers a candidate.
    #[inline]
    pub fn push(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(hit);
            self.rise(self.heap.len() - 1);
        } else if let Some(worst) = self.heap.first_mut()
            && hit.before(worst)
        {
            *worst = hit;
            self.sink();
        }
    }

    /// Offers consecutive candidates beginning at index `first`.
    pub fn push_scores(&mut self, first: u32, scores: &[f32]) {
        let mut chunks = scores.chunks(16).zip((first..).step_by(16));
        for (chunk, at) in &mut chunks {
            let threshold = self.threshold();
            // One vector comparison skips sixteen scores that cannot enter; NaN may not hide behind it while there is room.
            if self.heap.len() == self.k && !chunk.iter().fold(false, |any, &s| any | (s >= threshold)) {
                continue;
            }
            for (i, &score) in (at..).zip(chunk) {
                self.push(Hit { index: i, score });
            }
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.heap[parent].before(&self.heap[at]) {
                break;
            }
            self.heap.swap(parent, at);
            at = parent;
        }
    }

    fn sink(&mut self) {
        let (mut at, n) = (0, self.heap.len());
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut worst = at;
            for child in [left, right] {
                if child < n && self.heap[worst].before(&self.heap[child]) {
                    worst = child;
                }
            }
            if worst == at {
                return;
            }
            self.heap.swap(at, worst);
            at = worst;
        }
    }

    /// The hits, best first; leaves the selection empty.
    pub fn take_sorted(&mut self) -> Vec<Hit> {
        let mut hits = std::mem::take(&mut self.heap);
        hits.sort_unstable_by(|a, b| {
            if a.before(b) { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater }
        });
        hits
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

    #[test]
    fn nan_ranks_last() {
        let mut top = TopK::new(2);
        top.push_scores(0, &[f32::NAN, 1.0, f32::NAN, 0.0]);
        assert_eq!(top.take_sorted().iter().map(|h| h.index).collect::<Vec<_>>(), [1, 3]);
    }
}
