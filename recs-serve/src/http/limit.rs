//! How much a tenant may ask.

use super::Problem;
use crate::error::{Error, Result};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

const SECONDS_A_DAY: i64 = 86_400;

/// Limits of one tenant; what is not set is not limited. Each process counts for itself, from its start: of several servers behind
/// one address each allows as much.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    /// Requests a second over time; probes do not count.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests at once after a pause. Without it as many as in a second.
    pub burst: Option<NonZeroU32>,
    /// Lists of products a day (UTC, by the host's clock): a batch counts each of its requests.
    pub lists_per_day: Option<u64>,
}

/// The limits, and what was used of them.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    limits: TenantLimits,
    rate: Option<DefaultDirectRateLimiter>,
    /// The day, and the lists of it.
    used: Mutex<(i64, u64)>,
}

impl Limiter {
    /// # Errors
    /// [`Error::Config`] for a burst without a rate.
    pub(super) fn new(limits: TenantLimits) -> Result<Self> {
        if limits.burst.is_some() && limits.requests_per_second.is_none() {
            return Err(Error::config("limits.burst", "has no effect without requests_per_second"));
        }
        let rate = limits.requests_per_second.map(|per_second| {
            RateLimiter::direct(Quota::per_second(per_second).allow_burst(limits.burst.unwrap_or(per_second)))
        });
        Ok(Self { limits, rate, used: Mutex::default() })
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 when there were too many lately.
    pub(super) fn request(&self) -> Result<(), Problem> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.check().map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            Problem::rate_limited(wait.as_secs_f64().ceil() as u64)
        })
    }

    /// Counts lists of products; all or none of them.
    ///
    /// # Errors
    /// 429 when they are more than are left today, 422 when they are more than any day has.
    pub(super) fn lists(&self, lists: u64, now: i64) -> Result<(), Problem> {
        let Some(limit) = self.limits.lists_per_day else { return Ok(()) };
        if lists > limit {
            return Err(Problem::beyond_quota(lists, limit));
        }
        let today = now.div_euclid(SECONDS_A_DAY);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.0 != today {
            *used = (today, 0);
        }
        if used.1.saturating_add(lists) > limit {
            let left = limit - used.1.min(limit);
            return Err(Problem::quota_exhausted(
                left,
                (SECONDS_A_DAY - now.rem_euclid(SECONDS_A_DAY)) as u64,
            ));
        }
        used.1 += lists;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_beyond_the_burst_wait() {
        let one = NonZeroU32::new(1);
        let limiter = Limiter::new(TenantLimits {
            requests_per_second: one,
            burst: NonZeroU32::new(3),
            lists_per_day: None,
        });
        let limiter = limiter.unwrap();
        assert!((0..3).all(|_| limiter.request().is_ok()));
        let refused = limiter.request().unwrap_err();
        assert_eq!((refused.status, refused.retry_after_s), (429, NonZeroU32::new(1)));
        assert!(Limiter::new(TenantLimits { burst: one, ..TenantLimits::default() }).is_err());
        let unlimited = Limiter::default();
        assert!((0..1000).all(|_| unlimited.request().is_ok() && unlimited.lists(u64::MAX, 0).is_ok()));
    }

    #[test]
    fn lists_are_counted_by_day_and_all_or_none() {
        let limiter =
            Limiter::new(TenantLimits { lists_per_day: Some(10), ..TenantLimits::default() }).unwrap();
        let evening = 20 * SECONDS_A_DAY - 60;
        limiter.lists(7, evening).unwrap();
        let refused = limiter.lists(4, evening).unwrap_err();
        assert_eq!((refused.status, refused.retry_after_s), (429, NonZeroU32::new(60)));
        assert!(refused.detail.contains("3 lists"), "{}", refused.detail);
        let never = limiter.lists(11, evening).unwrap_err();
        assert_eq!((never.status, never.retry_after_s), (422, None));
        limiter.lists(3, evening).unwrap();
        assert!(limiter.lists(1, evening + 59).is_err() && limiter.lists(10, evening + 60).is_ok());
    }
}
