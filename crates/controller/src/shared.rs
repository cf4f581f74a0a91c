//! What all passes share: the daemon's parts, and how an agent is observed with them.

use std::sync::Arc;
use std::time::Duration;

use talon_core::Snapshot;
use talon_core::clock::{Clock, Random};
use talon_core::cloud::{CallClass, Cloud, WorkerSettings};
use talon_core::condition::Reason;
use talon_core::deliver::WorkerDoor;
use talon_core::registry::Registry;
use talon_plan::{Held, HeldScope, Observed, World};
use talon_secrets::{InstallKey, SecretReader};
use talon_store::{HoldKind, Store, StoreResult};
use talon_worker::Bundle;
use tokio::sync::Semaphore;

use crate::account::Account;
use crate::brake::Brake;
use crate::config::ControllerConfig;
use crate::failure::{self, Verdict};
use crate::inventory::{Inventory, Surveyor};
use crate::logbook::LogBook;
use crate::observe::{Anchor, Observer, Values, disown_foreign_token};
use crate::tell::HoldTold;
use crate::times::PassTimes;

/// What every pass shares.
pub struct Shared {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Cloudflare.
    pub cloud: Arc<dyn Cloud>,
    /// The Router.
    pub registry: Arc<dyn Registry>,
    /// Reads references.
    pub secrets: Arc<dyn SecretReader>,
    /// The code.
    pub bundle: Arc<Bundle>,
    /// The Workers themselves, if they can be spoken to.
    pub door: Option<Arc<dyn WorkerDoor>>,
    /// Places for speaking to them.
    pub knocks: Semaphore,
    /// The root of control tokens.
    pub key: Arc<InstallKey>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Settings.
    pub config: ControllerConfig,
    /// The account as a whole.
    pub account: Account,
    /// The lists.
    pub surveyor: Arc<Surveyor>,
    /// The mass-change brake.
    pub brake: Arc<Brake>,
    /// The last lines about each agent.
    pub book: Arc<LogBook>,
    /// What was said of holds.
    pub hold_told: HoldTold,
    /// How long passes took.
    pub times: Arc<PassTimes>,
    /// The world, without subdomain and hold, which are looked up for each pass.
    pub base: World,
}

/// An agent as one round of a pass sees it.
pub struct Seen {
    /// Desired state and records.
    pub snapshot: Snapshot,
    /// What was seen.
    pub observed: Observed,
    /// Values of its secrets.
    pub values: Values,
    /// Ties the clocks.
    pub anchor: Anchor,
}

impl Shared {
    /// The world as it is now: subdomain and hold included.
    pub async fn world(&self, class: CallClass) -> Result<World, Verdict> {
        let mut world = self.base.clone();
        world.held = self
            .held()
            .await
            .map_err(|e| failure::internal(e.to_string()))?;
        self.hold_told.tell(world.held.as_ref());
        world.subdomain = self
            .account
            .subdomain(self.cloud.as_ref(), class)
            .await
            .map_err(|e| failure::of_cloud(&e))?;
        Ok(world)
    }

    /// Whether effects are withheld now.
    pub async fn held(&self) -> StoreResult<Option<Held>> {
        if self.config.observe_only {
            let message = "the daemon only observes (--observe-only)".to_owned();
            return Ok(Some(Held {
                reason: Reason::ObserveOnly,
                message,
                scope: HeldScope::All,
                since: None,
            }));
        }
        Ok(self.store.hold().await?.map(|hold| {
            let (reason, scope) = match hold.kind {
                HoldKind::MassChange => (Reason::MassChange, HeldScope::Risky),
                HoldKind::RestoredDatabase => (Reason::RestoredDatabase, HeldScope::Risky),
                HoldKind::Operator => (Reason::HeldByOperator, HeldScope::All),
            };
            Held {
                reason,
                message: hold.reason,
                scope,
                since: Some(hold.since),
            }
        }))
    }

    /// Whether the latest lists began after this.
    pub fn seen_since(&self, moment: Duration) -> bool {
        self.surveyor.latest().is_some_and(|i| i.taken > moment)
    }

    /// Observes one agent with the given lists.
    pub async fn observe(
        &self,
        world: &World,
        mut snapshot: Snapshot,
        inventory: Option<&Inventory>,
        anchor: Anchor,
        card: Option<Option<String>>,
        settings: Option<WorkerSettings>,
    ) -> Seen {
        if let Some(inventory) = inventory {
            disown_foreign_token(&mut snapshot, inventory, &world.install);
        }
        let observer = Observer {
            secrets: self.secrets.as_ref(),
            key: &self.key,
            world,
        };
        let (observed, values) = observer
            .observe(&snapshot, inventory, anchor, card, settings)
            .await;
        Seen {
            snapshot,
            observed,
            values,
            anchor,
        }
    }
}
