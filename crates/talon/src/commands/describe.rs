//! `talon describe`.

use talon_store::EventFilter;

use crate::exit::{Exit, Failure};
use crate::output::describe;
use crate::session::{Session, bare};

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

/// Prints everything about one agent.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    let store = session.store().await?;
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
    if session.output.is_machine() {
        let mut document = crate::view::document(&snapshot);
        document["events"] = serde_json::json!(events);
        session.output.document(&document)?;
    } else {
        session.output.write(&describe::render(
            &snapshot,
            card.as_ref(),
            &events,
            session.output.format,
        ));
    }
    Ok(Exit::Success)
}
