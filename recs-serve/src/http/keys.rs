//! API keys: random, shown once, kept as hashes.

use super::{Ask, Gate, Refusal, Role};
use crate::error::{Error, Result};
use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use recs_core::tenant::TenantId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use subtle::ConstantTimeEq;

/// What every key begins with, so that scanners of leaked secrets can know it.
const PREFIX: &str = "recs_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// What is kept of a key: who asks with it can be recognised, nobody can ask with this.
///
/// Secrets are 256 random bits, so a plain SHA-256 of them cannot be turned back, and needs no salt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// 16 hex digits; not secret.
    pub id: String,
    /// Whose key it is. None: the operator's, for what concerns all tenants.
    pub tenant: Option<TenantId>,
    /// What it may be used for.
    pub roles: BTreeSet<Role>,
    /// SHA-256 of the secret, 64 hex digits.
    pub sha256: String,
    /// What it is for, in somebody's words.
    #[serde(default)]
    pub note: String,
}

/// A new key, to be shown once: `recs_{id}_{secret}`.
#[derive(Clone, PartialEq, Eq)]
pub struct NewKey(String);

impl NewKey {
    /// The text that a client sends.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Not the secret.
impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKey(..)")
    }
}

impl KeyRecord {
    /// A key for a tenant, or with `tenant` None for the operator.
    ///
    /// # Errors
    /// [`Error::Config`] without roles, for `operate` and a tenant or none of the two, or when the system gives no random bytes.
    pub fn generate(
        tenant: Option<TenantId>,
        roles: impl IntoIterator<Item = Role>,
        note: impl Into<String>,
    ) -> Result<(Self, NewKey)> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random).map_err(|e| Error::config("keys", format!("no random bytes: {e}")))?;
        let (id, secret) = random.split_at(ID_BYTES);
        let (id, secret) = (hex(id), hex(secret));
        let sha256 = hex(&Sha256::digest(secret.as_bytes()));
        let key = NewKey(format!("{PREFIX}{id}_{secret}"));
        let record = Self { id, tenant, roles: roles.into_iter().collect(), sha256, note: note.into() };
        record.check()?;
        Ok((record, key))
    }

    /// The SHA-256 as bytes, when the record makes sense.
    fn check(&self) -> Result<[u8; 32]> {
        let refuse = |reason: &str| Error::config(format!("keys.{}", self.id), reason);
        let is_operators = self.roles.contains(&Role::Operate);
        if self.roles.is_empty() || is_operators != self.tenant.is_none() {
            return Err(refuse(
                "keys of a tenant have the roles predict and manage, those of no tenant the role operate",
            ));
        }
        bytes(&self.sha256).ok_or_else(|| refuse("its sha256 is not 64 hex digits"))
    }
}

/// The keys that a server knows. A gate; keys may be replaced while it serves.
///
/// A key is sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
#[derive(Debug, Default)]
pub struct ApiKeys {
    by_id: ArcSwap<HashMap<String, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    tenant: Option<TenantId>,
    roles: BTreeSet<Role>,
    sha256: [u8; 32],
}

impl ApiKeys {
    /// Knows these keys.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key for a record that makes no sense, or an id that comes twice.
    pub fn new(records: &[KeyRecord]) -> Result<Self> {
        let keys = Self::default();
        keys.replace(records)?;
        Ok(keys)
    }

    /// Knows these keys from now on, and no others.
    ///
    /// # Errors
    /// As [`ApiKeys::new`]; then the keys stay what they were.
    pub fn replace(&self, records: &[KeyRecord]) -> Result<()> {
        let mut by_id = HashMap::with_capacity(records.len());
        for record in records {
            let known =
                Known { tenant: record.tenant.clone(), roles: record.roles.clone(), sha256: record.check()? };
            if by_id.insert(record.id.clone(), known).is_some() {
                return Err(Error::config(format!("keys.{}", record.id), "is there twice"));
            }
        }
        self.by_id.store(by_id.into());
        Ok(())
    }

    /// True when it knows none.
    pub fn is_empty(&self) -> bool {
        self.by_id.load().is_empty()
    }

    fn known(&self, headers: &HeaderMap) -> Result<Known, Refusal> {
        let (id, secret) = key_of(headers).ok_or(Refusal::Unauthenticated)?;
        let given: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        let by_id = self.by_id.load();
        // An unknown id takes as long as a wrong secret.
        let (known, expected) = match by_id.get(id) {
            Some(known) => (Some(known), known.sha256),
            None => (None, [0; 32]),
        };
        let is_right = bool::from(given.ct_eq(&expected));
        known.filter(|_| is_right).cloned().ok_or(Refusal::Unauthenticated)
    }
}

impl Gate for ApiKeys {
    fn admit(&self, ask: &Ask<'_>) -> Result<TenantId, Refusal> {
        let known = self.known(ask.headers)?;
        let tenant = known.tenant.ok_or(Refusal::NotYours)?;
        match ask.tenant {
            Some(asked) if *asked != tenant => Err(Refusal::NotYours),
            _ if !known.roles.contains(&ask.role) => Err(Refusal::Forbidden),
            _ => Ok(tenant),
        }
    }

