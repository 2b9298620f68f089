//! How versions do by what customers did.

use super::event::{Event, JUDGED_LENGTH, read};
use crate::error::Result;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use recs_core::hash::fingerprint64;
use recs_core::store::{TableFile, TenantRoot};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::pin::pin;

/// Files on their way at a time.
const FETCHED_AT_ONCE: usize = 16;
/// Largest file of events that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Versions that are told apart; all others are one.
const MAX_VERSIONS: usize = 1024;
pub(super) const OTHERS: &str = "others";
/// Of a normal distribution 95 % lie within so many standard deviations.
const NORMAL_95: f64 = 1.959_963_985;

/// What customers did with the lists of one version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counts {
    by_outcome: [u64; 3],
    /// Purchases, of whatever list, that the version was asked for.
    judged: u64,
    /// And that were in its first 10, and 100.
    hits: [u64; 2],
}

/// Counts of all versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes(BTreeMap<String, Counts>);

/// A share, and where it lies with 95 % confidence (Wilson 1927).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Observed.
    pub rate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Rate {
    /// None without trials.
    fn of(hits: u64, trials: u64) -> Option<Self> {
        if trials == 0 {
            return None;
        }
        // A purchase may be told without the look that led to it.
        let (n, rate) = (trials as f64, (hits as f64 / trials as f64).min(1.0));
        let z = NORMAL_95 * NORMAL_95;
        let middle = (rate + z / (2.0 * n)) / (1.0 + z / n);
        let half = NORMAL_95 / (1.0 + z / n) * (rate * (1.0 - rate) / n + z / (4.0 * n * n)).sqrt();
        Some(Self { rate, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
    }
}

/// How one version does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionOutcomes {
    /// Products of its lists that were seen.
    pub shown: u64,
    /// And looked at.
    pub clicked: u64,
    /// And bought.
    pub bought: u64,
    /// Clicked of shown; None where nothing was shown.
    pub click_rate: Option<Rate>,
    /// Bought of shown.
    pub purchase_rate: Option<Rate>,
    /// Purchases of all customers that the version was asked for, whoever made the list: so a shadow is judged, too.
    pub judged: u64,
    /// Of these, the share that is in the version's first 10.
    pub recall_at_10: Option<Rate>,
    /// And in its first 100.
    pub recall_at_100: Option<Rate>,
}

impl Outcomes {
    /// Adds an event.
    pub fn push(&mut self, event: &Event) {
        if let Some(version) = &event.model_version {
            self.of(version).by_outcome[event.outcome as usize] += 1;
        }
        for judged in &event.judged {
            let counts = self.of(&judged.model_version);
            counts.judged += 1;
            counts.hits[0] += u64::from(judged.rank.is_some_and(|rank| rank <= 10));
            counts.hits[1] += u64::from(judged.rank.is_some_and(|rank| rank as usize <= JUDGED_LENGTH));
        }
    }

    fn of(&mut self, version: &str) -> &mut Counts {
        // Versions are named by clients.
        let is_full = self.0.len() >= MAX_VERSIONS && !self.0.contains_key(version);
        self.0.entry(if is_full { OTHERS } else { version }.to_owned()).or_default()
    }

    /// How each version does, by name.
    pub fn report(&self) -> BTreeMap<String, VersionOutcomes> {
        let report = |(version, counts): (&String, &Counts)| {
            let [shown, clicked, bought] = counts.by_outcome;
            let outcomes = VersionOutcomes {
                shown,
                clicked,
                bought,
                click_rate: Rate::of(clicked, shown),
                purchase_rate: Rate::of(bought, shown),
                judged: counts.judged,
                recall_at_10: Rate::of(counts.hits[0], counts.judged),
                recall_at_100: Rate::of(counts.hits[1], counts.judged),
            };
            (version.clone(), outcomes)
        };
        self.0.iter().map(report).collect()
    }

    /// Counts the events that came on some days, as `2026-01-31`, of all servers, those with the same customer and `event_id` once. What
    /// servers have on their disks is not in it.
    ///
    /// Cost: reads the tables of these days, 16 files at a time; memory for the largest of these, and 16 bytes for each event with an id.
    ///
    /// # Errors
    /// Those of the store; [`recs_core::Error::Corrupt`], [`recs_core::Error::Digest`] for a damaged file.
    pub async fn load(root: &TenantRoot, days: &[String]) -> Result<Self> {
        let (mut outcomes, mut names) = (Self::default(), HashSet::new());
        for day in days {
            let table = root.day_table(super::EVENTS, day)?;
            let folder = table.folder();
            let fetch = async |file: TableFile| {
                let bytes = folder.get(&file.file, MAX_FILE_BYTES).await?;
                Ok::<_, recs_core::Error>((file, bytes))
            };
            // Each server adds a file a minute: one after the other they would take longer than anybody waits.
            let mut files = pin!(stream::iter(table.files().await?).map(fetch).buffered(FETCHED_AT_ONCE));
            while let Some((file, bytes)) = files.try_next().await? {
                let shown = folder.show(&file.file);
                file.digest.verify(&shown, &recs_core::artifact::Digest::of(&bytes))?;
                outcomes.push_file(bytes, &shown, &mut names)?;
            }
        }
        Ok(outcomes)
    }

    fn push_file(&mut self, bytes: Bytes, file: &str, names: &mut HashSet<u64>) -> Result<()> {
        let damaged = |reason: String| recs_core::Error::corrupt(file, reason);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
        for batch in reader.map_err(|e| damaged(e.to_string()))? {
            let batch = batch.map_err(|e| damaged(e.to_string()))?;
            let events = read(&batch).ok_or_else(|| damaged("its columns are not those of events".into()))?;
            let is_new = |event: &&Event| {
                // Clients may use the same names.
                let name = event.event_id.as_ref().map(|id| {
                    fingerprint64(
                        format!("{} {} {id}", event.customer_id.len(), event.customer_id).as_bytes(),
                    )
                });
                name.is_none_or(|name| names.insert(name))
            };
            events.iter().filter(is_new).for_each(|event| self.push(event));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{AskedWith, Outcome};
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Newcombe 1998, table I: 81 of 263.
        let rate = Rate::of(81, 263).unwrap();
        assert!((rate.low - 0.2553).abs() < 1e-4 && (rate.high - 0.3662).abs() < 1e-4, "{rate:?}");
        let none = Rate::of(0, 20).unwrap();
        assert!(none.rate == 0.0 && none.low == 0.0 && (none.high - 0.1611).abs() < 1e-4, "{none:?}");
        assert_eq!(Rate::of(3, 0), None);
    }

    #[test]
    fn clients_cannot_name_versions_without_end() {
        let mut outcomes = Outcomes::default();
        for i in 0..2000 {
            let event = Event {
                at_ms: 0,
                received_ms: 0,
                customer_id: String::new(),
                product_id: String::new(),
                outcome: Outcome::Shown,
                model_version: Some(format!("v{i}")),
                is_told: true,
                request_id: None,
                event_id: None,
                asked: AskedWith::default(),
                judged: Vec::new(),
            };
            outcomes.push(&event);
        }
        let report = outcomes.report();
        assert_eq!((report.len(), report[OTHERS].shown), (MAX_VERSIONS + 1, 2000 - MAX_VERSIONS as u64));
    }
}
