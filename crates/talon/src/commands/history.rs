//! `talon history`.

use serde_json::json;

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::output::{age, safe, table};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Whatever way a change came in: by talon, over HTTP, in the dashboard or by SQL. Fields are named, values never. The audit \
log is pruned with events; what is older is not shown."
)]
pub struct Args {
    /// Which agent (also one that was deleted)
    name: String,
}

/// Prints the changes of the agent, the oldest first.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let snapshot = session.find(&*fleet, &args.name, true).await?;
    let entries = fleet.history(&snapshot).await?;
    let out = &session.output;
    if out.is_machine() {
        let items: Vec<_> = entries
            .iter()
            .map(|e| {
                json!({
                    "at": e.at,
                    "generation": e.generation,
                    "actor": e.actor,
                    "source": e.source,
                    "action": e.action,
                    "fields": e.fields,
                })
            })
            .collect();
        out.document(&json!({ "kind": "History", "name": snapshot.agent.name, "items": items }))?;
        return Ok(Exit::Success);
    }
    if entries.is_empty() {
        out.progress("the audit log tells nothing of it any more");
        return Ok(Exit::Success);
    }
    let wide = out.format == Format::Wide;
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|e| {
            vec![
                if wide {
                    age::stamp(e.at)
                } else {
                    age::since(snapshot.now, e.at)
                },
                e.generation.map(|g| g.to_string()).unwrap_or_default(),
                safe(&e.actor),
                e.source.as_deref().map(safe).unwrap_or_default(),
                safe(&e.action),
                safe(&e.fields.join(", ")),
            ]
        })
        .collect();
    let headings = ["WHEN", "GENERATION", "WHO", "FROM", "WHAT", "FIELDS"];
    let width = out.width().filter(|_| !wide);
    out.write(&table::render(&headings, &rows, width));
    Ok(Exit::Success)
}
