//! One line of the audit.

use super::{By, Canary, Deployment};
use crate::error::{Error, Result};
use recs_core::store::NumberedLog;
use serde::{Deserialize, Serialize};

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A version went into production.
    Promote {
        /// Which.
        version: String,
    },
    /// The version before came back.
    Rollback {
        /// The one that was left; whoever decided saw it in production.
        from: Option<String>,
    },
    /// A trial began, changed or ended.
    Canary {
        /// None: it ended.
        canary: Option<Canary>,
        /// The version that it is about to end for, by whoever decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
    },
    /// A version answers unseen, or no longer.
    Shadow {
        /// None: no longer.
        version: Option<String>,
        /// The version that is to end, by whoever decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
    },
}

/// A change, and the deployment after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Who, when and why.
    pub by: By,
    /// What.
    pub action: Action,
    /// What is served from then on.
    pub deployment: Deployment,
}

/// As it stands in the log.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Random: of two who say the same at the same moment, the log knows which one it took.
    id: String,
    at: String,
    who: String,
    why: String,
    #[serde(flatten)]
    action: Action,
    deployment: Deployment,
}

impl Change {
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let By { at, who, why } = self.by.clone();
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| Error::registry(format!("no random bytes: {e}")))?;
        let id = format!("{:016x}", u64::from_le_bytes(random));
        let (action, deployment) = (self.action.clone(), self.deployment.clone());
        let entry = Entry { id, at, who, why, action, deployment };
        let json = serde_json::to_vec_pretty(&entry);
        Ok(json.map_err(|e| recs_core::Error::document("deployment", e.to_string()))?)
    }

    pub(super) fn parse(number: u64, json: &[u8]) -> Result<Self> {
        let entry: Result<Entry, _> = serde_json::from_slice(json);
        let file = || format!("registry/deployments/{}", NumberedLog::file_name(number));
        let entry = entry.map_err(|e| recs_core::Error::document(file(), e.to_string()))?;
        let by = By { at: entry.at, who: entry.who, why: entry.why };
        Ok(Self { by, action: entry.action, deployment: entry.deployment })
    }
}
