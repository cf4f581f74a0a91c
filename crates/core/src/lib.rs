//! The vocabulary of Talon: what an agent is, what is known about it, and what may be done for it.
//!
//! Guarantees: no I/O, no clock, no randomness of its own. Everything that touches the world is a trait here and
//! lives in another crate. Assumes nothing about the database or the HTTP stack.

#![cfg_attr(test, allow(clippy::disallowed_methods))] // Tests look at values.

pub mod agent;
pub mod bundle;
pub mod callback;
pub mod card;
pub mod clock;
pub mod cloud;
pub mod condition;
pub mod contact;
pub mod deliver;
pub mod event;
#[cfg(test)]
mod fixtures;
pub mod guesses;
pub mod hold;
pub mod id;
pub mod identity;
pub mod logs;
pub mod manifest;
pub mod model;
pub mod mutation;
pub mod name;
pub mod presence;
pub mod registry;
pub mod resource;
pub mod search;
pub mod secret;
pub mod secret_writer;
pub mod snapshot;
pub mod spec;
pub mod status;
pub mod tail;
pub mod task;
pub mod text;
pub mod turns;
pub mod validate;

pub use agent::Agent;
pub use id::{AgentId, Epoch, Generation, InstallId, TryId};
pub use name::{AgentName, Owner};
pub use snapshot::Snapshot;
pub use spec::AgentSpec;
