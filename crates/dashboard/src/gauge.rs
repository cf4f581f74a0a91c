//! What a daemon in this process says of itself, for the page about the controller.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// What a process counts of its own calls to Cloudflare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Calls within the last five minutes.
    pub used: u32,
    /// For how much longer Cloudflare wants a pause.
    pub paused_for: Option<Duration>,
}

/// How long this process's latest passes took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// How many are looked at.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Of a hundred, 99 took no longer.
    pub p99: Duration,
}

/// How the token stands with which Cloudflare is called; never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudToken {
    /// `active`, or Cloudflare's word for what it is instead; what went wrong if it could not be asked.
    pub status: Result<String, String>,
    /// When it ends, if ever.
    pub expires_on: Option<DateTime<Utc>>,
    /// Names of what it may do, as far as Cloudflare lets it read them.
    pub permissions: Option<Vec<String>>,
    /// Those of them that Talon needs and that are not among them.
    pub missing: Vec<&'static str>,
    /// When Cloudflare was asked.
    pub asked_at: DateTime<Utc>,
}

/// A daemon in this process, as far as it can be seen. What is not known is `None`.
pub trait Gauge: Send + Sync + 'static {
    /// The present count of calls.
    fn calls(&self) -> Calls;

    /// The latest passes; `None` before the first.
    fn passes(&self) -> Option<Passes> {
        None
    }

    /// The token; `None` until Cloudflare was asked.
    fn token(&self) -> Option<CloudToken> {
        None
    }
}
