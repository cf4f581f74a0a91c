//! The real binary with Workers that run: `talon demo`, and what people type beside a `talon dev`.
//!
//! The first run on a machine builds the runtime and fetches workerd, both from npm.

mod canary;
mod commands;
mod demo;
mod logs;
mod proxy;
mod running;
