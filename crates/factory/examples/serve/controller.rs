//! The real controller over a local Cloudflare, so that agents come and go while they are asked for, and keys go where
//! they go in earnest. A few of the controller's own calls fail, by a seed; those that a key's way leads over do not: what
//! is rightly answered 503 then would count as found.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use talon_cloudflare::{Client, ClientConfig, Timeouts};
use talon_controller::budget::CallBudget;
use talon_controller::clock::{OsRandom, SystemClock};
use talon_controller::config::BrakeConfig;
use talon_controller::{ControllerConfig, Daemon, Parts};
use talon_core::secret::{SecretRef, SecretValue};
use talon_core::{InstallId, Owner};
use talon_plan::R2Endpoint;
use talon_router::EmbeddedRegistry;
use talon_secrets::{InstallKey, SecretReadError, SecretReader};
use talon_simulator::{DEV_API_TOKEN, Fault, FaultRule, SimConfig, SimHandle, Simulator};
use talon_store::Store;
use talon_worker::Bundle;

/// Has a value for every reference.
struct EveryReference;

#[async_trait]
impl SecretReader for EveryReference {
    async fn read(&self, _: &Owner, _: &SecretRef) -> Result<SecretValue, SecretReadError> {
        Ok(SecretValue::new(
            "made-up-key-behind-a-reference".to_owned(),
        ))
    }
}

/// A daemon that is not running yet, and the Cloudflare that it speaks to.
pub async fn controller(
    store: Arc<dyn Store>,
    key: InstallKey,
) -> Result<(Daemon, SimHandle), Box<dyn Error>> {
    let cloudflare = Simulator::start(SimConfig {
        // As many agents as a long round of questions makes.
        max_workers: 100_000,
        max_tokens: 100_000,
        ..SimConfig::default()
    })
    .await?;
    cloudflare.faults().add(mishaps())?;
    let config = ControllerConfig {
        hub_url: "ws://127.0.0.1:9/ws/agents".to_owned(),
        lease_seconds: 6.0,
        request_timeout_seconds: 2.0,
        settle_grace_seconds: 1.0,
        list_lag_seconds: 0.2,
        list_spacing_seconds: 1.0,
        cleanup_deadline_seconds: 5.0,
        backoff_initial_seconds: 0.1,
        backoff_max_seconds: 1.0,
        // Who asks for everything there is asks for many deletions.
        brake: BrakeConfig {
            vanished_min: u64::MAX,
            deletions: u64::MAX,
            ..BrakeConfig::default()
        },
        ..ControllerConfig::default()
    };
    let clock = Arc::new(SystemClock::default());
    let budget = Arc::new(CallBudget::in_process(clock.clone(), u32::MAX));
    let timeout = Duration::from_secs_f64(config.request_timeout_seconds);
    let client = Client::new(
        ClientConfig {
            api_base: cloudflare.api_base(),
            s3_endpoint: Some(cloudflare.s3_endpoint()),
            account_id: cloudflare.account_id().to_owned(),
            token: SecretValue::new(DEV_API_TOKEN.to_owned()),
            timeouts: Timeouts {
                connect: timeout,
                request: timeout,
                upload: timeout,
            },
            user_agent: "talon-serve".to_owned(),
        },
        budget,
    )?;
    let install = store
        .init_install(&InstallId::from_random(*b"0123456789"), &key.check())
        .await?;
    let parts = Parts {
        registry: Arc::new(EmbeddedRegistry::new(store.clone())),
        store,
        cloud: Arc::new(client),
        secrets: Arc::new(EveryReference),
        bundle: Arc::new(Bundle::placeholder()),
        door: None,
        install: install.id,
        key: Arc::new(key),
        r2_endpoint: R2Endpoint::Fixed(cloudflare.s3_endpoint().to_string()),
        clock,
        random: Arc::new(OsRandom),
    };
    Ok((Daemon::new(parts, config), cloudflare))
}

/// What goes wrong at the local Cloudflare, seldom enough that most things get done.
fn mishaps() -> Vec<FaultRule> {
    let broken = Fault::Status {
        status: 500,
        html: false,
        code: None,
        after_commit: false,
    };
    let seldom = |operation: &str, fault: Fault| FaultRule {
        probability: 0.05,
        ..FaultRule::on(operation, fault)
    };
    vec![seldom("r2.*", Fault::ResetAfter), seldom("r2.*", broken)]
}
