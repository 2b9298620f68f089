//! One line of the audit.

use super::{By, Canary, Deployment};
use crate::error::Result;
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
    Rollback,
    /// A trial began, changed or ended.
    Canary {
        /// None: it ended.
        canary: Option<Canary>,
    },
    /// A version answers unseen, or no longer.
    Shadow {
        /// None: no longer.
        version: Option<String>,
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
        let entry = Entry { at, who, why, action: self.action.clone(), deployment: self.deployment.clone() };
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
