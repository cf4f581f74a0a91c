//! What every command starts from: flags, configuration, output, and the store behind them.

use std::sync::Arc;

use talon_core::name::NameError;
use talon_core::{AgentName, Owner, Snapshot};
use talon_store::{Store, WholeStore};

use crate::cli::Global;
use crate::config::Config;
use crate::database::{self, Database};
use crate::exit::Failure;
use crate::output::{Output, age};

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

    /// Opens it; it must exist and have the right schema.
    pub async fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(database::open(&self.database()?).await?.store)
    }

    /// The same, with what the Hub keeps there.
    pub async fn whole_store(&self) -> Result<Arc<dyn WholeStore>, Failure> {
        Ok(database::open(&self.database()?).await?.store)
    }

    /// The owner asked for with `--owner`.
    pub fn owner(&self) -> Option<Owner> {
        self.global.owner.clone().map(Owner)
    }

    /// A live agent by name, if it is of the owner asked for.
    pub async fn agent(&self, store: &dyn Store, name: &str) -> Result<Snapshot, Failure> {
        self.find(store, name, false).await
    }

    /// The same; with `archived`, also one whose row is only kept for billing.
    pub async fn find(
        &self,
        store: &dyn Store,
        name: &str,
        archived: bool,
    ) -> Result<Snapshot, Failure> {
        store
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

    /// Warns of a hold, before a command waits for something that will not come.
    pub async fn warn_if_held(&self, store: &dyn Store) -> Result<(), Failure> {
        if let Some(hold) = store.hold().await? {
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
