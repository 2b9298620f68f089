//! Calendar days as Arrow and TFRecords count them.

use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Seconds of a day.
pub(crate) const SECONDS_PER_DAY: i64 = 86_400;

/// A calendar day, counted from 1970-01-01. Text form `2018-01-01`.
///
/// ```
/// use recs_etl::Day;
/// let day: Day = "2018-01-01".parse()?;
/// assert_eq!(day.unix_seconds(), 1_514_764_800);
/// assert_eq!((day - 90).to_string(), "2017-10-03");
/// # Ok::<(), recs_etl::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Day(i32);

impl Day {
    /// The day so many days after 1970-01-01.
    pub fn from_epoch_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub fn epoch_days(self) -> i32 {
        self.0
    }

    /// Midnight at the day's start, in Unix seconds.
    pub fn unix_seconds(self) -> i64 {
        i64::from(self.0) * SECONDS_PER_DAY
    }

    /// From a civil date.
    pub(crate) fn from_civil(day: Date) -> Self {
        Self(day.since(EPOCH).map_or(0, |span| span.get_days()))
    }
}

const EPOCH: Date = date(1970, 1, 1);

impl std::ops::Add<i32> for Day {
    type Output = Self;
    fn add(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }
}

impl std::ops::Sub<i32> for Day {
    type Output = Self;
    fn sub(self, days: i32) -> Self {
        Self(self.0.saturating_sub(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = jiff::Span::new().try_days(self.0);
        match span.and_then(|days| EPOCH.checked_add(days)) {
            Ok(day) => write!(f, "{day}"),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten();
        parsed
            .map(Self::from_civil)
            .ok_or_else(|| crate::Error::config("day", format!("`{text}` is not a day like 2018-01-01")))
    }
}

impl TryFrom<String> for Day {
    type Error = crate::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_round_trip_through_text() {
        for days in [-719_162, -1, 0, 1, 17_532, 2_932_896] {
            let day = Day::from_epoch_days(days);
            assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
        }
        assert_eq!("9999-12-31".parse::<Day>().unwrap().epoch_days(), 2_932_896);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "2018-1-1", "2018-02-30", "2018-01-01T00", "20180101", "01-01-2018"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
