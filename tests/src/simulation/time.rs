//! Clocks on the runtime's virtual time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::clock::Clock;
use tokio::time::Instant;

/// A clock that shows virtual time, off by some milliseconds that can be changed.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    offset_ms: AtomicI64,
}

impl VirtualClock {
    /// A clock that is off by this much. Must be made on the history's runtime.
    pub fn new(offset_ms: i64) -> Self {
        Self {
            start: Instant::now(),
            offset_ms: AtomicI64::new(offset_ms),
        }
    }

    /// Lets the wall clock jump.
    pub fn jump(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Time since the history began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        let begun = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
        let offset = TimeDelta::milliseconds(self.offset_ms.load(Ordering::Relaxed));
        begun + offset + TimeDelta::from_std(self.elapsed()).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        // Away from zero, as on a machine that has been up for a while.
        Duration::from_secs(86_400) + self.elapsed()
    }
}
