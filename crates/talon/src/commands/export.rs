//! `talon export`.

use talon_store::ListFilter;

use crate::cli::Format;
use crate::exit::{Exit, Failure};
use crate::manifests;
use crate::output::list_document;
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is printed can be applied again (talon apply -f -). Secrets appear as references, never as values."
)]
pub struct Args {
    /// Which agents
    #[arg(required_unless_present = "all")]
    names: Vec<String>,
    /// Every agent
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// Prints manifests.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let snapshots = if args.all {
        let filter = ListFilter {
            owner: session.owner(),
            ..ListFilter::default()
        };
        fleet.list(&filter).await?
    } else {
        let mut found = Vec::new();
        for name in &args.names {
            found.push(session.agent(&*fleet, name).await?);
        }
        found
    };
    let as_json = session.output.format == Format::Json;
    let (mut items, mut texts, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for s in &snapshots {
        let made = if as_json {
            manifests::to_json(s).map(|item| items.push(item))
        } else {
            manifests::to_yaml(s).map(|text| texts.push(text))
        };
        failures.extend(made.err());
    }
    if as_json && (!items.is_empty() || failures.is_empty()) {
        let document = match (args.all, items.len()) {
            (false, 1) => items.remove(0),
            _ => list_document(items),
        };
        session.output.document(&document)?;
    }
    for (i, text) in texts.iter().enumerate() {
        if i > 0 {
            session.output.line("---");
        }
        session.output.write(text);
    }
    // One row that cannot be written as a manifest does not keep the others from a backup.
    let last = failures.pop();
    for failure in &failures {
        session.output.warn(&failure.message);
    }
    last.map_or(Ok(Exit::Success), Err)
}
