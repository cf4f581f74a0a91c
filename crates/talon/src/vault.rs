//! The Vault client, from the configuration.

use std::time::Duration;

use talon_secrets::{Vault, VaultConfig};
use url::Url;

use crate::config::settings::VaultSettings;
use crate::config::token::TokenSource;
use crate::exit::Failure;

/// The Vault that is configured, if one is. Its token is read at each request: an agent beside the daemon may renew it.
pub fn client(settings: &VaultSettings) -> Result<Option<Vault>, Failure> {
    let Some(address) = &settings.address else {
        return Ok(None);
    };
    let wrong = |what: String| {
        Failure::usage(
            what,
            "correct it; talon config show says where each value comes from",
        )
    };
    let address = Url::parse(address)
        .map_err(|_| wrong("vault.address is not an http(s) address".to_owned()))?;
    let token = settings.token.as_deref().ok_or_else(|| {
        wrong("vault.address is set, and vault.token is not: point it at env:NAME or file:PATH (or set TALON_VAULT_TOKEN)".to_owned())
    })?;
    let token = TokenSource::parse("vault.token", token)?;
    let sane = settings.timeout_seconds.is_finite() && settings.timeout_seconds > 0.0;
    let timeout = Duration::try_from_secs_f64(settings.timeout_seconds).unwrap_or_default();
    if !sane || timeout.is_zero() {
        return Err(wrong(
            "vault.timeoutSeconds must be a number above zero".to_owned(),
        ));
    }
    Vault::new(VaultConfig {
        address,
        token: Box::new(move || token.read("vault.token").map_err(|failure| failure.message)),
        namespace: settings.namespace.clone(),
        mount: settings.mount.clone(),
        ca_file: settings.ca_file.clone(),
        timeout,
    })
    .map(Some)
    .map_err(|error| wrong(error.to_string()))
}
