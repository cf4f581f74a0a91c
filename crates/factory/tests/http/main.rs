//! The Factory over real HTTP, on SQLite, with a Hub.

#![allow(clippy::disallowed_methods)] // Tests look at values.

mod agent;
mod network;
mod requests;
mod secrets;
mod world;
