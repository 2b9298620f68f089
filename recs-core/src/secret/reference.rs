//! Where a secret lies.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a secret lies: a scheme and a name, `env:SHOP_PASSWORD` or `file:/run/secrets/shop`.
///
/// This is what stands in a configuration instead of the secret. Should somebody have put the secret itself there, then
/// neither the error nor `Debug` repeats it.
///
/// ```
/// use recs_core::secret::SecretRef;
/// let reference: SecretRef = "env:SHOP_PASSWORD".parse()?;
/// assert_eq!((reference.scheme(), reference.name()), ("env", "SHOP_PASSWORD"));
/// assert!("hunter2".parse::<SecretRef>().is_err());
/// # Ok::<(), recs_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "json-schema", schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub struct SecretRef {
    scheme: String,
    name: String,
}

impl SecretRef {
    /// Who keeps it: `env`, `file`, or a scheme of the host's own.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Its name there.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for SecretRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(':').filter(|(scheme, name)| {
            let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !scheme.is_empty() && scheme.bytes().all(known) && !name.is_empty()
        });
        let Some((scheme, name)) = parts else {
            let reason = "a secret is named here, never written: `env:NAME` for an environment variable, `file:PATH` for a file";
            return Err(Error::config("secret", reason));
        };
        Ok(Self { scheme: scheme.into(), name: name.into() })
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretRef(..)")
    }
}

impl TryFrom<String> for SecretRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        format!("{}:{}", reference.scheme, reference.name)
    }
}
