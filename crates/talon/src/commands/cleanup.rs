//! `talon cleanup retry`.

use serde_json::json;
use talon_core::Snapshot;
use talon_core::resource::{ResourceKind, ResourceRecord};

use super::DryRunFlag;
use crate::exit::{Exit, Failure};
use crate::output::safe;
use crate::session::Session;
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Try now what the deletion of an agent could not remove, rather than at the next regular time
    Retry {
        /// Which agent
        name: String,
        /// Only if this could not be removed: worker, r2_objects, r2_bucket, r2_token, agent_card
        #[arg(long, value_parser = kind, value_name = "KIND")]
        resource: Option<ResourceKind>,
        #[command(flatten)]
        dry_run: DryRunFlag,
    },
}

fn kind(text: &str) -> Result<ResourceKind, String> {
    text.parse().map_err(|_| {
        let all: Vec<_> = ResourceKind::ALL.iter().map(|k| k.as_str()).collect();
        format!("one of {}", all.join(", "))
    })
}

/// Makes the next pass of the deletion due now.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let What::Retry {
        name,
        resource,
        dry_run,
    } = args.what;
    let fleet = session.fleet().await?;
    let agent = session.find(&*fleet, &name, true).await?;
    let left = left(&agent, resource)?;
    if !dry_run.is_set() {
        fleet.request_reconcile(&agent).await?;
    }
    let kinds: Vec<&str> = left.iter().map(|r| r.kind.as_str()).collect();
    if session.output.is_machine() {
        session.output.document(&json!({
            "name": agent.agent.name,
            "dryRun": dry_run.is_set(),
            "retried": kinds,
        }))?;
        return Ok(Exit::Success);
    }
    let word = if dry_run.is_set() {
        "would be tried again now (dry run)"
    } else {
        "is tried again now"
    };
    for r in &left {
        session.output.line(&format!(
            "agent/{} {} {} {word}",
            agent.agent.name,
            r.kind,
            safe(&r.name)
        ));
    }
    if !dry_run.is_set() {
        session.output.progress(&format!(
            "to watch: talon wait {} --for=delete",
            agent.agent.name
        ));
    }
    Ok(Exit::Success)
}

/// What could not be removed and is worth another try.
fn left(agent: &Snapshot, only: Option<ResourceKind>) -> Result<Vec<&ResourceRecord>, Failure> {
    let name = &agent.agent.name;
    if !agent.agent.is_deleting() {
        return Err(Failure::rejected(
            format!("agent/{name} is not being deleted: there is nothing to clean up"),
            format!("talon reconcile {name} looks at it now; talon delete {name} deletes it"),
        ));
    }
    let left: Vec<_> = view::leftovers(agent)
        .filter(|r| only.is_none_or(|kind| r.kind == kind))
        .collect();
    if left.is_empty() {
        let what = only.map_or("nothing".to_owned(), |kind| format!("no {kind}"));
        return Err(Failure::rejected(
            format!("agent/{name} has {what} that could not be removed"),
            format!("talon tree {name} shows what became of each of its parts"),
        ));
    }
    if agent.agent.is_archived() {
        return Err(Failure::rejected(
            format!(
                "agent/{name} is archived: the sweep tries what is left over at its next round by itself"
            ),
            format!(
                "talon why {name} says what stands against it; rounds come every resyncSeconds (talon config show)"
            ),
        ));
    }
    Ok(left)
}
