//! Production, canary, shadow: where a version serves.

use super::{Serving, Split, Trial, Version};
use crate::registry::Deployment;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Production,
    Canary,
    Shadow,
}

impl Part {
    /// Production first: the others are compared with it.
    pub(super) const ALL: [Self; 3] = [Self::Production, Self::Canary, Self::Shadow];

    /// The version of a deployment that is to serve here.
    pub(super) fn of(self, deployment: &Deployment) -> Option<&str> {
        match self {
            Self::Production => deployment.production.as_deref(),
            Self::Canary => Some(deployment.canary.as_ref()?.version.as_str()),
            Self::Shadow => deployment.shadow.as_deref(),
        }
    }

    /// Puts a version where it serves; without one production stays.
    pub(super) fn put(self, serving: &mut Serving, version: Option<Arc<Version>>, deployment: &Deployment) {
        match self {
            Self::Production => serving.production = version.or(serving.production.take()),
            Self::Canary => {
                let split = deployment.canary.as_ref().map(|of| Split::new(of.share, of.version.clone()));
                serving.canary = version.zip(split).map(|(version, split)| Trial { version, split });
            }
            Self::Shadow => serving.shadow = version,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
        }
    }
}
