//! The keys of `talon.yaml` and their defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use talon_controller::ControllerConfig;
use talon_controller::config::BrakeConfig;
use talon_secrets::Scopes;

/// Everything that can be configured. Strict: unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Where the rows live.
    pub database_url: String,
    /// The Cloudflare account.
    pub cloudflare: CloudflareSettings,
    /// The WebSocket Hub that Workers connect to.
    pub hub: HubSettings,
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
            hub: HubSettings::default(),
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
            budget_calls: 1000,
        }
    }
}

/// The WebSocket Hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HubSettings {
    /// Its address, as Workers see it.
    pub url: String,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            url: "wss://api.societyai.com/ws/agents".to_owned(),
        }
    }
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
    /// What the daemon is told.
    pub fn controller(&self) -> ControllerConfig {
        ControllerConfig {
            hub_url: self.hub.url.clone(),
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
