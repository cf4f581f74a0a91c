//! The whole, end to end: real daemons, the real client over HTTP, the local Cloudflare.

mod brake;
mod cleanup;
mod drift;
mod faults;
mod life;
mod lost_answers;
mod refusals;
mod resync;
mod updates;
