//! How far what comes in is from what a model was trained on.

/// Shares below this count as this: a bin that one side never saw would otherwise make the index infinite.
const LEAST_SHARE: f64 = 1e-4;

/// Population stability index of two distributions over the same bins: the sum of (actual - expected) ln(actual / expected).
///
/// 0 for equal ones; below 0.1 is commonly read as stable, above 0.25 as another population (Siddiqi 2006, "Credit Risk
/// Scorecards"). Of few observations it is large by chance: about (bins - 1) (1/n + 1/m) is expected of n and m of the same
/// population (Yurdakul and Naranjo 2020, "Statistical properties of the population stability index"). Both sides need not sum to
/// one. None when they differ in length or one is empty or all zero.
///
/// ```
/// use recs_core::metrics::stability_index;
/// assert_eq!(stability_index(&[1.0, 3.0], &[10.0, 30.0]), Some(0.0));
/// assert!(stability_index(&[0.5, 0.5], &[0.9, 0.1]).is_some_and(|index| index > 0.25));
/// ```
pub fn stability_index(expected: &[f64], actual: &[f64]) -> Option<f64> {
    let (of_expected, of_actual) = (expected.iter().sum::<f64>(), actual.iter().sum::<f64>());
    let has_shares = |sum: f64| sum.is_finite() && sum > 0.0;
    if expected.len() != actual.len() || !has_shares(of_expected) || !has_shares(of_actual) {
        return None;
    }
    let pairs = expected.iter().zip(actual);
    let term = |(e, a): (&f64, &f64)| {
        let (e, a) = ((e / of_expected).max(LEAST_SHARE), (a / of_actual).max(LEAST_SHARE));
        (a - e) * (a / e).ln()
    };
    Some(pairs.map(term).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_example_by_hand() {
        // 0.3 ln(0.8 / 0.5) - 0.3 ln(0.2 / 0.5)
        let index = stability_index(&[0.5, 0.5], &[0.8, 0.2]).unwrap();
        assert!((index - 0.3 * (1.6f64.ln() - 0.4f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_compare_is_none() {
        for (expected, actual) in
            [(&[][..], &[][..]), (&[1.0], &[0.0]), (&[0.0], &[1.0]), (&[1.0], &[1.0, 2.0])]
        {
            assert_eq!(stability_index(expected, actual), None);
        }
        assert_eq!(stability_index(&[f64::NAN], &[1.0]), None);
    }

    proptest! {
        #[test]
        fn it_is_symmetric_and_zero_only_for_equals(a in proptest::collection::vec(0.0f64..9.0, 2..9), b in proptest::collection::vec(0.0f64..9.0, 9)) {
            let b = &b[..a.len()];
            if let (Some(there), Some(back)) = (stability_index(&a, b), stability_index(b, &a)) {
                prop_assert!(there >= 0.0 && (there - back).abs() < 1e-9);
                prop_assert!(stability_index(&a, &a).unwrap().abs() < 1e-12);
            }
        }
    }
}
