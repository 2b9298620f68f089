//! Where records of keys are kept: a numbered log, whose latest entry is the whole list.

use super::KeyRecord;
use crate::error::{Error, Result};
use recs_core::artifact::Digest;
use recs_core::store::{NumberedLog, Store, TenantRoot};
use recs_core::tenant::TenantId;
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
pub struct KeyLog {
    log: NumberedLog,
    /// A tenant's part of the store.
    root: Option<TenantRoot>,
    /// Whose keys these are; None: the operator's. A record of anybody else is a forgery, or a file in the wrong place.
    owner: Option<TenantId>,
    /// Where it is, for messages.
    place: String,
}

impl KeyLog {
    /// Those of a tenant.
    ///
    /// # Errors
    /// None in practice.
    pub fn of_tenant(root: &TenantRoot) -> Result<Self> {
        let place = root.store().show("registry/keys");
        Ok(Self { log: root.key_log()?, root: Some(root.clone()), owner: Some(root.tenant().clone()), place })
    }

    /// Those that open what concerns all tenants.
    ///
    /// # Errors
    /// None in practice.
    pub fn of_operator(store: &Store) -> Result<Self> {
        Ok(Self {
            log: store.operator_key_log()?,
            root: None,
            owner: None,
            place: store.show("operator/keys"),
        })
    }

    /// Number of the latest change; 0 before any. Cheaper than [`KeyLog::load`]: for looking whether anything changed.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails.
    pub async fn version(&self) -> Result<u64> {
        Ok(self.log.latest_number().await?)
    }

    /// As [`KeyLog::version`], for whoever has seen the change `seen`.
    ///
    /// # Errors
    /// As [`KeyLog::version`], and for a log that has lost that change: its store is away, and says nothing.
    pub(super) async fn version_after(&self, seen: u64) -> Result<u64> {
        Ok(self.log.latest_number_after(seen).await?)
    }

    /// Where it is, as messages tell it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// True for a key that this log may hold.
    pub(super) fn owns(&self, key: &KeyRecord) -> bool {
        key.tenant == self.owner
    }

    /// The digest of an entry; None for one that is not there.
    pub(super) async fn digest(&self, number: u64) -> Result<Option<Digest>> {
        match self.log.get(number).await {
            Ok(entry) => Ok(Some(Digest::of(&entry))),
            Err(recs_core::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// True when the store has models of this tenant: then it is there.
    pub(super) async fn is_there(&self) -> bool {
        match self.root.as_ref().map(TenantRoot::model_log) {
            Some(Ok(log)) => log.latest_number().await.is_ok_and(|number| number > 0),
            _ => false,
        }
    }

    /// The keys.
    ///
    /// # Errors
    /// [`Error::Core`] when the store fails, when the entry is no list of keys, or has one of somebody else.
    pub async fn load(&self) -> Result<Vec<KeyRecord>> {
        Ok(self.load_numbered().await?.1)
    }

    /// The keys, and the number of the change that they come from.
    pub(super) async fn load_numbered(&self) -> Result<(u64, Vec<KeyRecord>)> {
        let (number, entry) = self.latest().await?;
        Ok((number, entry.keys))
    }

    /// Adds a key.
    ///
    /// # Errors
    /// As [`KeyLog::load`]; [`Error::Config`] for an id that is there, and for a key of somebody else.
    pub async fn add(&self, record: &KeyRecord) -> Result<()> {
        if !self.owns(record) {
            let reason = format!("key {} is not of {}", record.id, shown(self.owner.as_ref()));
            return Err(Error::config("keys", reason));
        }
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
        let Some((number, entry)) = self.log.latest().await? else { return Ok((0, Entry::default())) };
        let document = |reason: String| {
            recs_core::Error::document(format!("{}/{}", self.place, NumberedLog::file_name(number)), reason)
        };
        let entry: Entry = serde_json::from_slice(&entry).map_err(|e| document(e.to_string()))?;
        match entry.keys.iter().find(|key| !self.owns(key)) {
            Some(key) => {
                let (of, owner) = (shown(key.tenant.as_ref()), shown(self.owner.as_ref()));
                Err(document(format!("key {} is of {of} among those of {owner}", key.id)).into())
            }
            None => Ok((number, entry)),
        }
    }

    async fn change(&self, change: impl Fn(&mut Vec<KeyRecord>) -> Result<()>) -> Result<()> {
        for _ in 0..TRIES {
            let (number, mut entry) = self.latest().await?;
            change(&mut entry.keys)?;
            let bytes = serde_json::to_vec_pretty(&entry)
                .map_err(|e| recs_core::Error::document("keys", e.to_string()))?;
            // The same list by somebody else would be what is wanted, too.
            match self.log.append_unique(number, bytes.into()).await {
                Err(recs_core::Error::AlreadyExists { .. }) => {}
                done => return done.map(drop).map_err(Error::from),
            }
        }
        Err(Error::config("keys", "others change them all the time: try again"))
    }
}

fn shown(owner: Option<&TenantId>) -> String {
    owner.map_or_else(|| "the operator".to_owned(), |tenant| format!("tenant {tenant}"))
}
