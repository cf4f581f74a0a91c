//! `talon release-hold`.

use serde_json::json;

use super::DryRunFlag;
use crate::exit::{Exit, Failure};
use crate::output::{age, safe};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Look first at what the hold guards against: talon doctor.")]
pub struct Args {
    #[command(flatten)]
    dry_run: DryRunFlag,
}

/// Ends the hold in force.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let (hold, word) = if args.dry_run.is_set() {
        (fleet.hold().await?, "would be released (dry run)")
    } else {
        (
            fleet.release_hold().await?,
            "released; every agent is due now",
        )
    };
    if session.output.is_machine() {
        session
            .output
            .document(&json!({ "released": hold, "dryRun": args.dry_run.is_set() }))?;
        return Ok(Exit::Success);
    }
    session.output.line(&match hold {
        Some(hold) => format!(
            "hold of {} {word}: {}",
            age::stamp(hold.since),
            safe(&hold.reason)
        ),
        None => "no hold is in force".to_owned(),
    });
    Ok(Exit::Success)
}
