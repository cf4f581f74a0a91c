//! `talon describe`.

use talon_store::EventFilter;

use crate::exit::{Exit, Failure};
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
    let store = session.whole_store().await?;
    let snapshot = session
        .find(&*store, &args.name, args.include_deleted)
        .await?;
    let events = store
        .events(&EventFilter {
            agent: Some(bare(&args.name).to_owned()),
            limit: EVENTS,
            ..EventFilter::default()
        })
        .await?;
    // The card carries the hash of a token, which not everybody who may read the row may read.
    let card = match store.card(snapshot.agent.id).await.map_err(Failure::from) {
        Err(failure) if failure.is_lack_of_privilege() => None,
        card => card?,
    };
    // So it is with tasks, which hold what people asked.
    let name = snapshot.agent.name.as_str();
    let tasks = match store.recent_tasks(name, TASKS).await.map_err(Failure::from) {
        Err(failure) if failure.is_lack_of_privilege() => Vec::new(),
        tasks => tasks?,
    };
    if session.output.is_machine() {
        let mut document = view::document(&snapshot);
        document["events"] = serde_json::json!(events);
        document["tasks"] = tasks.iter().map(view::task_document).collect();
        session.output.document(&document)?;
    } else {
        session.output.write(&describe::render(
            &snapshot,
            card.as_ref(),
            &tasks,
            &events,
            session.output.format,
        ));
    }
    Ok(Exit::Success)
}
