//! Fixtures for the end-to-end, simulation and contract tests: a stage with a real store, the local Cloudflare over
//! HTTP, the real client and real daemons.

pub mod postgres;
pub mod secrets;
pub mod stage;
