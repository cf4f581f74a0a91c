//! `talon tree`.

use crate::exit::{Exit, Failure};
use crate::output::tree;
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which agent
    name: String,
}

/// Prints the agent's parts.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let snapshot = session.find(&*fleet, &args.name, true).await?;
    if session.output.is_machine() {
        session
            .output
            .document(&talon_explain::tree::document(&snapshot))?;
    } else {
        session
            .output
            .write(&tree::render(&snapshot, session.output.colour));
    }
    Ok(Exit::Success)
}
