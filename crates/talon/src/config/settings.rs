//! The keys of `talon.yaml` and their defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use talon_controller::ControllerConfig;
use talon_controller::config::BrakeConfig;
use talon_core::turns::Allowance;
use talon_factory::{Network, NoNetwork};
use talon_secrets::Scopes;
use url::{Host, Url};

use crate::exit::Failure;

/// Where a Hub is found below the address at which Talon serves HTTP.
const HUB_PATH: &str = "/ws/agents";
/// The Hub of the Society AI network.
const SOCIETY_AI_HUB: &str = "wss://api.societyai.com/ws/agents";

/// Everything that can be configured. Strict: unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Where the rows live.
    pub database_url: String,
    /// The Cloudflare account.
    pub cloudflare: CloudflareSettings,
    /// Where the daemon serves HTTP: the Hub, the Router, its own health.
    pub listen: SocketAddr,
    /// Proxies in front of it, as addresses and networks: where a request came from is what they say in `X-Forwarded-For`.
    pub trusted_proxies: Vec<String>,
    /// The WebSocket Hub that Workers connect to.
    pub hub: HubSettings,
    /// What one caller may ask for over HTTP.
    pub http: HttpSettings,
    /// The pages for browsers.
    pub dashboard: DashboardSettings,
    /// The Agent Router.
    pub router: RouterSettings,
    /// The agents' runtime that is deployed: the folder of a built bundle, or `placeholder`. Default: the one that the
    /// binary carries, else one that is built from its sources on first use.
    pub runtime_bundle: Option<String>,
    /// The OpenBao or Vault that `vault:` references are read from.
    pub vault: VaultSettings,
    /// Which references each owner's agents may use.
    pub secret_scopes: Scopes,
    /// The install key; default: beside the SQLite database, else `talon.key`.
    pub install_key_file: Option<PathBuf>,
    /// How often every agent is compared with reality.
    pub resync_seconds: f64,
    /// How many agents are worked on at once.
    pub workers: usize,
    /// How long things may take.
    pub deadlines: DeadlineSettings,
    /// What counts as a disaster.
    pub brake: BrakeConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database_url: "sqlite://talon.db".to_owned(),
            cloudflare: CloudflareSettings::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8790)),
            trusted_proxies: Vec::new(),
            hub: HubSettings::default(),
            http: HttpSettings::default(),
            dashboard: DashboardSettings::default(),
            router: RouterSettings::default(),
            runtime_bundle: None,
            vault: VaultSettings::default(),
            secret_scopes: Scopes::default(),
            install_key_file: None,
            resync_seconds: 300.0,
            workers: 16,
            deadlines: DeadlineSettings::default(),
            brake: BrakeConfig::default(),
        }
    }
}

/// The Cloudflare account and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CloudflareSettings {
    /// The account's id, 32 hex digits.
    pub account_id: Option<String>,
    /// Where the token is read from: `env:NAME` or `file:PATH`. Never the token itself.
    pub api_token: Option<String>,
    /// The API's base address.
    pub api_base: String,
    /// The R2 S3 endpoint; default: the account's own.
    pub s3_endpoint: Option<String>,
    /// Where a local Cloudflare serves workers.dev over plain HTTP; default: the real one.
    pub front_door: Option<SocketAddr>,
    /// Calls within five minutes; Cloudflare allows 1,200 to everybody who uses the token together.
    pub budget_calls: u32,
}

impl Default for CloudflareSettings {
    fn default() -> Self {
        Self {
            account_id: None,
            api_token: None,
            api_base: "https://api.cloudflare.com/client/v4".to_owned(),
            s3_endpoint: None,
            front_door: None,
            budget_calls: 1000,
        }
    }
}

/// An OpenBao or Vault with KV engines of version 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VaultSettings {
    /// Its address; without one, `vault:` references are not read.
    pub address: Option<String>,
    /// Where the token is read from, at each request: `env:NAME` or `file:PATH`. Never the token itself.
    pub token: Option<String>,
    /// Namespace, where the server has them.
    pub namespace: Option<String>,
    /// The engine's mount; default: the first part of each reference's path.
    pub mount: Option<String>,
    /// Certificates to trust beside the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// How long one answer may take.
    pub timeout_seconds: f64,
}

impl Default for VaultSettings {
    fn default() -> Self {
        Self {
            address: None,
            token: None,
            namespace: None,
            mount: None,
            ca_file: None,
            timeout_seconds: 5.0,
        }
    }
}

/// The WebSocket Hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HubSettings {
    /// Whether the daemon is the Hub; if not, it is elsewhere.
    pub embedded: bool,
    /// Its address, as Workers see it. Default: where the daemon listens, or the Hub of the Society AI network if it is
    /// not embedded.
    pub url: Option<String>,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            embedded: true,
            url: None,
        }
    }
}

impl HubSettings {
    /// What Workers are told, if the daemon listens here.
    pub fn address(&self, listening: SocketAddr) -> String {
        match &self.url {
            Some(url) => url.clone(),
            None if self.embedded => format!("ws://{}{HUB_PATH}", reachable(listening)),
            None => SOCIETY_AI_HUB.to_owned(),
        }
    }
}

