//! Limits of the HTTP server.

use std::time::Duration;

use talon_core::guesses::GuessLimit;
use talon_core::turns::{Allowance, Rate};

use crate::proxies::Network;

/// How large, how deep and how slow a request may be, and how often a caller may ask.
#[derive(Debug, Clone, PartialEq)]
pub struct FactoryConfig {
    /// Largest body, in bytes.
    pub max_body: usize,
    /// How long the head of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long a client that takes nothing of its answer is borne with.
    pub stall_timeout: Duration,
    /// How long a body may take to arrive, and an answer. Streams, tasks and waits excepted, which have their own limits.
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
    /// How often one caller may write a key.
    pub key_rate: Rate,
    /// Answers that last (watches, waits, tasks), at the same time, of one caller.
    pub long_answers: usize,
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

impl FactoryConfig {
    /// What one caller may ask for, to be counted by [`Turns`](talon_core::turns::Turns).
    pub fn allowance(&self) -> Allowance {
        Allowance {
            requests: self.rate,
            keys: match self.rate.per_second {
                // Who counts nothing counts keys neither.
                0 => self.rate,
                _ => self.key_rate,
            },
            long_answers: self.long_answers,
        }
    }
}

impl Default for FactoryConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let allowance = Allowance::default();
        Self {
            max_body: 1024 * 1024,
            header_timeout: seconds(10),
            stall_timeout: seconds(60),
            request_timeout: seconds(30),
            max_wait: seconds(300),
            task_timeout: seconds(180),
            rate: allowance.requests,
            guesses: GuessLimit::default(),
            trusted_proxies: Vec::new(),
            key_rate: allowance.keys,
            long_answers: allowance.long_answers,
            heartbeat: seconds(15),
            max_watch: seconds(3_600),
            max_log_streams: 256,
            max_connections: 4_096,
            shutdown_patience: seconds(8),
        }
    }
}
