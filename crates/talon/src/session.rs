//! What every command starts from: flags, configuration, output, and the store behind them.

use std::sync::Arc;

use talon_core::name::NameError;
use talon_core::{AgentName, Owner, Snapshot};

use crate::cli::Global;
use crate::client::Server;
use crate::config::Config;
use crate::database::{self, Database};
use crate::exit::Failure;
use crate::fleet::{Fleet, Remote, Rows};
use crate::output::{Output, age};

/// Variable that names the daemon to speak to.
pub const SERVER: &str = "TALON_SERVER";

/// One run of one command.
pub struct Session {
    /// Flags of every command.
    pub global: Global,
    /// Where to write.
    pub output: Output,
    /// The configuration in effect.
    pub config: Config,
}

impl Session {
    /// Reads the configuration.
    pub fn new(global: Global) -> Result<Self, Failure> {
        let config = Config::load(&global)?;
        Ok(Self {
            output: Output::new(&global),
            global,
            config,
        })
    }

    /// The database that the configuration names.
    pub fn database(&self) -> Result<Database, Failure> {
        Database::parse(&self.config.settings.database_url)
    }

    /// The daemon that commands are to speak to, if they are: `--server`, else `TALON_SERVER` unless a database is named by a
    /// flag. An empty variable is none.
    pub fn server_named(&self) -> Option<String> {
        let flag = self.global.server.clone();
        let variable = || match self.global.database_url {
            Some(_) => None,
            None => std::env::var(SERVER).ok(),
        };
        flag.or_else(variable).filter(|url| !url.is_empty())
    }

    /// Refuses `--server` for a command of this name that concerns this machine only.
    pub fn refuse_server(&self, command: Option<&str>) -> Result<(), Failure> {
        match (command, &self.global.server) {
            (Some(command), Some(_)) => Err(Failure::usage(
                format!(
                    "talon {command} works on this machine; there is nothing to ask a daemon elsewhere"
                ),
                "leave out --server, or run it where that daemon is installed",
            )),
            _ => Ok(()),
        }
    }

    /// The agents: by way of the daemon that is named, else in the database.
    pub async fn fleet(&self) -> Result<Arc<dyn Fleet>, Failure> {
        match self.server_named() {
            Some(_) => Ok(Arc::new(self.remote()?)),
            None => {
                let opened = database::open(&self.database()?).await?;
                Ok(Arc::new(Rows::new(opened)))
            }
        }
    }

    /// The agents by way of the daemon that is named.
    pub fn remote(&self) -> Result<Remote, Failure> {
        if self.global.server.is_some() && self.global.database_url.is_some() {
            return Err(Failure::usage(
                "--server and --database-url are two ways to the same agents",
                "name one of them",
            ));
        }
        self.server().map(Remote::new)
    }

    /// The daemon that is named, else the one of this configuration.
    pub fn server(&self) -> Result<Server, Failure> {
        Server::of(self, self.server_named().as_deref())
    }

    /// The owner asked for with `--owner`.
    pub fn owner(&self) -> Option<Owner> {
        self.global.owner.clone().map(Owner)
    }

    /// A live agent by name, if it is of the owner asked for.
    pub async fn agent(&self, fleet: &dyn Fleet, name: &str) -> Result<Snapshot, Failure> {
        self.find(fleet, name, false).await
    }

    /// The same; with `archived`, also one whose row is only kept for billing.
    pub async fn find(
        &self,
        fleet: &dyn Fleet,
        name: &str,
        archived: bool,
    ) -> Result<Snapshot, Failure> {
        fleet
            .get(bare(name), archived)
            .await?
            .filter(|s| {
                self.global
                    .owner
                    .as_ref()
                    .is_none_or(|o| s.agent.owner.0 == *o)
            })
            .ok_or_else(|| Failure::not_found(bare(name)))
    }

    /// Warns if no daemon is at work, before a command waits for what only one can do.
    pub async fn warn_if_nobody_works(&self, fleet: &dyn Fleet) -> Result<(), Failure> {
        if fleet.nobody_works().await? {
            self.output.warn(
                "no daemon is at work on this database: start one (talon run, or talon dev), or this waits in vain",
            );
        }
        Ok(())
    }

    /// Warns of a hold, before a command waits for something that will not come.
    pub async fn warn_if_held(&self, fleet: &dyn Fleet) -> Result<(), Failure> {
        if let Some(hold) = fleet.hold().await? {
            self.output.warn(&format!(
                "effects are on hold since {}: {} (talon release-hold goes on)",
                age::stamp(hold.since),
                crate::output::safe(&hold.reason)
            ));
        }
        Ok(())
    }
}

/// `agent/NAME`, as `-o name` prints it, is accepted wherever a name is.
pub fn bare(name: &str) -> &str {
    name.strip_prefix("agent/").unwrap_or(name)
}

/// Reads an agent name from the command line.
pub fn agent_name(text: &str) -> Result<AgentName, Failure> {
    AgentName::parse(bare(text)).map_err(|error| {
        let next = match error {
            NameError::Length | NameError::Shape => "talon get shows the names there are",
            NameError::Reserved => "choose another name",
        };
        Failure::usage(error.to_string(), next)
    })
}
