//! Reads the values that references point at, inside the owner's scope and nowhere else.

mod batch;
mod file;

use std::collections::BTreeMap;

use async_trait::async_trait;
use talon_core::Owner;
use talon_core::secret::{MAX_VALUE_BYTES, RefTarget, SecretRef, SecretValue};
use zeroize::{Zeroize, Zeroizing};

use crate::scope::{Scope, Scopes};
use crate::vault::Vault;
use batch::Batch;

/// Why a reference gave no value. Each message names the reference (only if it is well formed) and says what to do;
/// none holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretReadError {
    /// The owner may not use it, or it is no reference at all.
    #[error("{0}")]
    OutOfScope(String),
    /// There is nothing where it points.
    #[error("{0}")]
    Missing(String),
    /// What is there cannot be a secret: empty, too long, not text, or with control characters.
    #[error("{0}")]
    Empty(String),
    /// A kind of reference, or of file, that this program does not read.
    #[error("{0}")]
    Unsupported(String),
    /// It could not be read now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Reads secret values.
#[async_trait]
pub trait SecretReader: Send + Sync {
    /// The value behind a reference, for this owner. Never cached: what is read is what is there now.
    async fn read(
        &self,
        owner: &Owner,
        reference: &SecretRef,
    ) -> Result<SecretValue, SecretReadError>;

    /// A reader for many references at one moment, which asks for no entry twice and gives up on a server that does not
    /// answer. What it read is wiped with it. `None`: this one is as good.
    fn batch(&self) -> Option<Box<dyn SecretReader + '_>> {
        None
    }
}

/// Reads `env:`, `file:` and `vault:` references inside the scopes of the configuration.
#[derive(Debug)]
pub struct ScopedReader {
    scopes: Scopes,
    environment: Environment,
    vault: Option<Vault>,
}

enum Environment {
    Process,
    Fixed(BTreeMap<String, SecretValue>),
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Process => "Process",
            Self::Fixed(_) => "Fixed(…)",
        })
    }
}

impl ScopedReader {
    /// A reader with these scopes, on the environment of this process.
    pub fn new(scopes: Scopes) -> Self {
        Self {
            scopes,
            environment: Environment::Process,
            vault: None,
        }
    }

    /// A reader with these scopes, on an environment of its own (demo and tests), whose values are taken as they are.
    pub fn with_environment(scopes: Scopes, environment: BTreeMap<String, SecretValue>) -> Self {
        Self {
            scopes,
            environment: Environment::Fixed(environment),
            vault: None,
        }
    }

    /// The same, and it reads `vault:` references there.
    #[must_use]
    pub fn with_vault(mut self, vault: Option<Vault>) -> Self {
        self.vault = vault;
        self
    }

    /// The scopes it reads in.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    fn env(
        &self,
        scope: &Scope,
        owner: &Owner,
        name: &str,
    ) -> Result<SecretValue, SecretReadError> {
        if !scope.allows_env(name) {
            return Err(SecretReadError::OutOfScope(format!(
                "owner {owner} may not use env:{name}: rename the variable, or add it to secretScopes.{owner}.env in \
                 talon.yaml"
            )));
        }
        let what = format!("env:{name}");
        let missing = || {
            SecretReadError::Missing(format!(
                "{what} is not set in the daemon's environment: set {name} and restart the daemon"
            ))
        };
        match &self.environment {
            Environment::Process => match std::env::var(name) {
                Ok(v) => checked(Zeroizing::new(v), &what),
                Err(std::env::VarError::NotPresent) => Err(missing()),
                Err(std::env::VarError::NotUnicode(bytes)) => {
                    wipe(bytes.into_encoded_bytes());
                    Err(unusable(&what, "is not UTF-8 text"))
                }
            },
            Environment::Fixed(map) => map
                .get(name)
                .map(SecretValue::duplicate)
                .ok_or_else(missing),
        }
    }

    fn file(
        &self,
        scope: &Scope,
        owner: &Owner,
        name: &str,
    ) -> Result<SecretValue, SecretReadError> {
        let Some(directory) = &scope.files else {
            return Err(SecretReadError::OutOfScope(format!(
                "owner {owner} may not use file: references: set secretScopes.{owner}.files in talon.yaml to a directory"
            )));
        };
        let what = format!("file:{name}");
        let bytes = file::read(directory, name, &what)?;
        match String::from_utf8(bytes) {
            Ok(text) => checked(Zeroizing::new(text), &what),
            Err(e) => {
                wipe(e.into_bytes());
                Err(unusable(&what, "is not UTF-8 text"))
            }
        }
    }
}

