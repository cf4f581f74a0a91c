//! The real binary against a SQLite file. Where a daemon is needed but only its traces matter, the tests write what a
//! pass would write.

mod applying;
mod bench;
mod both_ways;
mod configuring;
mod daemon;
mod deleting;
mod exit_codes;
mod local;
mod reading;
mod secrets;
mod tokens;
mod waiting;
