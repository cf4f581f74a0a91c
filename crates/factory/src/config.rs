//! Limits of the HTTP server.

use std::time::Duration;

use talon_core::guesses::GuessLimit;

use crate::proxies::Network;

/// How large, how deep and how slow a request may be, and how often a caller may ask.
#[derive(Debug, Clone, PartialEq)]
pub struct FactoryConfig {
    /// Largest body, in bytes.
    pub max_body: usize,
    /// How long the head of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long an answer may take. Streams, tasks and waits excepted, which have their own limits.
    pub request_timeout: Duration,
    /// How long a caller may wait for an agent in one request.
    pub max_wait: Duration,
    /// How long a task has if its caller names no time.
    pub task_timeout: Duration,
    /// How often one caller may ask.
    pub rate: Rate,
    /// How many wrong tokens one address may show.
    pub guesses: GuessLimit,
    /// Proxies whose word is taken for where a request came from.
    pub trusted_proxies: Vec<Network>,
    /// How often a stream that is silent says that it lives.
    pub heartbeat: Duration,
    /// How long a watch lasts at most; its client takes it up again where it ended.
    pub max_watch: Duration,
    /// Streams of agents' lines at the same time.
    pub max_log_streams: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long open connections have to end when the server stops.
    pub shutdown_patience: Duration,
}

/// So many requests at once, and so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second; 0: as many as anybody likes.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

impl Default for FactoryConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            max_body: 1024 * 1024,
            header_timeout: seconds(10),
            request_timeout: seconds(30),
            max_wait: seconds(300),
            task_timeout: seconds(180),
            rate: Rate {
                per_second: 50,
                burst: 500,
            },
            guesses: GuessLimit::default(),
            trusted_proxies: Vec::new(),
            heartbeat: seconds(15),
            max_watch: seconds(3_600),
            max_log_streams: 64,
            max_connections: 4_096,
            shutdown_patience: seconds(8),
        }
    }
}
