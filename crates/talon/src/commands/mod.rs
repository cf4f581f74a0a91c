//! One file per command.

pub mod agents;
pub mod apply;
pub mod cleanup;
pub mod completion;
pub mod config;
pub mod delete;
pub mod demo;
pub mod describe;
pub mod dev;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod export;
pub mod get;
pub mod history;
pub mod hold;
pub mod keys;
pub mod logs;
pub mod migrate;
pub mod plan;
pub mod reconcile;
pub mod release_hold;
pub mod run;
pub mod schema;
pub mod search;
pub mod secrets;
pub mod simulate;
pub mod suspend;
pub mod task;
pub mod token;
pub mod tree;
pub mod wait;
pub mod why;

use crate::cli::{Cli, Command, Global};
use crate::config::Settings;
use crate::exit::{Exit, Failure};
use crate::runtime::Wanted;
use crate::session::Session;

/// What mutating commands can be told to do instead of acting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    /// Ask the database what would happen, and change nothing
    Server,
}

/// The flag that every mutating command takes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DryRunFlag {
    /// Say what would happen, checked against the database, and change nothing
    #[arg(long, value_enum, value_name = "WHERE")]
    dry_run: Option<DryRun>,
}

impl DryRunFlag {
    /// Whether nothing may be changed.
    pub fn is_set(self) -> bool {
        self.dry_run.is_some()
    }
}

/// The flag of commands that deploy.
#[derive(Debug, Clone, clap::Args)]
pub struct RuntimeFlag {
    /// Folder of a built agent runtime (manifest.json, worker.js), or the word placeholder: nothing that answers
    #[arg(long, value_name = "FOLDER")]
    runtime_bundle: Option<String>,
}

impl RuntimeFlag {
    /// What the flag says, else the configuration.
    pub fn wanted(&self, settings: &Settings) -> Wanted {
        let said = self.runtime_bundle.as_ref();
        Wanted::parse(
            said.or(settings.runtime_bundle.as_ref())
                .map(String::as_str),
        )
    }
}

/// Runs the command.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    let compares = matches!(command, Command::Plan(_) | Command::Diff(_));
    dispatch(global, command).await.map_err(|mut failure| {
        // For these 1 means "changes found".
        if compares && failure.exit == Exit::Failure {
            failure.exit = Exit::Generic;
        }
        failure
    })
}

/// The name of a command that concerns this machine and no daemon elsewhere.
fn here_only(command: &Command) -> Option<&'static str> {
    Some(match command {
        Command::Run(_) => "run",
        Command::Dev(_) => "dev",
        Command::Demo(_) => "demo",
        Command::Simulate(_) => "simulate",
        Command::Migrate(_) => "migrate",
        Command::Schema(_) => "schema",
        Command::Completion(_) => "completion",
        Command::Config(_) => "config",
        _ => return None,
    })
}

async fn dispatch(global: Global, command: Command) -> Result<Exit, Failure> {
    let session = Session::new(global)?;
    session.refuse_server(here_only(&command))?;
    match command {
        Command::Run(args) => run::run(args, session).await,
        Command::Dev(args) => dev::run(args, session).await,
        Command::Demo(args) => demo::run(args, session).await,
        Command::Simulate(args) => simulate::run(args, session).await,
        Command::Migrate(args) => migrate::run(args, session).await,
        Command::Apply(args) => apply::run(args, session).await,
        Command::Plan(args) => plan::run(args, session).await,
        Command::Diff(args) => diff::run(args, session).await,
        Command::Get(args) => get::run(args, session).await,
        Command::Describe(args) => describe::run(args, session).await,
        Command::Tree(args) => tree::run(args, session).await,
        Command::Why(args) => why::run(args, session).await,
        Command::Events(args) => events::run(args, session).await,
        Command::Logs(args) => logs::run(args, session).await,
        Command::History(args) => history::run(args, session).await,
        Command::Cleanup(args) => cleanup::run(args, session).await,
        Command::Wait(args) => wait::run(args, session).await,
        Command::Delete(args) => delete::run(args, session).await,
        Command::Reconcile(args) => reconcile::run(args, session).await,
        Command::Suspend(args) => suspend::run(args, session, true).await,
        Command::Resume(args) => suspend::run(args, session, false).await,
        Command::Hold(args) => hold::run(args, session).await,
        Command::ReleaseHold(args) => release_hold::run(args, session).await,
        Command::Token(args) => token::run(args, session).await,
        Command::Export(args) => export::run(args, session).await,
        Command::Task(args) => task::run(args, session).await,
        Command::Search(args) => search::run(args, session).await,
        Command::Agents(args) => agents::run(args, session).await,
        Command::Keys(args) => keys::run(args, session).await,
        Command::Secrets(args) => secrets::run(args, session).await,
        Command::Schema(args) => schema::run(&args, &session),
        Command::Completion(args) => Ok(completion::run(&args, &session)),
        Command::Doctor(args) => doctor::run(args, session).await,
        Command::Config(args) => config::run(args, session),
    }
}
