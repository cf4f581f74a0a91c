//! The whole, end to end: real daemons, the real client over HTTP, the local Cloudflare.
#![allow(clippy::disallowed_methods)] // The proof that credentials fit each other.

mod brake;
mod cleanup;
mod credentials;
mod drift;
mod faults;
mod inventory;
mod keys;
mod life;
mod lost_answers;
mod refusals;
mod restored;
mod resync;
mod sweep;
mod tampered;
mod updates;
mod vault;
mod verify;
mod woken;
