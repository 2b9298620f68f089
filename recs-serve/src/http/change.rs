//! The body of `/deployment`.

use super::fields::{Faults, Members};
use super::request::{MAX_TEXT_CHARS, finish, parse};
use crate::error::Result;
use crate::registry::Canary;
use recs_core::store::is_plain_name;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Promote(String),
    Rollback(Option<String>),
    /// None ends it.
    Canary(Option<Canary>),
    /// None ends it.
    Shadow(Option<String>),
}

pub(super) const ACTIONS: [&str; 6] = ["promote", "rollback", "canary", "end_canary", "shadow", "end_shadow"];

/// Reads what is to be done, and why.
///
/// # Errors
/// As [`parse_request`](super::parse_request).
pub(super) fn parse_change(body: &[u8]) -> Result<(Asked, String)> {
    let mut faults = Faults::default();
    let asked = Members::new(parse(body)?, String::new(), &mut faults).and_then(read);
    finish(asked, faults)
}

/// Whether that is the body of a change; for fuzzers.
///
/// # Errors
/// As [`parse_request`](super::parse_request).
#[cfg(feature = "testing")]
pub fn check_change(body: &[u8]) -> Result<()> {
    parse_change(body).map(drop)
}

fn read(mut members: Members<'_>) -> Option<(Asked, String)> {
    let m = &mut members;
    let action = m.required_text("action", MAX_TEXT_CHARS);
    let why = m.optional_text("why", MAX_TEXT_CHARS).unwrap_or_default();
    let asked = match action.as_deref() {
        Some("promote") => version(m, "version").map(Asked::Promote),
        Some("rollback") => {
            let from = m.optional_text("from", MAX_TEXT_CHARS);
            Some(Asked::Rollback(from.and_then(|from| named(m, "from", from))))
        }
        Some("canary") => {
            let (version, share) = (version(m, "version"), m.required_number("share", 0.0..=1.0));
            if share == Some(0.0) {
                m.refuse("share", "must be more than 0".into());
            }
            version.zip(share).map(|(version, share)| Asked::Canary(Some(Canary { version, share })))
        }
        Some("end_canary") => Some(Asked::Canary(None)),
        Some("shadow") => version(m, "version").map(|version| Asked::Shadow(Some(version))),
        Some("end_shadow") => Some(Asked::Shadow(None)),
        Some(_) => {
            m.refuse("action", format!("must be one of {}", ACTIONS.join(", ")));
            None
        }
        None => None,
    };
    members.finish();
    asked.map(|asked| (asked, why))
}

fn version(members: &mut Members<'_>, name: &str) -> Option<String> {
    let version = members.required_text(name, MAX_TEXT_CHARS)?;
    named(members, name, version)
}

/// Refuses what no version can be called.
fn named(members: &mut Members<'_>, name: &str, version: String) -> Option<String> {
    if !is_plain_name(&version) {
        members.refuse(name, "must be 1 to 128 letters, digits, -, _ and . not starting with .".into());
        return None;
    }
    Some(version)
}
