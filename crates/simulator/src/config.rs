//! How a simulator is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use talon_core::clock::Clock;

use crate::runner::{NoRunner, Runner};

/// The token a simulator accepts when nothing else is said.
pub const DEV_API_TOKEN: &str = "dev-token-of-the-local-cloudflare-simulator";
/// The account a simulator has when nothing else is said.
pub const DEV_ACCOUNT_ID: &str = "5a1e0c10dc10dd1a5a1e0c10dc10dd1a";

/// How many REST calls one token may make per window. S3 calls do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls per window.
    pub limit: u32,
    /// Length of the fixed window; once it is spent, every call gets a 429 until it ends.
    pub window: Duration,
}

impl Quota {
    /// Cloudflare's own: 1,200 calls per 5 minutes.
    pub const CLOUDFLARE: Self = Self {
        limit: 1200,
        window: Duration::from_secs(300),
    };
}

/// Everything that can be chosen about a simulator. `SimConfig::default()` is a good local one.
#[derive(Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one account.
    pub account_id: String,
    /// Value of an account token with every right: the controller's.
    pub api_token: String,
    /// Value of a token that belongs to a user instead of the account, with every right.
    pub user_token: Option<String>,
    /// The account's workers.dev subdomain; `None`: not registered yet.
    pub subdomain: Option<String>,
    /// Seed of ids, token values and faults.
    pub seed: u64,
    /// `None`: calls are not counted and no rate headers are sent.
    pub quota: Option<Quota>,
    /// How long a new or rolled token is refused by S3.
    pub new_token_delay: Duration,
    /// How many calls the log keeps.
    pub log_capacity: usize,
    /// Most Workers of the account.
    pub max_workers: usize,
    /// Most tokens of the account.
    pub max_tokens: usize,
    /// Most tokens on one page of their list, whatever `per_page` asks. Cloudflare documents 50 for users' tokens and
    /// nothing for an account's.
    pub token_page_limit: usize,
    /// Where workers.dev is served, over plain HTTP; port 0 takes a free one. `None`: it is not.
    pub front_door: Option<SocketAddr>,
    /// Where the simulator's time comes from.
    pub clock: Arc<dyn Clock>,
    /// What happens to code when it is deployed.
    pub runner: Arc<dyn Runner>,
}

impl std::fmt::Debug for SimConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimConfig")
            .field("listen", &self.listen)
            .field("account_id", &self.account_id)
            .field("subdomain", &self.subdomain)
            .field("seed", &self.seed)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            account_id: DEV_ACCOUNT_ID.to_owned(),
            api_token: DEV_API_TOKEN.to_owned(),
            user_token: None,
            subdomain: Some("dev".to_owned()),
            seed: 1,
            quota: None,
            new_token_delay: Duration::ZERO,
            log_capacity: 200_000,
            max_workers: 500,
            max_tokens: 500,
            token_page_limit: 100,
            front_door: None,
            clock: Arc::new(SystemClock::new()),
            runner: Arc::new(NoRunner),
        }
    }
}

/// This machine's clock.
#[derive(Debug)]
pub struct SystemClock(std::time::Instant);

impl SystemClock {
    /// Starts counting now.
    pub fn new() -> Self {
        Self(std::time::Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}
