//! The Factory over real HTTP, on SQLite, with a Hub.

#![allow(clippy::disallowed_methods)] // Tests look at values.

mod agent;
mod agents;
mod document;
mod limits;
mod logs;
mod network;
mod owners;
mod requests;
mod secrets;
mod watching;
mod world;
