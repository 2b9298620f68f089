//! Which customers a version on trial answers.

use recs_core::hash::fingerprint64;

/// A share of the customers, the same on every server and every day.
///
/// A customer's place between 0 and 1 is a hash of id and salt; those below the share are in. So a larger share keeps all who
/// were in a smaller one, and another salt (the name of the trial, say) draws others.
///
/// ```
/// use recs_serve::deploy::Split;
/// let (tenth, half) = (Split::new(0.1, "v7"), Split::new(0.5, "v7"));
/// let customers: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
/// let share = |split: &Split| customers.iter().filter(|id| split.has(id)).count();
/// assert!((70..130).contains(&share(&tenth)) && (450..550).contains(&share(&half)));
/// assert!(customers.iter().all(|id| !tenth.has(id) || half.has(id)));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Hashes below it are in; 2^64 is everybody.
    below: u128,
    salt: String,
}

impl Split {
    /// `share` of the customers, cut to 0 to 1; what is not a number is nobody.
    pub fn new(share: f64, salt: impl Into<String>) -> Self {
        let all = 2f64.powi(64);
        // Exact for 0 and 1, and to 2^-53 between them; NaN becomes 0.
        let below = (share.clamp(0.0, 1.0) * all) as u128;
        Self { below, salt: salt.into() }
    }

    /// True for a customer of the share. Somebody unknown (an empty id) is one customer like any other.
    pub fn has(&self, customer_id: &str) -> bool {
        // The length keeps salt and id apart.
        let salt_bytes = (self.salt.len() as u64).to_le_bytes();
        let key = [&salt_bytes[..], self.salt.as_bytes(), customer_id.as_bytes()].concat();
        u128::from(fingerprint64(&key)) < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_are_nested_and_everybody_or_nobody_at_the_ends(id in "\\PC{0,12}", a in 0f64..=1.0, b in 0f64..=1.0, salt in "[a-z0-9]{0,4}") {
            let (small, large) = (Split::new(a.min(b), salt.clone()), Split::new(a.max(b), salt.clone()));
            prop_assert!(!small.has(&id) || large.has(&id));
            prop_assert!(Split::new(1.0, salt.clone()).has(&id) && !Split::new(0.0, salt.clone()).has(&id));
            prop_assert!(!Split::new(f64::NAN, salt).has(&id));
        }
    }

    #[test]
    fn the_share_is_met_whatever_the_salt() {
        let ids: Vec<String> = (0..20_000).map(|i| format!("customer-{i}")).collect();
        let mut sides = Vec::new();
        for salt in ["", "v1", "v2", "1v"] {
            let split = Split::new(0.2, salt);
            let side: Vec<bool> = ids.iter().map(|id| split.has(id)).collect();
            let count = side.iter().filter(|s| **s).count();
            // Five standard deviations of 20,000 throws.
            assert!((4000 - 283..4000 + 283).contains(&count), "{count} with salt {salt:?}");
            sides.push(side);
        }
        assert!(sides.windows(2).all(|pair| pair[0] != pair[1]), "salts draw different customers");
    }

    #[test]
    fn the_same_customers_for_ever() {
        let inside: Vec<u32> = (0..40).filter(|i| Split::new(0.25, "v7").has(&i.to_string())).collect();
        assert_eq!(inside, GOLDEN);
    }

    /// From the first release on: a customer must not change sides with a new version of this crate.
    const GOLDEN: &[u32] = &[0, 2, 7, 16, 20, 21, 23, 25];
}
