//! Integration tests of the SQLite store: the conformance suite, and the contract in plain SQL with the system's own
//! `sqlite3`, which is older than the library built in.

mod audit;
mod columns;
mod conformance;
mod contract;
mod deletion;
mod gathering;
mod leaks;
mod opening;
mod replace;
mod support;
mod waking;
