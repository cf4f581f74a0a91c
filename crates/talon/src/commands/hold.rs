//! `talon hold`.

use serde_json::json;

use super::DryRunFlag;
use crate::exit::{Exit, Failure};
use crate::output::{age, safe};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Rows can still be written; nothing is done at Cloudflare until talon release-hold."
)]
pub struct Args {
    /// Why, for whoever meets the hold
    #[arg(long, default_value = "held by hand")]
    reason: String,
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Puts a hold in force.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    if args.dry_run.is_set() {
        let hold = fleet.hold().await?;
        if session.output.is_machine() {
            session
                .output
                .document(&json!({ "dryRun": true, "new": hold.is_none(), "hold": hold }))?;
            return Ok(Exit::Success);
        }
        let text = match hold {
            Some(hold) => format!(
                "a hold is in force already since {} (dry run)",
                age::stamp(hold.since)
            ),
            None => "every effect on every agent would be withheld (dry run)".to_owned(),
        };
        session.output.line(&text);
        return Ok(Exit::Success);
    }
    let new = fleet.set_hold(&args.reason).await?;
    let hold = fleet.hold().await?;
    if session.output.is_machine() {
        session
            .output
            .document(&json!({ "new": new, "hold": hold }))?;
    } else if new {
        session
            .output
            .line("on hold: nothing is done until talon release-hold");
    } else if let Some(hold) = hold {
        session.output.line(&format!(
            "unchanged: on hold since {}: {}",
            age::stamp(hold.since),
            safe(&hold.reason)
        ));
    }
    Ok(Exit::Success)
}
