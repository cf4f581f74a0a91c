//! Puts together what was seen of one agent's things.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use talon_core::cloud::WorkerSettings;
use talon_core::condition::Reason;
use talon_core::resource::ResourceKind;
use talon_core::secret::{RefTarget, SecretValue, names as secret_names};
use talon_core::{InstallId, Snapshot, name};
use talon_plan::desired::Names;
use talon_plan::{Input, Look, Observed, SecretProblem, World};
use talon_secrets::{InstallKey, Redactor, SecretReadError, SecretReader};

use crate::inventory::Inventory;

/// A snapshot and the monotonic time just after it was read: ties the database's clock to ours.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// The database's clock.
    pub database: DateTime<Utc>,
    /// Our monotonic clock, read after it.
    pub monotonic: Duration,
}

impl Anchor {
    /// A moment of ours on the database's clock; never later than it really was.
    pub fn to_database(self, moment: Duration) -> DateTime<Utc> {
        let age = self.monotonic.saturating_sub(moment);
        self.database - TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX)
    }

    /// A moment of the database's on our clock; never earlier than it really was.
    pub fn to_monotonic(self, moment: DateTime<Utc>) -> Duration {
        match (self.database - moment).to_std() {
            Ok(age) => self.monotonic.saturating_sub(age),
            Err(_) => self.monotonic + (moment - self.database).to_std().unwrap_or_default(),
        }
    }
}

/// A recorded token id that the list shows under another name is not ours: deleting or rolling it would hit somebody
/// else. Whoever can write the file behind SQLite can put any id there, so it is forgotten before anything is planned.
pub fn disown_foreign_token(snapshot: &mut Snapshot, inventory: &Inventory, install: &InstallId) {
    let ours = name::token_name(install, snapshot.agent.id);
    let record = snapshot
        .resources
        .iter_mut()
        .find(|r| r.kind == ResourceKind::R2Token);
    let Some(record) = record else { return };
    let Some(id) = &record.external_id else {
        return;
    };
    let named_ours = inventory
        .tokens
        .get(&ours)
        .is_some_and(|same| same.iter().any(|t| t.id == *id));
    if !named_ours && inventory.tokens.values().flatten().any(|t| t.id == *id) {
        tracing::warn!(agent = %snapshot.agent.name, "the recorded R2 token belongs to another name; it is left alone");
        record.external_id = None;
    }
}

/// Secret values read for one pass, by name on the Worker. Wiped with it.
pub type Values = BTreeMap<String, SecretValue>;

/// Takes these values out of whatever an answer says.
pub fn knows(values: &Values) -> Redactor {
    let mut redactor = Redactor::new();
    for value in values.values() {
        redactor.add(value);
    }
    redactor
}

/// What the lists show of this agent.
pub fn lists(
    world: &World,
    snapshot: &Snapshot,
    inventory: Option<&Inventory>,
    anchor: Anchor,
) -> Observed {
    let mut observed = Observed::default();
    let names = Names::of(&Input {
        snapshot,
        observed: &observed,
        world,
    });
    if let Some(inventory) = inventory {
        let as_of = Some(anchor.to_database(inventory.taken));
        observed.worker = Look {
            as_of,
            seen: inventory.workers.get(&names.worker).cloned(),
        };
        let listed = inventory
            .jurisdictions
            .contains(&snapshot.agent.spec.r2.jurisdiction);
        observed.bucket = Look {
            as_of: as_of.filter(|_| listed),
            seen: inventory.buckets.get(&names.bucket).cloned(),
        };
        observed.tokens = Look {
            as_of,
            seen: inventory
                .tokens
                .get(&name::token_name(&world.install, snapshot.agent.id))
                .cloned(),
        };
    }
    observed
}

/// What is the same for every agent's observation.
pub struct Observer<'a> {
    /// Reads references.
    pub secrets: &'a dyn SecretReader,
    /// Derives control tokens.
    pub key: &'a InstallKey,
    /// As planning sees the world.
    pub world: &'a World,
}

impl Observer<'_> {
    /// What was seen of this agent, and the values of its secrets.
    pub async fn observe(
        &self,
        snapshot: &Snapshot,
        inventory: Option<&Inventory>,
        anchor: Anchor,
        card: Option<Option<String>>,
        settings: Option<WorkerSettings>,
    ) -> (Observed, Values) {
        let mut observed = Observed {
            card,
            settings,
            ..lists(self.world, snapshot, inventory, anchor)
        };
        let mut values = Values::new();
        if !snapshot.agent.is_deleting() {
            self.read_secrets(snapshot, &mut observed, &mut values)
                .await;
        }
        (observed, values)
    }

    async fn read_secrets(
        &self,
        snapshot: &Snapshot,
        observed: &mut Observed,
        values: &mut Values,
    ) {
        let agent = &snapshot.agent;
        let control = self.key.control_token(agent.id);
        for (provider, reference) in &agent.spec.api_key_refs {
            let name = provider.secret_name();
            let outcome = match self.secrets.read(&agent.owner, reference).await {
                Ok(value) => {
                    let fingerprint = value.fingerprint(&control, &name);
                    values.insert(name.clone(), value);
                    Ok(fingerprint)
                }
                Err(error) => Err(problem(
                    &error,
                    matches!(reference.parse(), Some(RefTarget::Discarded)),
                )),
            };
            observed.references.insert(name, outcome);
        }
        let texts = [
            (secret_names::MODEL, agent.spec.model.clone()),
            (secret_names::KEEP_ALIVE, agent.spec.keep_alive.to_string()),
        ];
        for (name, text) in texts {
            observed.derived.insert(
                name.to_owned(),
                SecretValue::new(text).fingerprint(&control, name),
            );
        }
        let fingerprint = control.fingerprint(&control, secret_names::CONTROL_TOKEN);
        observed
            .derived
            .insert(secret_names::CONTROL_TOKEN.to_owned(), fingerprint);
        values.insert(secret_names::CONTROL_TOKEN.to_owned(), control);
    }
}

fn problem(error: &SecretReadError, discarded: bool) -> SecretProblem {
    let (reason, transient) = match error {
        _ if discarded => (Reason::SecretRefDiscarded, false),
        SecretReadError::OutOfScope(_) => (Reason::SecretOutOfScope, false),
        SecretReadError::Missing(_)
        | SecretReadError::Empty(_)
        | SecretReadError::Unsupported(_) => (Reason::SecretValueMissing, false),
        SecretReadError::Unavailable(_) => (Reason::SecretValueMissing, true),
    };
    let message = if discarded {
        "something that was not a reference was thrown away here; treat it as exposed, rotate it, and put a reference \
         (env:NAME, file:NAME, vault:path#field) in its place"
            .to_owned()
    } else {
        error.to_string()
    };
    SecretProblem {
        reason,
        message,
        transient,
    }
}
