//! Texts end to end.

use super::Slab;

/// Texts that do not change. Memory: their bytes, and 8 for the end of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Texts {
    bytes: Slab<u8>,
    ends: Slab<u64>,
}

impl Texts {
    /// Joins what [`Texts::parts`] gave. None when these are no texts: ends that descend or lie within a character, bytes that
    /// are no UTF-8.
    ///
    /// Cost: reads all of it.
    pub fn of_parts(bytes: Slab<u8>, ends: Slab<u64>) -> Option<Self> {
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut before = 0;
        for &end in ends.iter() {
            if end < before || !text.is_char_boundary(usize::try_from(end).ok()?) {
                return None;
            }
            before = end;
        }
        (before == text.len() as u64).then_some(Self { bytes, ends })
    }

    /// All bytes, and where each text ends in them.
    pub fn parts(&self) -> (&Slab<u8>, &Slab<u64>) {
        (&self.bytes, &self.ends)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A text; None beyond the last.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&str> {
        let ends = &self.ends[..];
        let end = *ends.get(at)? as usize;
        let start = at.checked_sub(1).map_or(0, |before| ends[before] as usize);
        let bytes = self.bytes.get(start..end)?;
        // SAFETY: whoever makes texts has seen that all bytes are UTF-8 and that no end lies within a character: `of_parts` looks,
        // others join `str`s. Slabs do not change; a mapped file is never written again under its name. A list of a hundred products
        // would spend more on looking again than on finding them.
        Some(unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    /// All texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|at| self.get(at).unwrap_or_default())
    }

    /// Where `text` is among texts that ascend by code point. O(log n).
    pub fn position(&self, text: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.cmp(text) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl<S: AsRef<str>> FromIterator<S> for Texts {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for text in texts {
            bytes.extend_from_slice(text.as_ref().as_bytes());
            ends.push(bytes.len() as u64);
        }
        Self { bytes: bytes.into(), ends: ends.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn texts_come_back(texts in proptest::collection::vec("\\PC{0,6}", 0..40), other in "\\PC{0,3}") {
            let slab: Texts = texts.iter().collect();
            proptest::prop_assert_eq!(slab.iter().collect::<Vec<_>>(), texts.iter().map(String::as_str).collect::<Vec<_>>());
            proptest::prop_assert_eq!((slab.len(), slab.get(texts.len())), (texts.len(), None));
            let (bytes, ends) = slab.parts();
            proptest::prop_assert_eq!(Texts::of_parts(bytes.clone(), ends.clone()), Some(slab));
            let mut sorted = texts.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let slab: Texts = sorted.iter().collect();
            for (at, text) in sorted.iter().enumerate() {
                proptest::prop_assert_eq!(slab.position(text), Some(at));
            }
            proptest::prop_assert_eq!(slab.position(&other).is_some(), sorted.contains(&other));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let of = |bytes: &[u8], ends: &[u64]| Texts::of_parts(bytes.to_vec().into(), ends.to_vec().into());
        assert!(of("é".as_bytes(), &[0, 2]).is_some());
        for (bytes, ends) in [
            ("é".as_bytes(), &[1, 2][..]),
            (b"ab", &[2, 1, 2]),
            (b"ab", &[1]),
            (b"ab", &[3]),
            (b"ab", &[]),
            (b"\xff", &[1]),
            (b"a", &[u64::MAX]),
        ] {
            assert!(of(bytes, ends).is_none(), "{bytes:?} {ends:?}");
        }
    }
}
