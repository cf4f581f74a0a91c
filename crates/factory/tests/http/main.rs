//! The Factory over real HTTP, on SQLite, with a Hub.

#![allow(clippy::disallowed_methods)] // Tests look at values.

mod agent;
mod agents;
mod callback;
mod document;
mod fleet;
mod guessing;
mod limits;
mod logs;
mod network;
mod owners;
mod requests;
mod secrets;
mod watching;
mod world;
