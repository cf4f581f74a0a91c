//! A reader whose values a test can change.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use talon_core::Owner;
use talon_core::secret::{SecretRef, SecretValue};
use talon_secrets::{SecretReadError, SecretReader};

/// Values by reference text, whoever the owner is.
#[derive(Debug, Default)]
pub struct MapReader(Mutex<BTreeMap<String, String>>);

impl MapReader {
    /// Sets the value behind a reference.
    pub fn set(&self, reference: &str, value: &str) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.insert(reference.to_owned(), value.to_owned());
    }

    /// The value behind a reference.
    pub fn get(&self, reference: &str) -> Option<String> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(reference).cloned()
    }

    /// Takes the value behind a reference away.
    pub fn remove(&self, reference: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(reference);
    }
}

#[async_trait]
impl SecretReader for MapReader {
    async fn read(
        &self,
        _owner: &Owner,
        reference: &SecretRef,
    ) -> Result<SecretValue, SecretReadError> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match map.get(&reference.0) {
            Some(value) => Ok(SecretValue::new(value.clone())),
            None => Err(SecretReadError::Missing(format!(
                "{reference:?} is not set"
            ))),
        }
    }
}
