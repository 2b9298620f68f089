//! Hashed n-grams of a text, as fastText takes them (Bojanowski et al. 2017, <https://arxiv.org/abs/1607.04606>).
//!
//! The text is put in lower case and split at ASCII white space; each word gets `<` and `>` around it. Its n-grams are all
//! runs of `from` to `to` characters of that, and, if wanted, the whole of it. Each is hashed to one of `bins` rows.
//!
//! In TensorFlow: `tf.strings.lower(x, "utf-8")`, `tf.strings.split`, `"<" + w + ">"`, `tf.strings.unicode_split`,
//! `tf.strings.ngrams(chars, range(from, to + 1), separator="")`, beside the words themselves
//! `tf.strings.to_hash_bucket_fast(…, bins)` and `tf.nn.embedding_lookup_sparse(…, combiner="mean")`.

use crate::hash::hash_bucket;

/// Which n-grams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NGramRule {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) words: bool,
    pub(super) bins: usize,
}

impl NGramRule {
    /// Rows of the table for a text. O(characters x lengths).
    pub(super) fn rows(self, text: &str) -> Vec<u32> {
        let (mut rows, lower) = (Vec::new(), text.to_lowercase());
        let (mut marked, mut starts) = (String::new(), Vec::new());
        let bin = |part: &str| hash_bucket(part.as_bytes(), self.bins as u64) as u32;
        for word in lower.split_ascii_whitespace() {
            marked.clear();
            marked.extend(["<", word, ">"]);
            starts.clear();
            starts.extend(marked.char_indices().map(|(at, _)| at).chain([marked.len()]));
            for n in self.from..=self.to {
                rows.extend(starts.iter().zip(starts.iter().skip(n)).map(|(&a, &b)| bin(&marked[a..b])));
            }
            if self.words {
                rows.push(bin(&marked));
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 100_000_000;

    fn rows(text: &str, from: usize, to: usize, words: bool) -> Vec<u32> {
        NGramRule { from, to, words, bins: MANY }.rows(text)
    }

    #[test]
    fn are_those_of_the_paper() {
        let of = |parts: &[&str]| -> Vec<u32> {
            parts.iter().map(|p| hash_bucket(p.as_bytes(), MANY as u64) as u32).collect()
        };
        // Section 3.2 of the paper: where, n = 3.
        let where_ = ["<wh", "whe", "her", "ere", "re>", "<where>"];
        assert_eq!(rows("where", 3, 3, true), of(&where_));
        assert_eq!(rows("WHERE ", 3, 3, true), of(&where_));
        assert_eq!(rows(" a\tÄb ", 3, 4, false), of(&["<a>", "<äb", "äb>", "<äb>"]));
        assert_eq!(rows("a", 4, 5, false), of(&[]));
        assert_eq!((rows("", 3, 5, true), rows(" \n", 3, 5, true)), (vec![], vec![]));
    }

    proptest::proptest! {
        #[test]
        fn stay_below_the_bins_and_do_not_cross_words(a in ".{0,12}", b in ".{0,12}", bins in 1usize..50) {
            let rule = NGramRule { from: 2, to: 4, words: true, bins };
            let both = rule.rows(&format!("{a} {b}"));
            proptest::prop_assert!(both.iter().all(|row| (*row as usize) < bins));
            // A sigma at the end of a word depends on what comes behind it.
            if !a.contains('Σ') && !b.contains('Σ') {
                proptest::prop_assert_eq!(both, [rule.rows(&a), rule.rows(&b)].concat());
            }
        }
    }
}
