//! Where secret values come from, what Talon derives of its own, and what keeps both out of sight.
//!
//! Guarantees: a value leaves this crate only inside a [`SecretValue`](talon_core::secret::SecretValue); no error,
//! `Debug` or serialised form of anything here holds one; a reference is resolved only inside its owner's scope.

#![cfg_attr(test, allow(clippy::disallowed_methods))] // Tests look at values.

pub mod install_key;
pub mod reader;
pub mod redact;
pub mod scope;
pub mod token;
pub mod vault;

pub use install_key::{InstallKey, InstallKeyError};
pub use reader::{ScopedReader, SecretReadError, SecretReader};
pub use redact::Redactor;
pub use scope::Scopes;
pub use vault::{Vault, VaultConfig, VaultConfigError};
