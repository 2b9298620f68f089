//! The labels.

use super::Action;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Versions that are kept to go back to.
pub const KEPT_VERSIONS: usize = 3;

/// A version on trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Which.
    pub version: String,
    /// The share of the customers that it answers, above 0 and at most 1. A customer stays on one side: a larger share keeps all
    /// who were in a smaller one.
    pub share: f64,
}

/// What a tenant's servers serve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// Answers everybody who is not on the canary's side.
    pub production: Option<String>,
    /// On trial.
    pub canary: Option<Canary>,
    /// Answers beside production, unseen.
    pub shadow: Option<String>,
    /// Versions that were in production before, the latest first, at most [`KEPT_VERSIONS`].
    pub previous: Vec<String>,
}

impl Deployment {
    /// The deployment after a change.
    ///
    /// # Errors
    /// [`Error::Registry`] for a change that makes no sense.
    pub(super) fn after(&self, action: &Action) -> Result<Self> {
        let mut after = self.clone();
        match action {
            Action::Promote { version } => after.promote(version)?,
            Action::Rollback { from } => after.roll_back(from.as_deref())?,
            Action::Canary { canary, seen } => {
                still(seen.as_deref(), self.canary.as_ref().map(|canary| canary.version.as_str()))?;
                after.set_canary(canary.clone())?;
            }
            Action::Shadow { version, seen } => {
                still(seen.as_deref(), self.shadow.as_deref())?;
                if version.is_none() && self.shadow.is_none() {
                    return Err(Error::registry("there is no shadow to end"));
                }
                if version.is_some() && self.production.is_none() {
                    return Err(Error::registry("a shadow needs a version in production beside it"));
                }
                after.shadow.clone_from(version);
            }
        }
        Ok(after)
    }

    fn promote(&mut self, version: &str) -> Result<()> {
        if self.production.as_deref() == Some(version) {
            return Err(Error::registry(format!("version {version:?} is in production already")));
        }
        let before = self.production.replace(version.to_owned());
        self.previous.retain(|kept| kept != version);
        self.previous.splice(..0, before);
        self.previous.truncate(KEPT_VERSIONS);
        self.canary = self.canary.take().filter(|canary| canary.version != version);
        self.shadow = self.shadow.take().filter(|shadow| shadow != version);
        Ok(())
    }

    /// The version that is left does not become one to go back to: rolling back twice goes back twice.
    fn roll_back(&mut self, from: Option<&str>) -> Result<()> {
        still(from, self.production.as_deref())?;
        if self.previous.is_empty() {
            return Err(Error::registry("there is no version to go back to"));
        }
        self.production = Some(self.previous.remove(0));
        let production = self.production.as_deref();
        self.canary = self.canary.take().filter(|canary| production != Some(canary.version.as_str()));
        self.shadow = self.shadow.take().filter(|shadow| production != Some(shadow.as_str()));
        Ok(())
    }

    fn set_canary(&mut self, canary: Option<Canary>) -> Result<()> {
        if canary.is_none() && self.canary.is_none() {
            return Err(Error::registry("there is no canary to end"));
        }
        if let Some(canary) = &canary {
            if !(canary.share > 0.0 && canary.share <= 1.0) {
                return Err(Error::registry(format!(
                    "a canary's share is above 0 and at most 1, not {}",
                    canary.share
                )));
            }
            match self.production.as_deref() {
                None => return Err(Error::registry("a canary needs a version in production beside it")),
                Some(version) if version == canary.version => {
                    return Err(Error::registry(format!("version {version:?} is in production already")));
                }
                Some(_) => {}
            }
        }
        self.canary = canary;
        Ok(())
    }

    /// All versions that servers need loaded.
    pub fn served(&self) -> impl Iterator<Item = &str> {
        let canary = self.canary.as_ref().map(|canary| canary.version.as_str());
        self.production.as_deref().into_iter().chain(canary).chain(self.shadow.as_deref())
    }
}

/// Who decides about a version decides about no other that came since.
fn still(seen: Option<&str>, now: Option<&str>) -> Result<()> {
    let Some(seen) = seen.filter(|_| seen != now) else { return Ok(()) };
    let now = now.unwrap_or("none");
    let reason = format!("version {seen:?} is not there any more, {now:?} is: look at it and decide again");
    Err(Error::registry(reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn action() -> impl Strategy<Value = Action> {
        let version =
            || prop_oneof![Just("a"), Just("b"), Just("c"), Just("d"), Just("e")].prop_map(str::to_owned);
        let canary = (version(), prop_oneof![Just(0.0), Just(0.1), Just(1.0), Just(1.5), Just(f64::NAN)]);
        prop_oneof![
            3 => version().prop_map(|version| Action::Promote { version }),
            2 => proptest::option::of(version()).prop_map(|from| Action::Rollback { from }),
            2 => proptest::option::of(canary.prop_map(|(version, share)| Canary { version, share }))
                .prop_map(|canary| Action::Canary { canary, seen: None }),
            1 => proptest::option::of(version()).prop_map(|version| Action::Shadow { version, seen: None }),
        ]
    }

    proptest! {
        /// Whatever is done in whichever order, no label contradicts another.
        #[test]
        fn labels_stay_consistent(actions in proptest::collection::vec(action(), 0..30)) {
            let mut state = Deployment::default();
            for action in actions {
                let Ok(after) = state.after(&action) else { continue };
                if let Some(canary) = &after.canary {
                    prop_assert!(canary.share > 0.0 && canary.share <= 1.0);
                    prop_assert!(after.production.is_some() && after.production.as_ref() != Some(&canary.version));
                }
                prop_assert!(after.previous.len() <= KEPT_VERSIONS);
                if !matches!(action, Action::Shadow { .. } | Action::Canary { .. }) {
                    prop_assert!(after.shadow.is_none() || after.shadow != after.production);
                }
                prop_assert!(state.production.is_none() || after.production.is_some(), "nothing serves any more");
                if let (Action::Promote { version }, Some(before)) = (&action, &state.production) {
                    prop_assert_eq!(after.production.as_ref(), Some(version));
                    prop_assert_eq!(after.previous.first(), Some(before));
                    let back = after.after(&Action::Rollback { from: Some(version.clone()) }).unwrap();
                    prop_assert!(back.after(&Action::Rollback { from: Some(version.clone()) }).is_err(), "twice");
                    prop_assert_eq!(back.production.as_ref(), Some(before));
                }
                state = after;
            }
        }
    }
}
