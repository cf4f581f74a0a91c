//! The daemon: wake → claim → load → observe → plan → execute → finish.
//!
//! Guarantees: a pass re-reads the row and reality and never acts on why it was woken; every effect is written down
//! before and after; two daemons may run at once and the result is still right; a pass that panics harms no other.

pub mod account;
pub mod answers;
pub mod backoff;
pub mod brake;
pub mod budget;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod execute;
pub mod failure;
pub mod high_water;
pub mod inventory;
pub mod lease;
pub mod logbook;
pub mod logs;
pub mod observe;
pub mod pass;
pub mod resync;
pub mod secret_writer;
pub mod shared;
pub mod sweep;
pub mod tails;
pub mod tell;
pub mod times;
pub mod waker;

pub use config::ControllerConfig;
pub use daemon::{Daemon, DaemonError, Parts};