impl ScopedReader {
    fn vault(&self, scope: &Scope, owner: &Owner, path: &str) -> Result<&Vault, SecretReadError> {
        if !scope.allows_vault(path) {
            return Err(SecretReadError::OutOfScope(format!(
                "owner {owner} may not use vault:{path}: add it to secretScopes.{owner}.vault in talon.yaml"
            )));
        }
        self.vault.as_ref().ok_or_else(|| {
            SecretReadError::Unsupported(format!(
                "vault:{path} cannot be read: no Vault is configured; set vault.address and vault.token in talon.yaml"
            ))
        })
    }

    /// Reads; entries of Vault by way of what the batch has, where there is one.
    async fn read_in(
        &self,
        owner: &Owner,
        reference: &SecretRef,
        batch: Option<&Batch>,
    ) -> Result<SecretValue, SecretReadError> {
        let target = reference.parse().ok_or_else(|| {
            SecretReadError::OutOfScope(
                "this is no reference: write env:TALON_SECRET_NAME, file:NAME or vault:PATH#FIELD; never the key itself".to_owned(),
            )
        })?;
        let scope = || {
            self.scopes.of(owner).ok_or_else(|| {
                SecretReadError::OutOfScope(format!(
                    "owner {owner} may use no references: add secretScopes.{owner} to talon.yaml"
                ))
            })
        };
        match target {
            RefTarget::Env(name) => self.env(scope()?, owner, name),
            RefTarget::File(name) => self.file(scope()?, owner, name),
            RefTarget::Vault { path, field } => {
                let vault = self.vault(scope()?, owner, path)?;
                let what = format!("vault:{path}#{field}");
                let value = match batch {
                    None => vault.entry(path, &what).await?.field(field, &what)?,
                    Some(batch) => batch.field(vault, path, field, &what).await?,
                };
                match value.unusable() {
                    None => Ok(value),
                    Some(why) => Err(unusable(&what, why)),
                }
            }
            RefTarget::Discarded => Err(SecretReadError::Missing(
                "what stood here was no reference and was thrown away: write env:TALON_SECRET_NAME or file:NAME"
                    .to_owned(),
            )),
        }
    }
}

#[async_trait]
impl SecretReader for ScopedReader {
    async fn read(
        &self,
        owner: &Owner,
        reference: &SecretRef,
    ) -> Result<SecretValue, SecretReadError> {
        self.read_in(owner, reference, None).await
    }

    fn batch(&self) -> Option<Box<dyn SecretReader + '_>> {
        self.vault.as_ref()?;
        Some(Box::new(BatchReader {
            reader: self,
            batch: Batch::default(),
        }))
    }
}

struct BatchReader<'a> {
    reader: &'a ScopedReader,
    batch: Batch,
}

#[async_trait]
impl SecretReader for BatchReader<'_> {
    async fn read(
        &self,
        owner: &Owner,
        reference: &SecretRef,
    ) -> Result<SecretValue, SecretReadError> {
        self.reader
            .read_in(owner, reference, Some(&self.batch))
            .await
    }
}

/// Takes a value if it can be one: trailing line end removed, not empty, bounded, without control characters.
fn checked(raw: Zeroizing<String>, what: &str) -> Result<SecretValue, SecretReadError> {
    let value = raw
        .strip_suffix("\r\n")
        .or_else(|| raw.strip_suffix('\n'))
        .unwrap_or(&raw);
    let value = SecretValue::new(value.to_owned());
    match value.unusable() {
        None => Ok(value),
        Some(why) => Err(unusable(what, why)),
    }
}

fn unusable(what: &str, why: &str) -> SecretReadError {
    SecretReadError::Empty(format!("{what} {why}: put the bare key there"))
}

fn wipe(mut bytes: Vec<u8>) {
    bytes.zeroize();
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
