//! `talon describe`.

use crate::exit::{Exit, Failure};
use crate::fleet::Events;
use crate::output::describe;
use crate::session::{Session, bare};
use crate::view;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which agent
    name: String,
    /// Also one that was deleted and whose record is kept for billing
    #[arg(long)]
    include_deleted: bool,
}

/// How many events are shown.
const EVENTS: i64 = 12;

/// How many tasks are shown.
const TASKS: i64 = 5;

/// Prints everything about one agent.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let fleet = session.fleet().await?;
    let snapshot = session
        .find(&*fleet, &args.name, args.include_deleted)
        .await?;
    let ask = Events {
        agent: Some(bare(&args.name).to_owned()),
        limit: EVENTS,
        ..Events::default()
    };
    let (mut events, mut tasks) = (
        fleet.events(&ask).await?,
        fleet.tasks(&snapshot, TASKS).await?,
    );
    // Both are asked of a name, which others may have borne, one at a time.
    let (from, to) = (snapshot.agent.created_at, snapshot.agent.status.deleted_at);
    events.retain(|e| e.first_at >= from && to.is_none_or(|to| e.first_at <= to));
    tasks.retain(|t| t.created_at >= from && to.is_none_or(|to| t.created_at <= to));
    if session.output.is_machine() {
        let mut document = view::document(&snapshot);
        document["events"] = serde_json::json!(events);
        document["tasks"] = tasks.iter().map(view::task_document).collect();
        session.output.document(&document)?;
    } else {
        session.output.write(&describe::render(
            &snapshot,
            &tasks,
            &events,
            session.output.format,
        ));
    }
    Ok(Exit::Success)
}
