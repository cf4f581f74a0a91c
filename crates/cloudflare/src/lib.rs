//! Cloudflare as Talon needs it: a typed client of the API v4 and of R2's S3 endpoint, behind
//! [`talon_core::cloud::Cloud`].
//!
//! Guarantees
//! - Reads are tried at most three times, writes are sent exactly once; a write whose answer is lost or unclear is
//!   [`CloudError::Ambiguous`](talon_core::cloud::CloudError::Ambiguous), never anything else.
//! - Every API call, retries included, first asks the [`Budget`](talon_core::cloud::Budget). S3 calls do not: Cloudflare
//!   counts them elsewhere.
//! - Bodies and headers are never logged. No URL reaches a log line or an error. Messages are cut, escaped and freed of
//!   the token and of every secret the call carried.
//!
//! Where to look: `transport` sends, `envelope` reads answers, `taxonomy` decides what a refusal means, `workers`,
//! `upload`, `buckets`, `tokens` and `s3` hold the calls, `workers_dev` speaks to the Workers themselves, `tail` listens to
//! them, `verify` holds what we assume of the real Cloudflare.

mod account;
mod admission;
mod buckets;
mod client;
mod cloud;
mod config;
#[cfg(feature = "contract")]
#[doc(hidden)]
pub mod contract;
mod envelope;
mod exposed;
mod lenient;
mod message;
mod rate;
mod s3;
mod server_clock;
mod tail;
mod taxonomy;
mod tokens;
mod transport;
mod upload;
pub mod verify;
mod workers;
mod workers_dev;

pub use account::{NEEDED_PERMISSIONS, TokenTerms};
pub use admission::Unlimited;
pub use client::Client;
pub use config::{ClientConfig, ConfigError, Timeouts};
pub use taxonomy::codes;
pub use workers_dev::WorkersDev;
