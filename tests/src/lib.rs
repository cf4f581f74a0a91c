//! Fixtures for the end-to-end, simulation and contract tests: a stage with a real store, the local Cloudflare over
//! HTTP, the real client and real daemons; and a site, where the daemons are processes of the real binary.

#![allow(clippy::disallowed_methods)] // Oracles compare the values that Workers hold.

pub mod canary;
pub mod chaos;
pub mod network_chaos;
pub mod openbao;
pub mod oracle;
pub mod postgres;
pub mod pretender;
pub mod process;
pub mod secrets;
pub mod simulation;
pub mod site;
pub mod stage;
pub mod watching;
pub mod web;
