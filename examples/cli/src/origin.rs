//! The extracted table in the warehouse: a Parquet file and the numbered snapshot that refers to it.

use crate::error::{Error, Result};
use recs_core::artifact::Digest;
use recs_core::dataset::{Period, StageCount};
use recs_core::store::{NumberedLog, Store, TenantRoot};
use serde::{Deserialize, Serialize};

/// `warehouse/ml_datasets/extract`: snapshot N names the file that holds the table, and says where its rows came from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) file: String,
    pub(crate) rows: u64,
    #[serde(flatten)]
    pub(crate) digest: Digest,
    pub(crate) period: Period,
    pub(crate) filters: serde_json::Map<String, serde_json::Value>,
    pub(crate) counts: Vec<StageCount>,
}

pub(crate) fn table(root: &TenantRoot) -> Result<Store> {
    Ok(root.table("ml_datasets", "extract")?)
}

fn log(table: &Store) -> Result<NumberedLog> {
    Ok(NumberedLog::new(table.child("_snapshots")?))
}

impl Snapshot {
    pub(crate) async fn publish(&self, table: &Store) -> Result<u64> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|e| recs_core::Error::document("_snapshots", e.to_string()))?;
        Ok(log(table)?.push(json.into()).await?)
    }

    pub(crate) async fn latest(table: &Store) -> Result<Self> {
        let Some((_, json)) = log(table)?.latest().await? else {
            return Err(Error::config(
                "dataset",
                "nothing was extracted yet: run `recs extract`, or give --input FILE",
            ));
        };
        Ok(serde_json::from_slice(&json)
            .map_err(|e| recs_core::Error::document(table.show("_snapshots"), e.to_string()))?)
    }
}
