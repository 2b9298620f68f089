//! The binary form of `numeric`: digits to the base 10,000.
//!
//! ```text
//!  i16 number of digits | i16 weight of the first | u16 sign | u16 digits shown after the point | digits, u16 each
//! ```
//! Digit i counts 10000^(weight - i). Sign: 0x0000 plus, 0x4000 minus, else NaN and the infinities
//! (`numeric_send` in the server's `src/backend/utils/adt/numeric.c`).

use arrow::datatypes::i256;

const PLUS: u16 = 0x0000;
const MINUS: u16 = 0x4000;
const BASE_DIGITS: i32 = 4;

/// Groups whose value fits 64 bits, and whose value times 10^18 fits 128.
const SHORT: usize = 4;

/// A `numeric` as it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numeric<'a> {
    digits: &'a [u8],
    weight: i32,
    negative: bool,
}

/// Why a `numeric` is no decimal of the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoDecimal {
    /// NaN or an infinity.
    Special,
    /// More digits than the type has, which the server's own declaration excludes.
    TooWide,
    /// Not the binary form of a `numeric`.
    Malformed,
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

impl<'a> Numeric<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, NoDecimal> {
        let header = |at| word(bytes, at).ok_or(NoDecimal::Malformed);
        let (count, weight, sign) = (header(0)?, header(2)?.cast_signed(), header(4)?);
        header(6)?;
        let negative = match sign {
            PLUS => false,
            MINUS => true,
            _ => return Err(NoDecimal::Special),
        };
        let digits = &bytes[8..];
        let ordinary = digits.as_chunks::<2>().0.iter().all(|d| u16::from_be_bytes(*d) < 10_000);
        if digits.len() != usize::from(count) * 2 || !ordinary {
            return Err(NoDecimal::Malformed);
        }
        Ok(Self { digits, weight: i32::from(weight), negative })
    }

    fn groups(&self) -> impl Iterator<Item = u16> + 'a {
        self.digits.as_chunks::<2>().0.iter().map(|d| u16::from_be_bytes(*d))
    }

    /// The value times 10^`scale`, as long as that is whole.
    pub(super) fn unscaled(&self, scale: i8) -> Result<i128, NoDecimal> {
        let groups = self.digits.len() / 2;
        let shift = BASE_DIGITS * (self.weight + 1 - groups as i32) + i32::from(scale);
        if groups <= SHORT && (-18..=18).contains(&shift) {
            let whole = self.groups().fold(0u64, |sum, digit| sum * 10_000 + u64::from(digit));
            let power = 10u64.pow(shift.unsigned_abs());
            let magnitude = if shift >= 0 {
                i128::from(whole) * i128::from(power)
            } else if whole % power == 0 {
                i128::from(whole / power)
            } else {
                return Err(NoDecimal::TooWide);
            };
            return Ok(if self.negative { -magnitude } else { magnitude });
        }
        self.wide(scale)?.to_i128().ok_or(NoDecimal::TooWide)
    }

    /// The same for any length, digit by digit.
    pub(super) fn wide(&self, scale: i8) -> Result<i256, NoDecimal> {
        let ten = i256::from_i128(10);
        let mut sum = i256::ZERO;
        let mut exponent = BASE_DIGITS * (self.weight + 1) + i32::from(scale);
        for group in self.groups() {
            for power in [1000, 100, 10, 1] {
                let digit = i128::from(group / power % 10);
                exponent -= 1;
                if exponent >= 0 {
                    let next = sum.checked_mul(ten).and_then(|s| s.checked_add(i256::from_i128(digit)));
                    sum = next.ok_or(NoDecimal::TooWide)?;
                } else if digit != 0 {
                    return Err(NoDecimal::TooWide);
                }
            }
        }
        // Zeros that were not sent.
        while exponent > 0 && sum != i256::ZERO {
            sum = sum.checked_mul(ten).ok_or(NoDecimal::TooWide)?;
            exponent -= 1;
        }
        Ok(if self.negative { sum.wrapping_neg() } else { sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(weight: i16, sign: u16, digits: &[u16]) -> Vec<u8> {
        let head = [digits.len() as u16, weight.cast_unsigned(), sign, 0];
        head.iter().chain(digits).flat_map(|w| w.to_be_bytes()).collect()
    }

    /// What the server sends for `value` / 10^`scale`: groups aligned at the point, zeros at both ends left out.
    fn sent(value: i128, scale: usize) -> Vec<u8> {
        let padding = scale.next_multiple_of(4) - scale;
        let text = format!("{}{}", value.unsigned_abs(), "0".repeat(padding));
        let text = format!("{text:0>width$}", width = text.len().next_multiple_of(4));
        let groups: Vec<u16> =
            text.as_bytes().chunks(4).map(|c| std::str::from_utf8(c).unwrap().parse().unwrap()).collect();
        let mut weight = groups.len() as i16 - (scale + padding) as i16 / 4 - 1;
        let leading = groups.iter().take_while(|g| **g == 0).count();
        weight -= leading as i16;
        let end = groups.iter().rposition(|g| *g != 0).map_or(leading, |at| at + 1);
        encoded(weight, if value < 0 { MINUS } else { PLUS }, &groups[leading.min(end)..end])
    }

    #[test]
    fn special_and_damaged_values_are_told_apart() {
        assert_eq!(Numeric::parse(&encoded(0, 0xc000, &[])).unwrap_err(), NoDecimal::Special);
        assert_eq!(Numeric::parse(&encoded(0, 0xd000, &[])).unwrap_err(), NoDecimal::Special);
        assert_eq!(Numeric::parse(&encoded(0, 0, &[10_000])).unwrap_err(), NoDecimal::Malformed);
        assert_eq!(Numeric::parse(&encoded(0, 0, &[1])[..9]).unwrap_err(), NoDecimal::Malformed);
        assert_eq!(Numeric::parse(&[]).unwrap_err(), NoDecimal::Malformed);
        let third = encoded(-1, 0, &[3333]);
        assert_eq!(Numeric::parse(&third).unwrap().unscaled(2), Err(NoDecimal::TooWide));
        assert_eq!(Numeric::parse(&encoded(30_000, 0, &[1])).unwrap().unscaled(2), Err(NoDecimal::TooWide));
        assert_eq!(Numeric::parse(&encoded(0, 0, &[])).unwrap().unscaled(2), Ok(0));
    }

    proptest! {
        #[test]
        fn every_decimal_comes_back(value in -10i128.pow(38) + 1..10i128.pow(38), digits in 1u32..38, scale in 0usize..=38) {
            let value = value % 10i128.pow(digits);
            let bytes = sent(value, scale);
            let numeric = Numeric::parse(&bytes).unwrap();
            prop_assert_eq!(numeric.unscaled(scale as i8), Ok(value));
            prop_assert_eq!(numeric.wide(scale as i8).map(i256::to_i128), Ok(Some(value)));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), scale in 0i8..=76) {
            if let Ok(numeric) = Numeric::parse(&bytes) {
                let _ = (numeric.unscaled(scale), numeric.wide(scale));
            }
        }
    }
}
