//! `talon dev`: everything on this machine, until Ctrl-C.

use std::path::PathBuf;

use talon_store::ApplyOptions;

use crate::config::Origin;
use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::local::{EXAMPLES, Local, Place};
use crate::logging::{self, LogFormat};
use crate::output::{Output, safe};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a folder or a database, everything lives in a temporary directory and is removed at the end. The local \
Cloudflare always starts empty: agents of an earlier run are deployed again."
)]
pub struct Args {
    /// Keep the database in this folder
    folder: Option<PathBuf>,
    /// Begin with the two example agents
    #[arg(long)]
    examples: bool,
}

/// Runs until it is told to stop.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    logging::start(LogFormat::Text, "warn")?;
    let place = match (&args.folder, session.config.origin("databaseUrl")) {
        (Some(folder), _) => Place::Folder(folder.clone()),
        (None, Origin::Default) => Place::Temporary,
        (None, Origin::File(_) | Origin::Env(_) | Origin::Flag(_)) => {
            let database = session.database()?;
            let key_file = install_key::path(&session.config, &database);
            Place::Database(database, key_file)
        }
    };
    let mut config = session.config.settings.controller();
    // Nothing here is slow or shared: look often, so that drift made by hand is seen at once.
    config.resync_seconds = config.resync_seconds.min(15.0);
    config.list_lag_seconds = 1.0;
    config.list_spacing_seconds = 1.0;
    let mut local = Local::start(place, config).await?;
    if args.examples {
        apply_examples(&local).await?;
    }
    introduce(&session.output, &local);
    let ended = tokio::select! {
        stopped = super::run::told_to_stop() => stopped,
        failure = local.daemon_ended() => Err(failure),
    };
    session.output.progress("stopping");
    let closed = local.shutdown().await;
    ended.and(closed).map(|()| Exit::Success)
}

/// Applies the example manifests.
pub async fn apply_examples(local: &Local) -> Result<(), Failure> {
    for document in crate::manifests::examples(&EXAMPLES)? {
        local
            .store
            .apply(
                &document.name,
                &document.owner,
                &document.spec,
                ApplyOptions::default(),
            )
            .await
            .map_err(|e| Failure::from(e).about(&document.title()))?;
    }
    Ok(())
}

fn introduce(out: &Output, local: &Local) {
    let talon = std::env::args()
        .next()
        .unwrap_or_else(|| "talon".to_owned());
    let url = local.database.shown();
    let sql = "INSERT INTO agent_source (name, persona, instructions, model, api_key_refs) VALUES ('by-hand', \
               'You are a careful research analyst.', 'Cite every claim.', 'anthropic/claude-sonnet-4-6', \
               '{\\\"anthropic\\\":\\\"env:TALON_SECRET_ANTHROPIC\\\"}');";
    let shell = match &local.database {
        Database::Sqlite(path) => format!("sqlite3 {} \"{sql}\"", path.display()),
        Database::Postgres(_) => format!("psql \"$TALON_DATABASE_URL\" -c \"{sql}\""),
    };
    let end = if local.is_temporary() {
        "Ctrl-C ends it and removes everything."
    } else {
        "Ctrl-C ends it; the database stays."
    };
    out.write(&format!(
        "talon dev: the database, a local Cloudflare and the daemon run here; nothing leaves this machine.\n\
         \n\
         \x20 database          {}\n\
         \x20 local Cloudflare  {}   (log of calls and faults: {})\n\
         \x20 keys              TALON_SECRET_ANTHROPIC and TALON_SECRET_OPENAI hold made-up values unless you set them\n\
         \n\
         In a second terminal:\n\
         \x20 export TALON_DATABASE_URL={}\n\
         \x20 {talon} apply -f deploy/examples/research-pro.yaml --wait\n\
         \x20 {talon} get -w\n\
         \x20 {shell}\n\
         \x20 {talon} why by-hand\n\
         \n\
         {end}\n",
        safe(&url),
        local.cloud.api_base(),
        local.cloud.admin(),
        safe(&url),
        talon = safe(&talon),
    ));
}
