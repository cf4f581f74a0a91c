//! The SQLite store: one file, one daemon, no server.
//!
//! Guarantees: every rule of the SQL contract is enforced by the database itself (`migrations/sqlite`), whoever
//! writes; all writes of this process go through one connection and begin `IMMEDIATE`, so that a check and the write
//! that follows from it are one; commits are durable (`synchronous=FULL`); every time is made by SQL. Assumes a local
//! file system: SQLite's locks and the daemon's lock do not hold on network mounts.

mod access;
mod actor;
mod claim;
mod credentials;
mod error;
mod fleet;
mod gather;
mod glance;
mod installation;
mod lock;
mod mutate;
mod open;
mod pass;
mod people;
mod presence;
mod read;
mod schedule;
mod search;
mod sql;
mod store;
mod tasks;
mod watch;

pub use lock::DaemonLock;
pub use open::SqliteStore;
