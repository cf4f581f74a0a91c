//! The seeded simulation: the real daemons over the store in memory and a Cloudflare in memory, on one thread, with
//! virtual time. One seed is one history: whatever chance decides comes out of the seed, so that a history that broke
//! an oracle can be run again, exactly.
//!
//! What can go wrong here: a process dies or is frozen at any effect and at any write to the database; the database is
//! away, or takes a write and does not say so; Cloudflare refuses, throttles, loses answers, carries requests out late
//! or twice, and shows lists that are up to `list_lag` old; people change and delete things behind Talon's back. In every
//! second pair of seeds the Workers can be spoken to as well: they refuse, are silent, or say what is not so, and come to
//! the Hub and leave it.

pub mod cloud;
pub mod dice;
pub mod door;
pub mod faults;
pub mod oracle;
pub mod script;
pub mod seat;
pub mod stage;
pub mod store;
pub mod time;
pub mod walk;
pub mod world;
