//! One agent: why it is as it is, what it consists of, what happened, what it shall be. A file holds a tab, or an idea that
//! tabs share.

mod actions;
mod conditions;
mod config;
mod divergence;
mod events;
mod facts;
mod frame;
mod history;
pub mod logs;
mod overview;
pub mod secrets;
mod timeline;
mod tree;
mod visit;

pub use actions::{reconcile, resume, suspend};
pub use config::{config, locked, shown_yaml};
pub use events::events;
pub use history::history;
pub use overview::overview;
pub use timeline::timeline;
