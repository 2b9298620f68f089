//! `metadata.json` of a dataset.

use crate::artifact::Digest;
use crate::error::{Error, Result};
use crate::schema::{DType, Schema};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Name of the file.
pub const METADATA_FILE: &str = "metadata.json";
/// Version of the layout that this library writes; it reads this one.
pub const DATASET_FORMAT_VERSION: u32 = 1;

/// What a dataset holds and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetMetadata {
    /// [`DATASET_FORMAT_VERSION`].
    pub format_version: u32,
    /// Rows in all shards.
    pub total_examples: u64,
    /// For other tools, relative to this file: `raw_data/data-*-of-00025.tfrecord.gz`.
    pub data_pattern: String,
    /// The shards in file order.
    pub shards: Vec<ShardInfo>,
    /// Names and types in the records, in schema order.
    pub features: Vec<FeatureInfo>,
    /// [`Schema::record_digest`] of the schema that wrote it.
    pub schema_digest: String,
    /// Days covered, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// The filters as configured.
    #[serde(default)]
    pub filters: serde_json::Map<String, serde_json::Value>,
    /// Rows before the first and after every filter, in order.
    #[serde(default)]
    pub counts: Vec<StageCount>,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Path relative to `metadata.json`.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Size and SHA-256 of the file.
    #[serde(flatten)]
    pub digest: Digest,
}

/// One feature of the records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureInfo {
    /// The field's name.
    pub name: String,
    /// Its name in the records.
    pub record: String,
    /// Its type in the records.
    pub dtype: DType,
}

/// Days, both inclusive, as `YYYY-MM-DD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// First day.
    pub first_day: String,
    /// Last day.
    pub last_day: String,
}

/// What is left after a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCount {
    /// Name of the stage, e.g. `window`.
    pub stage: String,
    /// Rows.
    pub rows: u64,
    /// Distinct customers.
    pub customers: u64,
    /// Distinct products.
    pub products: u64,
    /// Sum of money as exact decimal text.
    pub revenue: String,
}

impl DatasetMetadata {
    /// Features of a schema, as metadata lists them.
    pub fn features_of(schema: &Schema) -> Vec<FeatureInfo> {
        let info = |f: &crate::schema::Field| FeatureInfo {
            name: f.name.clone(),
            record: f.record.clone(),
            dtype: f.dtype,
        };
        schema.fields.iter().map(info).collect()
    }

    /// Reads and checks the JSON; `file` is named in errors.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Version`], [`Error::Corrupt`] when its numbers contradict each other.
    pub fn parse(json: &[u8], file: &str) -> Result<Self> {
        let parsed: Self = serde_json::from_slice(json).map_err(|e| Error::document(file, e.to_string()))?;
        if parsed.format_version != DATASET_FORMAT_VERSION {
            let (oldest, newest) = (DATASET_FORMAT_VERSION, DATASET_FORMAT_VERSION);
            return Err(Error::Version { file: file.into(), got: parsed.format_version, oldest, newest });
        }
        let rows = parsed.shards.iter().try_fold(0u64, |sum, s| sum.checked_add(s.rows));
        if rows != Some(parsed.total_examples) {
            return Err(Error::corrupt(file, "total_examples is not the sum of the shards' rows"));
        }
        let mut names = HashSet::new();
        if let Some(twice) = parsed.shards.iter().find(|shard| !names.insert(&shard.file)) {
            return Err(Error::corrupt(file, format!("lists the shard {} twice", twice.file)));
        }
        Ok(parsed)
    }

    /// The JSON, indented, ending in a newline. Equal metadata gives equal bytes.
    ///
    /// # Errors
    /// [`Error::Document`] for values that JSON cannot hold.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|e| Error::document(METADATA_FILE, e.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Refuses a schema whose record names or types are not those of the shards.
    ///
    /// # Errors
    /// [`Error::MissingColumn`], [`Error::WrongType`].
    pub fn check_schema(&self, schema: &Schema, file: &str) -> Result<()> {
        for field in &schema.fields {
            let Some(found) = self.features.iter().find(|f| f.record == field.record) else {
                return Err(Error::MissingColumn {
                    file: file.into(),
                    record: None,
                    field: field.name.clone(),
                    column: field.record.clone(),
                    present: self.features.iter().map(|f| f.record.clone()).collect(),
                });
            };
            if found.dtype != field.dtype {
                return Err(Error::WrongType {
                    file: file.into(),
                    record: None,
                    column: field.record.clone(),
                    expected: field.dtype.to_string(),
                    got: found.dtype.to_string(),
                });
            }
        }
        Ok(())
    }
}