    fn who(&self, headers: &HeaderMap) -> Option<String> {
        let (id, _) = key_of(headers)?;
        self.by_id.load().contains_key(id).then(|| format!("key {id}"))
    }

    fn admit_operator(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self.known(headers)?.roles.contains(&Role::Operate) {
            true => Ok(()),
            false => Err(Refusal::Forbidden),
        }
    }
}

/// Id and secret of the key in the headers.
fn key_of(headers: &HeaderMap) -> Option<(&str, &str)> {
    let bearer = || {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    };
    let key = headers.get("x-api-key").and_then(|v| v.to_str().ok()).or_else(bearer)?;
    key.strip_prefix(PREFIX)?.split_once('_')
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = hex.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    fn admit(
        keys: &ApiKeys,
        headers: &HeaderMap,
        asked: Option<&str>,
        role: Role,
    ) -> Result<TenantId, Refusal> {
        let asked = asked.map(tenant);
        keys.admit(&Ask { headers, tenant: asked.as_ref(), default: None, role })
    }

    #[test]
    fn a_key_opens_its_tenant_for_its_roles_and_nothing_else() {
        let (record, key) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict], "shop").unwrap();
        let (operator, operators_key) = KeyRecord::generate(None, [Role::Operate], "").unwrap();
        let keys = ApiKeys::new(&[record.clone(), operator]).unwrap();
        for headers in
            [with("x-api-key", key.reveal()), with("authorization", &format!("Bearer {}", key.reveal()))]
        {
            assert_eq!(admit(&keys, &headers, None, Role::Predict), Ok(tenant("acme")));
            assert_eq!(admit(&keys, &headers, Some("acme"), Role::Predict), Ok(tenant("acme")));
            assert_eq!(admit(&keys, &headers, Some("acme"), Role::Manage), Err(Refusal::Forbidden));
            assert_eq!(admit(&keys, &headers, Some("beta"), Role::Predict), Err(Refusal::NotYours));
            assert_eq!(keys.admit_operator(&headers), Err(Refusal::Forbidden));
        }
        let operators = with("x-api-key", operators_key.reveal());
        assert_eq!(keys.admit_operator(&operators), Ok(()));
        assert_eq!(admit(&keys, &operators, Some("acme"), Role::Predict), Err(Refusal::NotYours));
        keys.replace(&[]).unwrap();
        assert_eq!(
            admit(&keys, &with("x-api-key", key.reveal()), None, Role::Predict),
            Err(Refusal::Unauthenticated)
        );
    }

    #[test]
    fn what_is_no_key_opens_nothing() {
        let (record, key) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict], "").unwrap();
        let keys = ApiKeys::new(std::slice::from_ref(&record)).unwrap();
        let (id, secret) = key.reveal().strip_prefix(PREFIX).unwrap().split_once('_').unwrap();
        let other = hex(&[7; 32]);
        for wrong in [
            String::new(),
            id.to_owned(),
            secret.to_owned(),
            format!("recs_{id}_"),
            format!("recs_{id}_{other}"),
            format!("recs_{}_{secret}", &other[..16]),
            format!("recs_{id}_{}", record.sha256),
            format!("{}x", key.reveal()),
            key.reveal().to_uppercase(),
        ] {
            let refused = admit(&keys, &with("x-api-key", &wrong), None, Role::Predict);
            assert_eq!(refused, Err(Refusal::Unauthenticated), "{wrong}");
        }
        assert_eq!(admit(&keys, &HeaderMap::new(), None, Role::Predict), Err(Refusal::Unauthenticated));
        let basic = with("authorization", &format!("Basic {}", key.reveal()));
        assert_eq!(admit(&keys, &basic, None, Role::Predict), Err(Refusal::Unauthenticated));
    }

    #[test]
    fn secrets_are_not_kept_and_not_printed() {
        let (record, key) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict], "").unwrap();
        let secret = key.reveal().rsplit_once('_').unwrap().1;
        let kept = serde_json::to_string(&record).unwrap();
        assert!(!kept.contains(secret) && !format!("{key:?}").contains(secret));
        assert_eq!(serde_json::from_str::<KeyRecord>(&kept).unwrap(), record);
        assert_ne!(KeyRecord::generate(None, [Role::Operate], "").unwrap().1, key);
    }

    #[test]
    fn records_that_make_no_sense_are_refused() {
        let (record, _) = KeyRecord::generate(Some(tenant("acme")), [Role::Predict], "").unwrap();
        assert!(KeyRecord::generate(None, [Role::Predict], "").is_err());
        assert!(KeyRecord::generate(Some(tenant("acme")), [], "").is_err());
        assert!(KeyRecord::generate(Some(tenant("acme")), [Role::Operate], "").is_err());
        assert!(ApiKeys::new(&[record.clone(), record.clone()]).is_err());
        for sha256 in ["", "zz", &"é".repeat(32), &"0".repeat(63)] {
            assert!(ApiKeys::new(&[KeyRecord { sha256: sha256.into(), ..record.clone() }]).is_err());
        }
    }
}
