//! Times and limits of a Hub.

use std::time::Duration;

/// How long the Hub waits for what, and how much it takes. The defaults are those of the Society AI network where it
/// publishes any, else our own.
#[derive(Debug, Clone, PartialEq)]
pub struct HubConfig {
    /// Name of this Hub process; presence is stored under it, so no two live processes may share it.
    pub name: String,
    /// A connection without a heartbeat for this long is dropped.
    pub heartbeat_timeout: Duration,
    /// A connection that has not registered by then is dropped.
    pub register_timeout: Duration,
    /// How long a frame may take to be written; a reader slower than that is dropped.
    pub write_timeout: Duration,
    /// How long a connection that stands in the way of a new one has to answer a ping.
    pub probe_timeout: Duration,
    /// How long a closing handshake may take.
    pub close_timeout: Duration,
    /// How often a live connection's right to be there is looked up again.
    pub recheck: Duration,
    /// How often signs of life are stored.
    pub seen_every: Duration,
    /// How often it is looked which agents are being deleted: so late may their followers hear it.
    pub deletions_every: Duration,
    /// Lifetime of a token traded for an API key.
    pub token_lifetime: Duration,
    /// How long a delegating agent waits for the result.
    pub delegation_timeout: Duration,
    /// How long the answer of a task is kept waiting for a database that does not answer, before the connection is closed
    /// (the agent comes back and gives the answer again).
    pub database_patience: Duration,
    /// How long an agent whose connection broke while it had tasks has to come back before it is woken.
    pub wake_grace: Duration,
    /// How long one wake-up call may take.
    pub wake_timeout: Duration,
    /// First wait between two wake-up calls to the same agent; doubles.
    pub wake_backoff: Duration,
    /// Longest wait between two wake-up calls to the same agent.
    pub wake_backoff_max: Duration,
    /// Wake-up calls at the same time.
    pub wakes_at_once: usize,
    /// Longest sleep of whoever follows a task without looking at its row.
    pub follow_recheck: Duration,
    /// Ended tasks are kept this long.
    pub keep_tasks: Duration,
    /// Largest frame, both ways, in bytes.
    pub max_frame: usize,
    /// Largest text of a task, in bytes.
    pub max_text: usize,
    /// Largest metadata of a task, in bytes of JSON.
    pub max_metadata: usize,
    /// Largest Agent Card in `agent.register`, in bytes of JSON.
    pub max_card: usize,
    /// Longest time a task may be given.
    pub max_deadline: Duration,
    /// Open tasks of one agent.
    pub max_open_tasks: i64,
    /// Tasks that were sent to a connection and not yet answered; the others wait in the database.
    pub window: usize,
    /// Bytes waiting to be written to one connection.
    pub max_outgoing: usize,
    /// Bytes waiting for one follower of a task; pieces beyond are dropped, the end never is.
    pub max_following: usize,
    /// Searches and delegations of one connection under way at the same time.
    pub max_side_jobs: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections that have not registered.
    pub max_unregistered: usize,
    /// What a registered connection may send.
    pub rate: RateLimit,
    /// What a connection may send before it has registered.
    pub unregistered_rate: RateLimit,
    /// API keys that may be traded per second, by everybody together.
    pub trades_per_second: f64,
}

/// A limit on what a connection sends: so much at once, so much per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Frames per second.
    pub frames: f64,
    /// Frames at once.
    pub frames_burst: f64,
    /// Bytes per second.
    pub bytes: f64,
    /// Bytes at once.
    pub bytes_burst: f64,
}

const MIB: usize = 1024 * 1024;

impl Default for HubConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            name: "hub".to_owned(),
            heartbeat_timeout: seconds(90),
            register_timeout: seconds(15),
            write_timeout: seconds(20),
            probe_timeout: seconds(4),
            close_timeout: seconds(2),
            recheck: seconds(60),
            seen_every: seconds(30),
            deletions_every: seconds(1),
            token_lifetime: seconds(900),
            delegation_timeout: seconds(180),
            database_patience: seconds(30),
            wake_grace: seconds(10),
            wake_timeout: seconds(10),
            wake_backoff: seconds(2),
            wake_backoff_max: seconds(60),
            wakes_at_once: 16,
            follow_recheck: seconds(10),
            keep_tasks: seconds(7 * 24 * 3600),
            max_frame: MIB,
            max_text: MIB / 4,
            max_metadata: 16 * 1024,
            max_card: 64 * 1024,
            max_deadline: seconds(24 * 3600),
            max_open_tasks: 64,
            window: 16,
            max_outgoing: 2 * MIB,
            max_following: MIB / 4,
            max_side_jobs: 16,
            max_connections: 20_000,
            max_unregistered: 512,
            rate: RateLimit {
                frames: 500.0,
                frames_burst: 2_000.0,
                bytes: 8.0 * MIB as f64,
                bytes_burst: 32.0 * MIB as f64,
            },
            unregistered_rate: RateLimit {
                frames: 1.0,
                frames_burst: 20.0,
                bytes: 64.0 * 1024.0,
                bytes_burst: 1.5 * MIB as f64,
            },
            trades_per_second: 50.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_own_numbers_are_the_defaults() {
        let config = HubConfig::default();
        assert_eq!(config.heartbeat_timeout, Duration::from_secs(90));
        assert_eq!(config.delegation_timeout, Duration::from_secs(180));
        assert_eq!(config.token_lifetime, Duration::from_secs(900));
        assert_eq!(config.max_frame, 1_048_576);
    }
}
