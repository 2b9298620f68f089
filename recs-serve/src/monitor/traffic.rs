//! How many requests, how long, how many failed: of the last hour, minute by minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of latencies grow by a quarter of an octave from 10 µs: the last is at about 10 minutes.
const BINS: usize = 104;
const FIRST: f64 = 1e-5;
const STEPS_AN_OCTAVE: f64 = 4.0;

/// Counts since the process began.
#[derive(Debug)]
pub(super) struct Traffic {
    bins: [AtomicU64; BINS],
    requests: AtomicU64,
    /// Answers with a status from 500.
    failed: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        let [requests, failed] = [AtomicU64::new(0), AtomicU64::new(0)];
        Self { bins: std::array::from_fn(|_| AtomicU64::new(0)), requests, failed }
    }
}

impl Traffic {
    /// `took` of those whose time says something: a batch takes as long as it is.
    pub(super) fn count(&self, has_failed: bool, took: Option<Duration>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(took) = took {
            self.bins[bin(took)].fetch_add(1, Ordering::Relaxed);
        }
        if has_failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (requests, failed) = (read(&self.requests), read(&self.failed));
        Counts { bins: self.bins.iter().map(read).collect(), requests, failed }
    }
}

fn bin(took: Duration) -> usize {
    let steps = (took.as_secs_f64() / FIRST).log2() * STEPS_AN_OCTAVE;
    (steps.max(0.0) as usize).min(BINS - 1)
}

/// The middle of a bin, by ratio.
fn seconds(bin: usize) -> f64 {
    FIRST * ((bin as f64 + 0.5) / STEPS_AN_OCTAVE).exp2()
}

#[derive(Debug, Clone, Default)]
struct Counts {
    bins: Vec<u64>,
    requests: u64,
    failed: u64,
}

/// Requests of a time.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct TrafficReport {
    /// How long the time was.
    pub seconds: f64,
    /// Answered, refusals (4xx) left out.
    pub requests: u64,
    /// Answered with a status from 500: the server's fault.
    pub failed: u64,
    /// Failed of all; 0 without requests.
    pub error_rate: f64,
    /// Milliseconds for a single list, within 9 %; None without such requests.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p95_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
}

/// The counts at the ends of the last times.
#[derive(Debug, Default)]
pub(super) struct TrafficWindow(VecDeque<(Duration, Counts)>);

impl TrafficWindow {
    /// Ends a time at `now`, and forgets all but the last `kept`.
    pub(super) fn tick(&mut self, traffic: &Traffic, now: Duration, kept: usize) {
        self.0.push_back((now, traffic.read()));
        while self.0.len() > kept + 1 {
            self.0.pop_front();
        }
    }

    /// What came since the beginning of what is kept.
    pub(super) fn report(&self) -> TrafficReport {
        self.since(self.0.front())
    }

    /// What came lately: as many of the last times as have `least` requests, so that few requests add up to something that can be
    /// judged.
    pub(super) fn latest(&self, least: u64) -> TrafficReport {
        let requests = self.0.back().map_or(0, |(_, counts)| counts.requests);
        let enough = |(_, counts): &&(Duration, Counts)| requests - counts.requests >= least.max(1);
        self.since(self.0.iter().rev().skip(1).find(enough).or(self.0.front()))
    }

    fn since(&self, first: Option<&(Duration, Counts)>) -> TrafficReport {
        let (Some((from, before)), Some((to, after))) = (first, self.0.back()) else {
            return summary(0.0, &Counts::default());
        };
        let bins = after.bins.iter().zip(&before.bins).map(|(after, before)| after - before).collect();
        let (requests, failed) = (after.requests - before.requests, after.failed - before.failed);
        summary((*to - *from).as_secs_f64(), &Counts { bins, requests, failed })
    }
}

fn summary(seconds_long: f64, counts: &Counts) -> TrafficReport {
    let (requests, timed) = (counts.requests, counts.bins.iter().sum::<u64>());
    let quantile = |share: f64| {
        let wanted = (timed as f64 * share).ceil().max(1.0) as u64;
        let mut sum = 0;
        let at = counts.bins.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        at.map(|bin| seconds(bin) * 1e3)
    };
    TrafficReport {
        seconds: seconds_long,
        requests,
        failed: counts.failed,
        error_rate: if requests == 0 { 0.0 } else { counts.failed as f64 / requests as f64 },
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_tenth() {
        let (traffic, mut window) = (Traffic::default(), TrafficWindow::default());
        window.tick(&traffic, Duration::ZERO, 60);
        for i in 1..=1000u64 {
            traffic.count(i % 100 == 0, Some(Duration::from_micros(i * 100)));
        }
        window.tick(&traffic, Duration::from_secs(60), 60);
        let report = window.report();
        assert_eq!(
            (report.seconds, report.requests, report.failed, report.error_rate),
            (60.0, 1000, 10, 0.01)
        );
        for (found, expected) in [(report.p50_ms, 50.0), (report.p95_ms, 95.0), (report.p99_ms, 99.0)] {
            let ratio = found.unwrap() / expected;
            assert!((0.9..1.11).contains(&ratio), "{found:?} beside {expected}");
        }
        window.tick(&traffic, Duration::from_secs(120), 60);
        // The last time had none: those before count until there are enough.
        assert_eq!((window.latest(1).requests, window.latest(5000).requests), (1000, 1000));
        traffic.count(true, None);
        window.tick(&traffic, Duration::from_secs(150), 60);
        let last = window.latest(1);
        assert_eq!((last.requests, last.failed, last.seconds, last.p99_ms), (1, 1, 30.0, None));
        assert_eq!(window.latest(2).requests, 1001);
        for minute in 3..70 {
            window.tick(&traffic, Duration::from_secs(60 * minute), 60);
        }
        assert_eq!((window.report().requests, window.report().seconds), (0, 3600.0));
    }

    #[test]
    fn every_time_has_a_bin() {
        assert_eq!((bin(Duration::ZERO), bin(Duration::MAX)), (0, BINS - 1));
        assert!(bin(Duration::from_secs(300)) < BINS - 1);
    }
}
