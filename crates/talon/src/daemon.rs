//! Puts the daemon together: store, Cloudflare client, secrets, key.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cloudflare;
use crate::exit::Failure;
use talon_cloudflare::{Client, ClientConfig};
use talon_controller::answers::StepWitness;
use talon_controller::budget::CallBudget;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_controller::{ControllerConfig, Daemon, Parts};
use talon_core::InstallId;
use talon_core::clock::Clock;
use talon_core::cloud::Budget;
use talon_core::deliver::WorkerDoor;
use talon_core::registry::Registry;
use talon_plan::R2Endpoint;
use talon_secrets::{InstallKey, SecretReader};
use talon_store::Store;
use talon_worker::Bundle;

/// What a daemon is made of.
pub struct Wiring {
    /// Where the rows are.
    pub store: Arc<dyn Store>,
    /// How to reach Cloudflare.
    pub cloudflare: ClientConfig,
    /// Where Agent Cards are registered.
    pub registry: Arc<dyn Registry>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretReader>,
    /// What is deployed.
    pub bundle: Bundle,
    /// This installation.
    pub install: InstallId,
    /// The root of its control tokens.
    pub key: Arc<InstallKey>,
    /// The Workers themselves; `None` where their addresses lead nowhere.
    pub door: Option<Arc<dyn WorkerDoor>>,
    /// How many calls to Cloudflare may be made.
    pub budget: Arc<dyn Budget>,
    /// Settings.
    pub config: ControllerConfig,
}

/// The budget of an account's calls, as the settings want it.
pub fn budget(config: &ControllerConfig, store: Arc<dyn Store>, account: String) -> CallBudget {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    if config.budget_shared {
        CallBudget::shared(clock, config.budget_calls, store, account)
    } else {
        CallBudget::in_process(clock, config.budget_calls)
    }
}

/// A daemon, and its way to Cloudflare.
pub struct Made {
    /// The daemon.
    pub daemon: Daemon,
    /// The client that it calls Cloudflare with, under its budget.
    pub cloudflare: Arc<Client>,
}

/// Makes the daemon. Nothing is done before it is run.
pub fn build(wiring: Wiring) -> Result<Made, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let r2_endpoint = match &wiring.cloudflare.s3_endpoint {
        Some(url) => R2Endpoint::Fixed(url.as_str().trim_end_matches('/').to_owned()),
        None => R2Endpoint::Cloudflare,
    };
    let client = cloudflare::client(wiring.cloudflare, wiring.budget)?;
    let client = Arc::new(client.with_witness(Arc::new(StepWitness)));
    let parts = Parts {
        registry: wiring.registry,
        store: wiring.store,
        cloud: client.clone(),
        secrets: wiring.secrets,
        bundle: Arc::new(wiring.bundle),
        door: wiring.door,
        install: wiring.install,
        key: wiring.key,
        r2_endpoint,
        clock,
        random: Arc::new(OsRandom),
    };
    Ok(Made {
        daemon: Daemon::new(parts, wiring.config),
        cloudflare: client,
    })
}

/// Where the highest change ever seen is kept, to notice a database that was set back: beside the install key.
pub fn high_water_file(key_file: &std::path::Path) -> PathBuf {
    crate::database::sibling(key_file, ".seen")
}
