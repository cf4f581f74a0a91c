//! The command line: what can be typed. Each command's own arguments stand in its file under `commands`.

use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Deploys OpenClaw agents on Cloudflare and keeps them as their rows say.
///
/// You write desired state (a manifest with `talon apply`, or a row of agent_source by SQL), the daemon (`talon run`)
/// brings Cloudflare and the Agent Router to it, and you read the status. To see it all on this machine, without an
/// account: `talon demo`, then `talon dev`.
#[derive(Debug, Parser)]
#[command(
    name = "talon",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done (plan, diff: no changes) · 1 failed (plan, diff: changes found) · 2 usage · 3 not found · \
                  4 not allowed · 5 rejected · 6 stalled · 7 timed out · 8 deleted with leftovers · 9 not available · \
                  10 plan or diff failed · 130 interrupted"
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// How to print what was asked for (on standard output)
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t = Format::Table,
        hide_possible_values = false,
        help_heading = "Global options"
    )]
    pub output: Format,
    /// Only agents of this owner; for apply: the owner of new agents
    #[arg(
        long,
        global = true,
        value_name = "OWNER",
        help_heading = "Global options"
    )]
    pub owner: Option<String>,
    /// No progress and no warnings on standard error; errors only
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// No colours (also: the environment variable NO_COLOR)
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
    /// How long to wait, where a command waits: 30s, 5m, 1h [default: 5m; for a task 3m]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        value_parser = crate::output::age::parse_duration,
        help_heading = "Global options"
    )]
    pub timeout: Option<Duration>,
    /// Speak to the daemon at this address, https://talon.example.com for example, in place of the database (also: the
    /// environment variable TALON_SERVER; its token: TALON_TOKEN)
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Global options"
    )]
    pub server: Option<String>,
    /// Where the rows live: sqlite://talon.db or postgres://… [default: from talon.yaml, else sqlite://talon.db]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Global options"
    )]
    pub database_url: Option<String>,
    /// The configuration file [default: talon.yaml, if there is one]
    #[arg(
        long,
        global = true,
        env = "TALON_CONFIG",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<std::path::PathBuf>,
}

impl Global {
    /// How long commands wait when nothing was said.
    pub const DEFAULT_WAIT: Duration = Duration::from_secs(300);

    /// How long to wait.
    pub fn wait_for(&self) -> Duration {
        self.timeout.unwrap_or(Self::DEFAULT_WAIT)
    }
}

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For people, with more columns and absolute times
    Wide,
    /// One JSON document (with --watch: one per line)
    Json,
    /// One YAML document (with --watch: one per change)
    Yaml,
    /// agent/NAME, one per line
    Name,
}

/// Everything talon can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: bring Cloudflare to what the rows say, and keep it there
    Run(commands::run::Args),
    /// Everything on this machine: database, local Cloudflare, daemon, Hub; stays until Ctrl-C
    Dev(commands::dev::Args),
    /// Show the whole life of two agents on this machine, then clean up (some seconds)
    Demo(commands::demo::Args),
    /// Run the local Cloudflare alone
    Simulate(commands::simulate::Args),
    /// Create the database, or bring its schema up to date
    Migrate(commands::migrate::Args),
    /// Create agents, or bring their rows to what the manifests say
    Apply(commands::apply::Args),
    /// What applying these manifests would do, and with which effect (exit 0: nothing, 1: changes)
    Plan(commands::plan::Args),
    /// The difference between manifests and rows, or between a row and what is deployed (exit 0: none, 1: some)
    Diff(commands::diff::Args),
    /// List agents, or show one
    Get(commands::get::Args),
    /// Everything about one agent
    Describe(commands::describe::Args),
    /// What one agent consists of, as a tree
    Tree(commands::tree::Args),
    /// Why an agent is as it is, and what to do about it
    Why(commands::why::Args),
    /// What happened
    Events(commands::events::Args),
    /// What the controller did for an agent line by line, and what its Worker prints
    Logs(commands::logs::Args),
    /// Who changed an agent, when, and what
    History(commands::history::Args),
    /// Wait until something holds of an agent
    Wait(commands::wait::Args),
    /// Give an agent a task, and print its answer
    Task(commands::task::Args),
    /// Find agents by what is needed
    Search(commands::search::Args),
    /// Who is connected
    Agents(commands::agents::Args),
    /// API keys of agents that people run themselves
    Keys(commands::keys::Args),
    /// The keys on an agent's Worker: list, set, unset; another auth token
    Secrets(commands::secrets::Args),
    /// Delete agents, with everything they have at Cloudflare
    Delete(commands::delete::Args),
    /// What a deletion could not remove: try again now
    Cleanup(commands::cleanup::Args),
    /// Compare an agent with reality now, rather than at the next regular time
    Reconcile(commands::reconcile::Args),
    /// Leave an agent exactly as it is, whatever its row says
    Suspend(commands::suspend::Args),
    /// End a suspension
    Resume(commands::suspend::Args),
    /// Withhold every effect, on all agents, until released
    Hold(commands::hold::Args),
    /// Go on after a hold (of a person, or of the brake against mass changes)
    ReleaseHold(commands::release_hold::Args),
    /// Tokens of the HTTP API
    Token(commands::token::Args),
    /// Print agents as manifests that can be applied again
    Export(commands::export::Args),
    /// Print the JSON Schema of the manifest, for editors; or of what -o json prints, for programs
    Schema(commands::schema::Args),
    /// Print a completion script for your shell
    Completion(commands::completion::Args),
    /// Check database, keys, Cloudflare access and holds, and say what to do
    Doctor(commands::doctor::Args),
    /// Show the configuration in effect
    Config(commands::config::Args),
}

impl Cli {
    /// Reads the command line. `Err` carries the code to exit with, after help or a usage error was printed.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Nothing can be done if the terminal is gone.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => {
                    eprintln!(
                        "next: talon --help lists the commands, talon COMMAND --help their flags"
                    );
                    crate::exit::Exit::Usage.into()
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
