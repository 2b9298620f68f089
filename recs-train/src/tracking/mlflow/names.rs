//! What MLflow takes as the name of a metric, parameter or tag, and how long values may be.

use std::borrow::Cow;

/// Longest name.
const NAME_CHARS: usize = 250;
/// Longest value of a tag that servers since 2.0 take.
pub(super) const TAG_VALUE_CHARS: usize = 5000;
/// The rule in words.
pub(super) const RULE: &str =
    "names have 1 to 250 letters, digits, spaces and _ - . : /, and no empty, . or .. part between slashes";

/// The name itself when MLflow takes it; otherwise every character it does not take as `_`, cut to its length. Two names
/// may become the same.
pub(super) fn clean(name: &str) -> Cow<'_, str> {
    let takes = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    // MLflow refuses what would be another path when taken as one.
    let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_plain && name.chars().all(takes) && name.len() <= NAME_CHARS {
        return Cow::Borrowed(name);
    }
    let replace = |c: char| if takes(c) && (is_plain || c != '/') { c } else { '_' };
    let cleaned: String = name.chars().take(NAME_CHARS).map(replace).collect();
    match cleaned.trim_end_matches('/') {
        "" | "." | ".." => Cow::Borrowed("_"),
        cleaned => Cow::Owned(cleaned.to_owned()),
    }
}

/// At most `chars` characters of `value`; true when something was cut off.
pub(super) fn cut(value: String, chars: usize) -> (String, bool) {
    match value.char_indices().nth(chars) {
        Some((at, _)) => (value[..at].to_owned(), true),
        None => (value, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_names_stay_and_bad_ones_become_good() {
        for good in ["loss", "refit/loss", "recall @100".replace('@', "at").as_str(), "a.b:c-d"] {
            assert_eq!(clean(good), good);
        }
        for (bad, cleaned) in [
            ("recall@100", "recall_100"),
            ("/a", "_a"),
            ("a//b", "a__b"),
            ("../x", ".._x"),
            ("", "_"),
            ("..", "_"),
        ] {
            assert_eq!(clean(bad), cleaned);
        }
        assert_eq!(clean(&"é".repeat(300)).len(), 250);
    }

    proptest! {
        #[test]
        fn a_cleaned_name_is_clean(name in ".{0,300}") {
            let once = clean(&name).into_owned();
            prop_assert!(!once.is_empty() && once.len() <= 250);
            prop_assert_eq!(clean(&once).into_owned(), once.clone());
        }

        #[test]
        fn a_cut_value_is_a_prefix(value in ".{0,40}", chars in 0usize..50) {
            let (kept, was_cut) = cut(value.clone(), chars);
            prop_assert!(value.starts_with(&kept));
            prop_assert_eq!((kept.chars().count() == chars.min(value.chars().count()), kept != value), (true, was_cut));
        }
    }
}
