//! Time and chance, as traits, so that a simulation owns both.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Wall-clock time of this process. Never compared with the database's clock except as an age.
    fn now(&self) -> DateTime<Utc>;
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// Where chance comes from. Must be the operating system's generator in production: tokens are made of it.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}
