//! Writing agents: what the four ways of it (create, replace, patch, delete) have in common.

mod bodies;
mod carry_out;
mod changes;
mod params;
mod wanted;
mod written;

pub use bodies::{CreateAgent, PatchAgent, ReplaceAgent};
pub use carry_out::Write;
pub use changes::{WritePlan, Written, write_plan};
pub use params::WriteParams;
pub use wanted::{wanted, wanted_spec};
pub use written::{CarriedOut, located};
