//! The whole, end to end: real daemons, the real client over HTTP, the local Cloudflare.

mod life;
