//! What a plan is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::bundle::BundleManifest;
use talon_core::cloud::{BucketInfo, TokenInfo, WorkerInfo, WorkerSettings};
use talon_core::condition::Reason;
use talon_core::spec::Jurisdiction;
use talon_core::{InstallId, Snapshot};

/// The whole input of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Desired state, records, and the database's clock.
    pub snapshot: &'a Snapshot,
    /// What was seen of this agent's things.
    pub observed: &'a Observed,
    /// What is the same for all agents.
    pub world: &'a World,
}

/// What is the same for all agents.
#[derive(Debug, Clone)]
pub struct World {
    /// This installation.
    pub install: InstallId,
    /// The Cloudflare account.
    pub account_id: String,
    /// Its workers.dev subdomain.
    pub subdomain: Subdomain,
    /// Address of the Hub, `wss://…`.
    pub hub_url: String,
    /// Where the Worker finds R2 over S3.
    pub r2_endpoint: R2Endpoint,
    /// The code to deploy.
    pub bundle: BundleManifest,
    /// Whether Workers can be spoken to at their own addresses.
    pub knocks: bool,
    /// Durations.
    pub timing: Timing,
    /// Whether effects are withheld.
    pub held: Option<Held>,
}

/// The account's workers.dev subdomain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subdomain {
    /// It has this one.
    Known(String),
    /// It has none; a person must choose one.
    Missing,
}

/// Where the Worker finds R2 over S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum R2Endpoint {
    /// Cloudflare's, by account and jurisdiction.
    Cloudflare,
    /// This one.
    Fixed(String),
}

impl World {
    /// `https://{worker}.{subdomain}.workers.dev`, always derived.
    pub fn worker_url(&self, worker: &str) -> Option<String> {
        match &self.subdomain {
            Subdomain::Known(subdomain) => {
                Some(format!("https://{worker}.{subdomain}.workers.dev"))
            }
            Subdomain::Missing => None,
        }
    }

    /// The S3 endpoint of a bucket in this jurisdiction.
    pub fn r2_endpoint(&self, jurisdiction: Jurisdiction) -> String {
        match (&self.r2_endpoint, jurisdiction) {
            (R2Endpoint::Fixed(url), _) => url.clone(),
            (R2Endpoint::Cloudflare, Jurisdiction::Default) => {
                format!("https://{}.r2.cloudflarestorage.com", self.account_id)
            }
            (R2Endpoint::Cloudflare, Jurisdiction::Eu | Jurisdiction::Fedramp) => {
                format!(
                    "https://{}.{}.r2.cloudflarestorage.com",
                    self.account_id,
                    jurisdiction.as_str()
                )
            }
        }
    }
}

/// Durations that planning works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Longest time a write may take until its answer is given up.
    pub request_timeout: Duration,
    /// How much longer a request whose answer was lost may still land.
    pub settle_grace: Duration,
    /// How long Cloudflare's lists may lag behind its own answers.
    pub list_lag: Duration,
    /// How long cleanup is tried before the row is archived with its leftovers.
    pub cleanup_deadline: Duration,
    /// How often at least.
    pub cleanup_rounds: i64,
    /// How long an agent that never was deployed may fail before it is called `failed`.
    pub failing_grace: Duration,
    /// How far Cloudflare's clocks may differ from each other: the one of its answers, and the one that stamps buckets.
    pub clock_skew: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            settle_grace: Duration::from_secs(60),
            list_lag: Duration::from_secs(30),
            cleanup_deadline: Duration::from_secs(600),
            cleanup_rounds: 3,
            failing_grace: Duration::from_secs(600),
            clock_skew: Duration::from_secs(300),
        }
    }
}

impl Timing {
    /// How long after being sent a write may land.
    pub fn settle(&self) -> Duration {
        self.request_timeout + self.settle_grace
    }
}

/// Effects are withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// Which effects.
    pub scope: HeldScope,
    /// Since when, if it stands in the database and can be released there.
    pub since: Option<DateTime<Utc>>,
}

/// Which effects are withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldScope {
    /// All.
    All,
    /// Those that destroy, and those that make again what was there before.
    Risky,
}

/// One look at a list: when it was fetched, and what it showed under our name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look<T> {
    /// When the fetch began, on the database's clock; `None`: never looked.
    pub as_of: Option<DateTime<Utc>>,
    /// What it showed.
    pub seen: Option<T>,
}

impl<T> Default for Look<T> {
    fn default() -> Self {
        Self {
            as_of: None,
            seen: None,
        }
    }
}

impl<T> Look<T> {
    /// Whether the look began later than this.
    pub fn after(&self, t: DateTime<Utc>) -> bool {
        self.as_of.is_some_and(|a| a > t)
    }
}

/// What was seen of one agent's things.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The entry of the Worker list under our name.
    pub worker: Look<WorkerInfo>,
    /// The entry of the bucket list under our name.
    pub bucket: Look<BucketInfo>,
    /// Every token under our name, oldest first.
    pub tokens: Look<Vec<TokenInfo>>,
    /// The Worker's settings, if they were read for this pass.
    pub settings: Option<WorkerSettings>,
    /// The names of the Worker's secrets, if they were read for this pass.
    pub secret_names: Option<BTreeSet<String>>,
    /// Hash of the registered card: `None` not looked, `Some(None)` there is none.
    pub card: Option<Option<String>>,
    /// For each referenced key, by its name on the Worker: the fingerprint of its value, or why there is none.
    pub references: BTreeMap<String, Result<String, SecretProblem>>,
    /// Fingerprints of the values that Talon derives (model, keep-alive, control token), by name on the Worker.
    pub derived: BTreeMap<String, String>,
}

/// Why a reference gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretProblem {
    /// `SecretValueMissing`, `SecretOutOfScope` or `SecretRefDiscarded`.
    pub reason: Reason,
    /// For people; names the reference, never a value.
    pub message: String,
    /// Whether it may pass by itself (a file server that is down).
    pub transient: bool,
}
