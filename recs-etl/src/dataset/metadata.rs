//! What `metadata.json` says.

use super::input::DatasetInput;
use super::shard::Span;
use crate::day::{Day, SECONDS_PER_DAY};
use recs_core::dataset::{DATASET_FORMAT_VERSION, DatasetMetadata, Period, ShardInfo, StageCount};
use recs_core::schema::Schema;

/// Folder of the shards, relative to `metadata.json`.
pub(super) const FOLDER: &str = "raw_data";

/// What is known of the rows before they are written.
pub(super) struct Origin {
    period: Option<Period>,
    filters: serde_json::Map<String, serde_json::Value>,
    counts: Vec<StageCount>,
}

impl Origin {
    pub(super) fn of(input: &mut DatasetInput) -> Self {
        Self {
            period: input.period.take(),
            filters: std::mem::take(&mut input.filters),
            counts: std::mem::take(&mut input.counts),
        }
    }

    /// `span` are the smallest and largest timestamps written: they are the period where the input named none.
    pub(super) fn describe(self, schema: &Schema, shards: Vec<ShardInfo>, span: Span) -> DatasetMetadata {
        DatasetMetadata {
            format_version: DATASET_FORMAT_VERSION,
            total_examples: shards.iter().map(|s| s.rows).sum(),
            data_pattern: format!("{FOLDER}/data-*-of-{:05}.tfrecord.gz", shards.len()),
            shards,
            features: DatasetMetadata::features_of(schema),
            schema_digest: schema.record_digest(),
            period: self.period.or_else(|| span.and_then(period)),
            filters: self.filters,
            counts: self.counts,
        }
    }
}

fn period((first, last): (i64, i64)) -> Option<Period> {
    let day =
        |seconds: i64| i32::try_from(seconds.div_euclid(SECONDS_PER_DAY)).ok().map(Day::from_epoch_days);
    Some(Period { first_day: day(first)?.to_string(), last_day: day(last)?.to_string() })
}
