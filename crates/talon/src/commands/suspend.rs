//! `talon suspend` and `talon resume`.

use serde_json::json;

use super::DryRunFlag;
use crate::exit::{Exit, Failure};
use crate::session::{Session, agent_name};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which agent
    name: String,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Sets or takes back `suspend`.
pub async fn run(args: Args, session: Session, suspend: bool) -> Result<Exit, Failure> {
    let name = agent_name(&args.name)?;
    let fleet = session.fleet().await?;
    let before = session.agent(&*fleet, &args.name).await?;
    let word = if suspend { "suspended" } else { "resumed" };
    if args.dry_run.is_set() && session.output.is_machine() {
        let changes = before.agent.spec.suspend != suspend;
        session.output.document(
            &json!({ "dryRun": true, "name": name, "suspend": suspend, "changes": changes }),
        )?;
        return Ok(Exit::Success);
    }
    if args.dry_run.is_set() {
        let text = if before.agent.spec.suspend == suspend {
            format!("agent/{name} is {word} already (dry run)")
        } else {
            format!("agent/{name} would be {word} (dry run)")
        };
        session.output.line(&text);
        return Ok(Exit::Success);
    }
    let changed = fleet.set_suspend(&before, suspend).await?;
    if session.output.is_machine() {
        let after = session.agent(&*fleet, &args.name).await?;
        session.output.document(&crate::view::document(&after))?;
    } else if changed {
        session.output.line(&format!("agent/{name} {word}"));
    } else {
        session
            .output
            .line(&format!("agent/{name} unchanged ({word} already)"));
    }
    Ok(Exit::Success)
}
