//! Where records of keys are kept: a numbered log, whose latest entry is the whole list.

use super::KeyRecord;
use crate::error::{Error, Result};
use recs_core::store::NumberedLog;
use serde::{Deserialize, Serialize};

/// Most tries against others who change keys at the same moment.
const TRIES: usize = 20;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    keys: Vec<KeyRecord>,
}

/// The keys of one tenant, or the operator's, in the store. Every change is a new entry made by conditional put: of two
/// writers at the same moment neither undoes what the other did.
#[derive(Debug, Clone)]
pub struct KeyLog(NumberedLog);

impl KeyLog {
    /// Over a log: [`TenantRoot::key_log`](recs_core::store::TenantRoot::key_log) or
    /// [`Store::operator_key_log`](recs_core::store::Store::operator_key_log).
    pub fn new(log: NumberedLog) -> Self {
        Self(log)
    }

    /// Number of the latest change; 0 before any. Cheaper than [`KeyLog::load`]: for looking whether anything changed.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails.
    pub async fn version(&self) -> Result<u64> {
        Ok(self.0.latest_number().await?)
    }

    /// The keys.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails or the entry is no list of keys.
    pub async fn load(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.latest().await?.1.keys)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// As [`KeyLog::load`]; [`Error::Config`] for an id that is there.
    pub async fn add(&self, record: &KeyRecord) -> Result<()> {
        self.change(|keys| {
            if keys.iter().any(|key| key.id == record.id) {
                return Err(Error::config("keys", format!("{} is there already", record.id)));
            }
            keys.push(record.clone());
            Ok(())
        })
        .await
    }

    /// Takes a key away. Servers that look at the log know soon.
    ///
    /// # Errors
    /// As [`KeyLog::load`]; [`Error::Config`] for an id that is not there.
    pub async fn revoke(&self, id: &str) -> Result<()> {
        self.change(|keys| {
            let before = keys.len();
            keys.retain(|key| key.id != id);
            if keys.len() == before {
                return Err(Error::config("keys", format!("there is no key {id:?}")));
            }
            Ok(())
        })
        .await
    }

    async fn latest(&self) -> Result<(u64, Entry)> {
        let Some((number, entry)) = self.0.latest().await? else { return Ok((0, Entry::default())) };
        let parsed = serde_json::from_slice(&entry);
        let name = NumberedLog::file_name(number);
        Ok((number, parsed.map_err(|e| recs_core::Error::document(name, e.to_string()))?))
    }

    async fn change(&self, change: impl Fn(&mut Vec<KeyRecord>) -> Result<()>) -> Result<()> {
        for _ in 0..TRIES {
            let (number, mut entry) = self.latest().await?;
            change(&mut entry.keys)?;
            let bytes = serde_json::to_vec_pretty(&entry)
                .map_err(|e| recs_core::Error::document("keys", e.to_string()))?;
            match self.0.append(number, bytes.into()).await {
                Err(recs_core::Error::AlreadyExists { .. }) => {}
                done => return done.map(drop).map_err(Error::from),
            }
        }
        Err(Error::config("keys", "others change them all the time: try again"))
    }
}