/// What one caller may ask for over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Watches, waits, tasks and open pages at the same time, of one owner's tokens together, or of one token without an
    /// owner.
    pub long_answers: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            long_answers: Allowance::default().long_answers,
        }
    }
}

/// The pages for browsers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DashboardSettings {
    /// Whether browsers reach them by https only (by a proxy in front of Talon). Default: as Workers reach the Hub.
    pub https: Option<bool>,
}

/// The Agent Router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RouterSettings {
    /// Base address of a Router elsewhere; default: the one in the daemon.
    pub url: Option<String>,
    /// Where its key is read from: `env:NAME` or `file:PATH`. Never the key itself.
    pub service_key: Option<String>,
}

/// An address at which this machine reaches what listens there: "on every interface" is none.
pub fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// Whether an address can only be meant for this machine. `None`: it is no address.
pub fn is_local(address: &str) -> Option<bool> {
    let url = Url::parse(address).ok()?;
    Some(match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(ip) => ip.is_loopback() || ip.is_unspecified(),
        Host::Ipv6(ip) => ip.is_loopback() || ip.is_unspecified(),
    })
}

/// How long things may take, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeadlineSettings {
    /// A row lease.
    pub lease_seconds: f64,
    /// One write to Cloudflare.
    pub request_seconds: f64,
    /// How much longer a write whose answer was lost may still land.
    pub settle_seconds: f64,
    /// How long Cloudflare's lists may lag behind its answers.
    pub list_lag_seconds: f64,
    /// How long after the account's lists were fetched they are not fetched again.
    pub list_spacing_seconds: f64,
    /// Cleanup, before a row is archived with its leftovers.
    pub cleanup_seconds: f64,
    /// Never deployed and failing for longer is `failed`.
    pub failed_after_seconds: f64,
    /// Stopping in good order.
    pub shutdown_seconds: f64,
}

impl Default for DeadlineSettings {
    fn default() -> Self {
        let c = ControllerConfig::default();
        Self {
            lease_seconds: c.lease_seconds,
            request_seconds: c.request_timeout_seconds,
            settle_seconds: c.settle_grace_seconds,
            list_lag_seconds: c.list_lag_seconds,
            list_spacing_seconds: c.list_spacing_seconds,
            cleanup_seconds: c.cleanup_deadline_seconds,
            failed_after_seconds: c.failing_grace_seconds,
            shutdown_seconds: c.shutdown_seconds,
        }
    }
}

impl Settings {
    /// Whose word is taken for where a request came from.
    pub fn proxies(&self) -> Result<Vec<Network>, Failure> {
        let networks = self.trusted_proxies.iter().map(|text| text.parse());
        networks.collect::<Result<_, NoNetwork>>().map_err(|error| {
            Failure::usage(
                "trustedProxies holds something that is neither an address nor a network",
                format!("{error}; talon config show says where the present ones come from"),
            )
        })
    }

    /// What the daemon is told.
    pub fn controller(&self) -> ControllerConfig {
        ControllerConfig {
            hub_url: self.hub.address(self.listen),
            concurrency: self.workers,
            lease_seconds: self.deadlines.lease_seconds,
            resync_seconds: self.resync_seconds,
            request_timeout_seconds: self.deadlines.request_seconds,
            settle_grace_seconds: self.deadlines.settle_seconds,
            list_lag_seconds: self.deadlines.list_lag_seconds,
            list_spacing_seconds: self.deadlines.list_spacing_seconds,
            cleanup_deadline_seconds: self.deadlines.cleanup_seconds,
            failing_grace_seconds: self.deadlines.failed_after_seconds,
            shutdown_seconds: self.deadlines.shutdown_seconds,
            budget_calls: self.cloudflare.budget_calls,
            brake: self.brake.clone(),
            ..ControllerConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_an_address_that_leads_to_the_hub() {
        let here: SocketAddr = "0.0.0.0:8790".parse().expect("an address");
        let mut hub = HubSettings::default();
        assert_eq!(hub.address(here), "ws://127.0.0.1:8790/ws/agents");
        hub.embedded = false;
        assert_eq!(hub.address(here), SOCIETY_AI_HUB);
        hub.url = Some("wss://hub.example/ws/agents".to_owned());
        assert_eq!(hub.address(here), "wss://hub.example/ws/agents");
    }

    #[test]
    fn addresses_of_this_machine_are_told_apart() {
        for (address, local) in [
            ("ws://127.0.0.1:8790/ws/agents", Some(true)),
            ("ws://[::1]:8790/ws/agents", Some(true)),
            ("http://localhost:1/", Some(true)),
            ("wss://hub.example/ws/agents", Some(false)),
            ("https://api.cloudflare.com/client/v4", Some(false)),
            ("hub.example", None),
        ] {
            assert_eq!(is_local(address), local, "{address}");
        }
    }
}
