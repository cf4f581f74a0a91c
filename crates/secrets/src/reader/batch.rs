//! Entries of Vault that were read for many references at one moment.

use std::collections::BTreeMap;

use talon_core::secret::SecretValue;
use tokio::sync::Mutex;

use super::SecretReadError;
use crate::vault::{Entry, Vault};

/// What was read so far. One reads at a time: whoever wants the same entry waits for it.
#[derive(Default)]
pub(super) struct Batch(Mutex<Read>);

#[derive(Default)]
struct Read {
    entries: BTreeMap<String, Result<Entry, SecretReadError>>,
    /// The server cannot be asked at all: nobody else waits for it. One entry that fails says nothing of the others, which
    /// may be other owners'.
    down: Option<SecretReadError>,
}

impl Batch {
    /// A field of an entry, which is read if it was not yet.
    pub(super) async fn field(
        &self,
        vault: &Vault,
        path: &str,
        field: &str,
        what: &str,
    ) -> Result<SecretValue, SecretReadError> {
        let mut read = self.0.lock().await;
        if !read.entries.contains_key(path) {
            if let Some(down) = &read.down {
                return Err(down.clone());
            }
            let entry = vault.entry(path, what).await;
            if let Err(not) = &entry {
                read.down.clone_from(&not.everywhere);
            }
            read.entries
                .insert(path.to_owned(), entry.map_err(SecretReadError::from));
        }
        match read.entries.get(path) {
            Some(Ok(entry)) => entry.field(field, what),
            Some(Err(error)) => Err(error.clone()),
            None => Err(SecretReadError::Unavailable(format!("{what} was not read"))),
        }
    }
}
