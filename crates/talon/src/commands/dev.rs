//! `talon dev`: everything on this machine, until Ctrl-C.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use talon_store::ApplyOptions;

use super::RuntimeFlag;
use crate::config::Origin;
use crate::config::settings::HubSettings;
use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::local::{EXAMPLES, Local, Place, Plan};
use crate::logging::{self, LogFormat};
use crate::output::{Output, safe};
use crate::session::Session;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a folder or a database, everything lives in a temporary directory and is removed at the end. The local \
Cloudflare always starts empty: agents of an earlier run are deployed again. The agents' runtime and workerd come from npm \
on first use; without npm everything but running Workers works."
)]
pub struct Args {
    /// Keep the database in this folder
    folder: Option<PathBuf>,
    /// Begin with the two example agents
    #[arg(long)]
    examples: bool,
    #[command(flatten)]
    runtime: RuntimeFlag,
}

/// Runs until it is told to stop.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    logging::start(LogFormat::Text, "warn")?;
    let place = match (&args.folder, session.config.origin("databaseUrl")) {
        (Some(folder), _) => Place::Folder(folder.clone()),
        (None, Origin::Default) => Place::Temporary,
        (None, origin @ (Origin::File(_) | Origin::Env(_) | Origin::Flag(_))) => {
            let database = session.database()?;
            if !matches!(origin, Origin::Flag(_)) {
                session.output.progress(&format!(
                    "the database is {} (from {origin}); without it, everything would be temporary",
                    safe(&database.shown())
                ));
            }
            let key_file = install_key::path(&session.config, &database);
            Place::Database(database, key_file)
        }
    };
    let mut config = session.config.settings.controller();
    // Nothing here is slow or shared: look often, so that drift made by hand is seen at once.
    config.resync_seconds = config.resync_seconds.min(15.0);
    config.list_lag_seconds = 1.0;
    config.list_spacing_seconds = 1.0;
    let settings = &session.config.settings;
    let plan = Plan {
        place,
        config,
        hub: HubSettings::default(),
        listen: match session.config.origin("listen") {
            // Beside a daemon that listens there, and beside others of its kind.
            Origin::Default => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            Origin::File(_) | Origin::Env(_) | Origin::Flag(_) => settings.listen,
        },
        wanted: args.runtime.wanted(settings),
    };
    let mut told = Box::pin(super::run::stop_signals()?);
    let started = tokio::select! {
        started = Local::start(plan, &session.output) => started,
        () = &mut told => return Ok(Exit::Success),
    };
    let mut local = started?;
    if args.examples {
        apply_examples(&local, Model::AsWritten).await?;
    }
    introduce(&session.output, &local);
    let ended = tokio::select! {
        () = told => Ok(()),
        failure = local.service.ended() => Err(failure),
    };
    session.output.progress("stopping");
    let closed = local.shutdown().await;
    ended.and(closed).map(|()| Exit::Success)
}

/// With which model the examples think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// The one in the manifest, which needs a key.
    AsWritten,
    /// A stand-in that needs none.
    StandIn,
}

/// Applies the example manifests.
pub async fn apply_examples(local: &Local, model: Model) -> Result<(), Failure> {
    for mut document in crate::manifests::examples(&EXAMPLES)? {
        if model == Model::StandIn {
            document.spec.model = "dev/echo".to_owned();
            document.spec.api_key_refs.clear();
        }
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
    let sql = "INSERT INTO agent_source (name, persona, instructions, model) VALUES ('by-hand', \
               'You are a careful research analyst.', 'Cite every claim.', 'dev/echo');";
    let shell = match &local.database {
        Database::Sqlite(path) => format!("sqlite3 {} \"{sql}\"", path.display()),
        Database::Postgres(_) => format!("psql \"$TALON_DATABASE_URL\" -c \"{sql}\""),
    };
    let end = if local.is_temporary() {
        "Ctrl-C ends it and removes everything."
    } else {
        "Ctrl-C ends it. The database stays; the local Cloudflare does not: buckets, and what agents remember, begin empty at the \
         next start."
    };
    let talon = safe(&talon);
    let workers = match (&local.runs, local.cloud.front_door()) {
        (Ok(()), Some(door)) => format!(
            "run in workerd; {door} is their workers.dev, for browsers http://WORKER.dev.workers.localhost:{}/healthz",
            door.port()
        ),
        (Ok(()), None) => "run in workerd".to_owned(),
        (Err(why), _) => format!(
            "do not run, so that no agent answers: {}",
            safe(why.lines().next().unwrap_or_default())
        ),
    };
    let wait = if local.runs.is_ok() {
        "--wait=connected"
    } else {
        "--wait"
    };
    let tasks = if local.runs.is_ok() {
        format!(
            "\x20 {talon} task note-taker --session first \"Save a note: the kettle is blue\"\n\
             \x20 {talon} task note-taker --session first \"What did I tell you before?\"\n\
             \x20 {talon} search \"somebody who jots things down\"\n"
        )
    } else {
        String::new()
    };
    out.write(&format!(
        "talon dev: the database, a local Cloudflare, the daemon, the Hub and the dashboard run here; nothing leaves this machine.\n\
         \n\
         \x20 database          {url}\n\
         \x20 local Cloudflare  {}   (log of calls and faults: {})\n\
         \x20 Workers           {workers}\n\
         \x20 dashboard         {}   (signs in once, within a quarter of an hour)\n\
         \x20 Hub and Router    http://{}   (Workers connect to {})\n\
         \x20 models            dev/echo is a stand-in that needs no key; TALON_SECRET_ANTHROPIC and TALON_SECRET_OPENAI hold\n\
         \x20                   made-up values unless you set them\n\
         \n\
         In a second terminal:\n\
         \x20 export TALON_DATABASE_URL={url}\n\
         \x20 export TALON_SERVER=http://{}\n\
         \x20 {talon} apply -f deploy/examples/note-taker.yaml {wait}\n\
         {tasks}\
         \x20 {talon} get -w\n\
         \x20 {shell}\n\
         \x20 {talon} why by-hand\n\
         \n\
         {end}\n",
        local.cloud.api_base(),
        local.cloud.admin(),
        local.service.sign_in_address(),
        local.service.address(),
        safe(local.service.hub_url()),
        local.service.address(),
        url = safe(&url),
    ));
}
