//! Who keeps secrets.

use super::{Secret, SecretRef};
use crate::error::{Error, Result};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::sync::Arc;

/// A file that holds a secret is small; a larger one is a mistake.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Fetches secrets.
///
/// Hosts implement it for a keeper of their own (a vault, a cloud's secret manager); connectors call it each time they
/// connect, so a password that was changed is found without a restart.
///
/// # Contract
/// - The answer is the secret as it must be sent: no line end that only the file has.
/// - No error, log or `Debug` text of an implementation holds a secret, nor the name of a reference whose scheme it does
///   not know: somebody may have written the secret itself there.
/// - An implementation may remember secrets for a while; it must ask again when that has passed.
pub trait SecretProvider: Debug + Send + Sync {
    /// The secret called `reference`.
    ///
    /// # Errors
    /// [`Error::Secret`]: there is none, it cannot be read, or the scheme belongs to no keeper known here.
    fn secret<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret>>;
}

/// `env:NAME`: variables of this process's environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnvSecrets;

impl SecretProvider for EnvSecrets {
    fn secret<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret>> {
        Box::pin(async move {
            let name = of_scheme("env", reference)?;
            let refuse = |reason| Err(failed(format!("env:{name}"), reason));
            match std::env::var(name) {
                Ok(text) if text.is_empty() => refuse("the environment variable is empty"),
                Ok(text) => Ok(Secret::new(text)),
                Err(std::env::VarError::NotPresent) => refuse("the environment variable is not set"),
                Err(std::env::VarError::NotUnicode(_)) => refuse("the environment variable is not UTF-8"),
            }
        })
    }
}

/// `file:PATH`: one file a secret, as container platforms mount them. One line end behind it is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSecrets;

impl SecretProvider for FileSecrets {
    fn secret<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret>> {
        Box::pin(async move {
            let path = of_scheme("file", reference)?.to_owned();
            let name = format!("file:{path}");
            let read = tokio::task::spawn_blocking(move || {
                let size = std::fs::metadata(&path)?.len();
                if size > MAX_FILE_BYTES {
                    return Err(std::io::Error::other("the file is larger than 64 KiB"));
                }
                std::fs::read_to_string(&path)
            });
            // An error about text that is not UTF-8 does not repeat the text.
            let text = match read.await {
                Ok(Ok(text)) => text,
                Ok(Err(error)) => return Err(failed(name, error.to_string())),
                Err(_) => return Err(Error::Worker { doing: "reading a secret" }),
            };
            let line = text.strip_suffix('\n').unwrap_or(&text);
            match line.strip_suffix('\r').unwrap_or(line) {
                "" => Err(failed(name, "the file is empty")),
                secret => Ok(Secret::new(secret)),
            }
        })
    }
}

/// Asks the keeper of a reference's scheme.
///
/// ```
/// use recs_core::secret::{SecretProvider, Secrets};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> recs_core::Result<()> {
/// let secrets = Secrets::default();
/// let path = secrets.secret(&"env:PATH".parse()?).await?;
/// assert_eq!(format!("{path:?}"), "Secret(..)");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Secrets(BTreeMap<String, Arc<dyn SecretProvider>>);

impl Secrets {
    /// Knows no scheme: every reference is refused.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds the keeper of a scheme, or takes another for it.
    #[must_use]
    pub fn with(mut self, scheme: impl Into<String>, keeper: Arc<dyn SecretProvider>) -> Self {
        self.0.insert(scheme.into(), keeper);
        self
    }
}

/// `env` and `file`.
impl Default for Secrets {
    fn default() -> Self {
        Self::none().with("env", Arc::new(EnvSecrets)).with("file", Arc::new(FileSecrets))
    }
}

impl Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SecretProvider for Secrets {
    fn secret<'a>(&'a self, reference: &'a SecretRef) -> BoxFuture<'a, Result<Secret>> {
        match self.0.get(reference.scheme()) {
            Some(keeper) => keeper.secret(reference),
            None => {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let reason =
                    format!("nobody keeps secrets of its scheme here; schemes are: {}", known.join(", "));
                Box::pin(std::future::ready(Err(failed("(a reference)", reason))))
            }
        }
    }
}

/// The name, if the reference has this scheme.
fn of_scheme<'a>(scheme: &str, reference: &'a SecretRef) -> Result<&'a str> {
    if reference.scheme() == scheme {
        return Ok(reference.name());
    }
    Err(failed("(a reference)", format!("its scheme is not `{scheme}`")))
}

fn failed(name: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Secret { name: name.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn ask(text: &str) -> Result<Secret> {
        let reference: SecretRef = text.parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Secrets::default().secret(&reference))
    }

    #[test]
    fn a_file_loses_its_line_end_and_nothing_else() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b" pass\nword \r\n").unwrap();
        let secret = ask(&format!("file:{}", file.path().display())).unwrap();
        assert_eq!(secret.expose(), " pass\nword ");
    }

    #[test]
    fn what_cannot_be_had_is_named_and_what_may_be_a_secret_is_not() {
        let said = |text: &str| ask(text).unwrap_err().to_string();
        assert!(said("env:RECS_NO_SUCH_VARIABLE").contains("env:RECS_NO_SUCH_VARIABLE"));
        assert!(said("file:/no/such/file").contains("/no/such/file"));
        for text in ["hunter2", "hunter:two", "hunter2:", ":hunter2"] {
            assert!(!said(text).contains("hunter"), "{}", said(text));
        }
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(said(&format!("file:{}", empty.path().display())).contains("empty"));
    }

    #[test]
    fn nothing_shows_a_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
        let reference: SecretRef = "hunter:2".parse().unwrap();
        assert!(!format!("{reference:?}").contains("hunter"));
    }
}
