//! How long a pass may still act.

use std::sync::Mutex;
use std::time::Duration;

use talon_core::clock::Clock;
use talon_store::Claim;
use tokio_util::sync::CancellationToken;

/// A row lease in the hands of a pass. The heartbeat prolongs it; when it is lost, the pass is cancelled.
#[derive(Debug)]
pub struct Lease {
    /// What was claimed.
    pub claim: Claim,
    /// Cancelled when the lease is lost or the daemon stops.
    pub stop: CancellationToken,
    until: Mutex<Duration>,
}

impl Lease {
    /// A lease that ends at this monotonic time.
    pub fn new(claim: Claim, stop: CancellationToken, until: Duration) -> Self {
        Self {
            claim,
            stop,
            until: Mutex::new(until),
        }
    }

    /// Moves the end.
    pub fn prolong(&self, until: Duration) {
        *self
            .until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }

    /// How long the pass may still act.
    pub fn remaining(&self, clock: &dyn Clock) -> Duration {
        let until = *self
            .until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        until.saturating_sub(clock.monotonic())
    }
}
