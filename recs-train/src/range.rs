//! Ranges of settings. Every refusal says the value and what is allowed.

use crate::error::{Error, Result};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Refuses a number that is not above 0.
pub(crate) fn positive<T: Copy + Display + Into<f64>>(field: &str, value: T) -> Result<()> {
    let number = value.into();
    if number.is_finite() && number > 0.0 { Ok(()) } else { refuse(field, value, "must be above 0") }
}

/// Refuses a number below 0.
pub(crate) fn not_negative<T: Copy + Display + Into<f64>>(field: &str, value: T) -> Result<()> {
    let number = value.into();
    if number.is_finite() && number >= 0.0 { Ok(()) } else { refuse(field, value, "must not be negative") }
}

/// Refuses a value outside a range.
pub(crate) fn within<T: PartialOrd + Display>(
    field: &str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<()> {
    if allowed.contains(&value) {
        return Ok(());
    }
    refuse(field, value, &format!("allowed are {} to {}", allowed.start(), allowed.end()))
}

fn refuse(field: &str, value: impl Display, allowed: &str) -> Result<()> {
    Err(Error::config(field, format!("is {value}, {allowed}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(refused: Result<()>) -> String {
        refused.unwrap_err().to_string()
    }

    #[test]
    fn refusals_say_field_and_value() {
        assert_eq!(said(positive("a.b", 0.0f32)), "configuration `a.b`: is 0, must be above 0");
        assert_eq!(said(not_negative("a", -0.1f32)), "configuration `a`: is -0.1, must not be negative");
        assert_eq!(said(within("a", 7usize, 1..=6)), "configuration `a`: is 7, allowed are 1 to 6");
        assert!(
            positive("a", 1e-30f32).is_ok()
                && not_negative("a", 0.0f64).is_ok()
                && within("a", 6, 1..=6).is_ok()
        );
    }

    #[test]
    fn what_is_no_number_is_in_no_range() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(positive("a", value).is_err() && not_negative("a", value).is_err());
            assert!(within("a", value, 0.0..=1.0).is_err());
        }
    }
}
