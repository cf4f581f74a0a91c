//! `talon describe`.

use talon_core::task::Task;
use talon_store::glance::GlanceEvents;

use crate::exit::{Exit, Failure};
use crate::output::describe;
use crate::session::Session;
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
    // By its id: others may have borne the name.
    let events = store
        .glance_events(&GlanceEvents {
            agent: Some(snapshot.agent.id),
            limit: EVENTS,
            ..GlanceEvents::default()
        })
        .await?;
    // Tasks hold what people asked, which not everybody who may read the row may read.
    let name = snapshot.agent.name.as_str();
    let tasks = match store.recent_tasks(name, TASKS).await.map_err(Failure::from) {
        Err(failure) if failure.is_lack_of_privilege() => Vec::new(),
        tasks => tasks?,
    };
    // They are asked of a name, which one agent at a time bears.
    let (from, to) = (snapshot.agent.created_at, snapshot.agent.status.deleted_at);
    let tasks: Vec<Task> = tasks
        .into_iter()
        .filter(|t| t.created_at >= from && to.is_none_or(|to| t.created_at <= to))
        .collect();
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
