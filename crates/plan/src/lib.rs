//! The pure heart of Talon: what is to be done for one agent, and what is to be said of it.
//!
//! [`plan`] compares desired state, records and observation and gives a [`Plan`]; [`effect`] says what is written to
//! the database around each step; [`status()`] says what people read, and [`blind()`] what they read of a pass that saw
//! nothing; [`heard::heard`] says what is made of a Worker's answer. Guarantees: no I/O, no clock, no chance; the same input gives the same output. `Cargo.toml` keeps it so: nothing here can reach a runtime or the network.

pub mod blind;
pub mod cleanup;
mod connection;
pub mod converge;
pub mod desired;
pub mod effect;
pub mod heard;
pub mod input;
pub mod keys;
pub mod knock;
pub mod know;
pub mod lint;
mod placed;
pub mod report;
pub mod spec_diff;
pub mod status;
pub mod step;

pub use blind::blind;
pub use input::{
    Held, HeldScope, Input, Look, Observed, R2Endpoint, SecretProblem, Subdomain, Timing, World,
};
pub use knock::Knock;
pub use lint::lint;
pub use report::{Action, Verdict};
pub use status::{StatusReport, status};
pub use step::{Block, Need, Plan, Step, StepKind, Supply, SupplySource};

/// What is to be done for one agent now.
pub fn plan(input: &Input<'_>) -> Plan {
    let agent = &input.snapshot.agent;
    if agent.is_archived() {
        return Plan::default();
    }
    let plan = if agent.is_deleting() {
        cleanup::plan(input)
    } else {
        let mut plan = converge::plan(input);
        plan.knock = knock::knock(input, &plan);
        plan
    };
    match &input.world.held {
        Some(held) => plan.withhold(held, agent.is_deleting()),
        None => plan,
    }
}
