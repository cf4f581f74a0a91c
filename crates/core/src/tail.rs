//! A Worker's tail: what it does and prints, as Cloudflare passes it on while it happens.
//!
//! Everything in it was written by the Worker and its visitors: it is neither escaped nor free of secrets yet.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::cloud::{CallCx, CloudResult};

/// What set the Worker going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailCause {
    /// A request. Without its headers and without the query, which may hold credentials.
    Request {
        /// `GET`, …
        method: String,
        /// The path alone.
        path: String,
        /// What it was answered with, if it was.
        status: Option<u16>,
    },
    /// An alarm of a Durable Object.
    Alarm,
    /// A cron trigger.
    Scheduled,
    /// Nothing that is known here.
    Other,
}

/// Something that the Worker printed or threw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailMessage {
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// `log`, `debug`, `info`, `warn`, `error`; of what was thrown, the name of its class.
    pub level: String,
    /// What it says.
    pub text: String,
}

/// One run of the Worker, from what set it going to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailEvent {
    /// When it began.
    pub at: Option<DateTime<Utc>>,
    /// What set it going.
    pub cause: TailCause,
    /// `ok`, `exception`, `exceededCpu`, `canceled`, …
    pub outcome: String,
    /// How long it took, in milliseconds.
    pub took_ms: Option<u64>,
    /// What it printed.
    pub logs: Vec<TailMessage>,
    /// What it threw and nobody caught.
    pub exceptions: Vec<TailMessage>,
    /// Whether there was more than is told.
    pub truncated: bool,
}

/// A tail that is open.
#[async_trait]
pub trait TailSocket: Send {
    /// Its id at Cloudflare.
    fn id(&self) -> &str;

    /// When Cloudflare ends it.
    fn expires_at(&self) -> Option<DateTime<Utc>>;

    /// The next event; `Ok(None)`: Cloudflare ended it. May be given up and called again.
    async fn next(&mut self) -> CloudResult<Option<TailEvent>>;
}

/// Opens tails.
#[async_trait]
pub trait TailCloud: Send + Sync {
    /// Makes a tail of this Worker and connects to it.
    async fn open_tail(&self, cx: CallCx, worker: &str) -> CloudResult<Box<dyn TailSocket>>;

    /// Removes a tail. One that is gone is a success.
    async fn close_tail(&self, cx: CallCx, worker: &str, id: &str) -> CloudResult<()>;
}
