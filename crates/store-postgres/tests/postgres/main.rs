//! The PostgreSQL store against a real server: the shared conformance suite, the contract in plain SQL as each role,
//! leaks, races, migrations.

#[path = "../../../../tests/src/postgres.rs"]
mod harness;

mod contract;
mod feed;
mod grants;
mod leaks;
mod migrations;
mod network;
mod races;
mod references;
mod rows;
mod suite;
mod support;
mod waking;
