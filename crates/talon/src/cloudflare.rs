//! The Cloudflare client, from the configuration.

use std::net::SocketAddr;
use std::sync::Arc;

use talon_cloudflare::{Client, ClientConfig, WorkersDev};
use talon_core::cloud::Budget;
use talon_core::deliver::WorkerDoor;
use url::Url;

use crate::config::settings::CloudflareSettings;
use crate::config::token::TokenSource;
use crate::exit::{Exit, Failure};

/// What the client must be told; the token is read now.
pub fn client_config(settings: &CloudflareSettings) -> Result<ClientConfig, Failure> {
    let missing = |what: &str, next: &str| Failure::new(Exit::NotAllowed, what, next);
    let account = settings.account_id.clone().ok_or_else(|| {
        missing(
            "no Cloudflare account is configured",
            "set TALON_CLOUDFLARE_ACCOUNT_ID (or cloudflare.accountId); to try talon without an account: talon dev",
        )
    })?;
    if account.len() != 32 || !account.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Failure::usage(
            "cloudflare.accountId must be 32 hex digits",
            "copy it from the Cloudflare dashboard; talon config show says where the present one comes from",
        ));
    }
    let token = settings.api_token.as_deref().ok_or_else(|| {
        missing(
            "no Cloudflare token is configured",
            "set TALON_CLOUDFLARE_API_TOKEN (or point cloudflare.apiToken at env:NAME or file:PATH)",
        )
    })?;
    let token = TokenSource::parse("cloudflare.apiToken", token)?.read("cloudflare.apiToken")?;
    let mut config = ClientConfig::new(account, token).map_err(|e| wrong(&e.to_string()))?;
    config.api_base = address(&settings.api_base, "cloudflare.apiBase")?;
    config.s3_endpoint = settings
        .s3_endpoint
        .as_deref()
        .map(|text| address(text, "cloudflare.s3Endpoint"))
        .transpose()?;
    Ok(config)
}

fn address(text: &str, key: &str) -> Result<Url, Failure> {
    Url::parse(text).map_err(|_| wrong(&format!("{key} is not an http(s) address")))
}

fn wrong(what: &str) -> Failure {
    Failure::usage(
        what,
        "correct it; talon config show says where each value comes from",
    )
}

/// A client that asks this budget before each call.
pub fn client(config: ClientConfig, budget: Arc<dyn Budget>) -> Result<Client, Failure> {
    Client::new(config, budget).map_err(|e| wrong(&e.to_string()))
}

/// The Workers at their own addresses: of an account of the real Cloudflare, or behind the front door of a local one. Those
/// of any other account are not on the real workers.dev: whoever has that name there must not get the control token.
pub fn door(
    config: &ClientConfig,
    front_door: Option<SocketAddr>,
) -> Result<Option<Arc<dyn WorkerDoor>>, Failure> {
    let is_real = config.api_base.host_str() == Some("api.cloudflare.com");
    if !is_real && front_door.is_none() {
        return Ok(None);
    }
    let door = WorkersDev::new(front_door).map_err(|e| wrong(&e.to_string()))?;
    Ok(Some(Arc::new(door)))
}
