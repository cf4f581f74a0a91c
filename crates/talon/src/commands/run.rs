//! `talon run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::{Client, Unlimited};
use talon_core::cloud::{CallClass, CallCx, Cloud, CloudError};
use talon_router::{RemoteConfig, RemoteRegistry};
use talon_secrets::ScopedReader;

use super::RuntimeFlag;
use crate::cloudflare;
use crate::config::settings::{self, RouterSettings, Settings};
use crate::config::token::TokenSource;
use crate::daemon;
use crate::database::{self, Database};
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::logging::{self, LogFormat};
use crate::output::safe;
use crate::runtime;
use crate::service::{self, Ingredients, Service};
use crate::session::Session;
use crate::vault;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs TALON_CLOUDFLARE_ACCOUNT_ID and TALON_CLOUDFLARE_API_TOKEN (talon doctor checks both). The level of its log is \
set by TALON_LOG (warn, info, debug). SIGTERM or Ctrl-C stops it in good order within ten seconds; killing it loses \
nothing either."
)]
pub struct Args {
    /// Plan and report, change nothing: for the first day on an account
    #[arg(long)]
    observe_only: bool,
    #[command(flatten)]
    runtime: RuntimeFlag,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Runs until it is told to stop.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    logging::start(args.log_format, "info")?;
    // Before anything is said or done, so that a signal never finds nobody.
    let mut told = Box::pin(stop_signals()?);
    let settings = &session.config.settings;
    let cloudflare = cloudflare::client_config(&settings.cloudflare)?;
    check_hub(settings, args.observe_only)?;
    let database = session.database()?;
    if let Database::Sqlite(_) = database {
        // Nobody else administers a file; a server's schema is its owner's business (talon migrate).
        database::migrate(&database, false).await?;
    }
    let opened = database::open(&database).await?;
    let lock = opened.lock_daemon()?;
    let key_file = install_key::path(&session.config, &database);
    let keyed = install_key::ensure(&*opened.store, &key_file).await?;
    let listener = service::listen(settings.listen, &*opened.store).await?;
    if !settings.listen.ip().is_loopback() {
        tracing::warn!(
            "HTTP is served unencrypted to other machines: let a proxy with TLS stand before it"
        );
    }
    let wanted = args.runtime.wanted(settings);
    let bundle = tokio::select! {
        got = wanted.obtain(|line| tracing::info!("{}", safe(line))) => got?,
        () = &mut told => return Ok(Exit::Success),
    };
    if bundle.is_placeholder() {
        tracing::warn!(
            "a placeholder is deployed, as was asked for: agents get everything they need, and never answer"
        );
    }
    let mut config = settings.controller();
    config.observe_only = args.observe_only;
    config.budget_shared = matches!(database, Database::Postgres(_));
    config.high_water_file = Some(daemon::high_water_file(&key_file));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        database = %safe(&database.shown()),
        kind = database.kind(),
        account = %safe(&cloudflare.account_id),
        install = %keyed.install.id,
        key_file = %safe(&key_file.display().to_string()),
        runtime = %runtime::shown(&bundle),
        observe_only = config.observe_only,
        concurrency = config.concurrency,
        resync_s = config.resync_seconds,
        lease_s = config.lease_seconds,
        budget_calls = config.budget_calls,
        "talon runs"
    );
    let asked = cloudflare::client_config(&settings.cloudflare)
        .and_then(|config| cloudflare::client(config, Arc::new(Unlimited)))?;
    tokio::spawn(warn_of_token(asked));
    let mut service = Service::start(Ingredients {
        store: opened.store,
        cloudflare,
        front_door: settings.cloudflare.front_door,
        secrets: Arc::new(
            ScopedReader::new(settings.secret_scopes.clone())
                .with_vault(vault::client(&settings.vault)?),
        ),
        keyed,
        bundle,
        hub: settings.hub.clone(),
        http: settings.http,
        dashboard: settings.dashboard,
        remote_router: remote_router(&settings.router)?,
        config,
        listener,
        trusted_proxies: settings.proxies()?,
    })
    .await?;
    tracing::info!(address = %service.address(), hub = %safe(service.hub_url()), "listens");
    let ended = tokio::select! {
        failure = service.ended() => Err(failure),
        () = told => {
            tracing::info!("stopping: passes under way end, leases are given back, agents are told to come back");
            Ok(())
        }
    };
    let result = ended.and(service.stop().await);
    drop(lock);
    match &result {
        Ok(()) => tracing::info!("stopped"),
        Err(failure) => tracing::error!(error = %safe(&failure.message), "stopped"),
    }
    result.map(|()| Exit::Success)
}

/// The Hub's address must be one, and lead to the Hub from where Workers are.
fn check_hub(settings: &Settings, observe_only: bool) -> Result<(), Failure> {
    match malformed_hub(settings).or(unreachable_hub(settings)) {
        None => Ok(()),
        Some(failure) if observe_only => {
            tracing::warn!(next = %failure.next, "{}", safe(&failure.message));
            Ok(())
        }
        Some(failure) => Err(failure),
    }
}

/// What is wrong with the Hub's address as such.
pub fn malformed_hub(settings: &Settings) -> Option<Failure> {
    let address = settings.hub.address(settings.listen);
    let is_socket = address.starts_with("ws://") || address.starts_with("wss://");
    let good = is_socket && settings::is_local(&address).is_some();
    (!good).then(|| {
        Failure::usage(
            "hub.url is not the address of a Hub",
            "write wss://HOST/ws/agents (or ws:// for a local Cloudflare); talon config show says where it comes from",
        )
    })
}

/// Why Workers at the real Cloudflare would not reach the Hub at the address that they are told.
pub fn unreachable_hub(settings: &Settings) -> Option<Failure> {
    if settings::is_local(&settings.cloudflare.api_base) == Some(true) {
        return None;
    }
    let address = settings.hub.address(settings.listen);
    let private = settings::is_local(&address) == Some(true) || address.starts_with("ws://");
    private.then(|| {
        Failure::usage(
            format!("Workers at Cloudflare cannot reach the Hub at {}", safe(&address)),
            format!(
                "let a proxy or a tunnel with TLS lead to {} and set hub.url (TALON_HUB_URL) to its wss://HOST/ws/agents; or \
                 set hub.embedded: false (TALON_HUB_EMBEDDED=false) if the Hub is elsewhere",
                settings::reachable(settings.listen)
            ),
        )
    })
}

/// The Router elsewhere, if one is configured; its key is read now.
fn remote_router(settings: &RouterSettings) -> Result<Option<RemoteRegistry>, Failure> {
    let Some(url) = &settings.url else {
        return Ok(None);
    };
    let key = settings.service_key.as_deref().ok_or_else(|| {
        Failure::new(
            Exit::NotAllowed,
            "router.url names a Router elsewhere, and there is no key for it",
            "set TALON_ROUTER_SERVICE_KEY, or point router.serviceKey at env:NAME or file:PATH",
        )
    })?;
    let key = TokenSource::parse("router.serviceKey", key)?.read("router.serviceKey")?;
    RemoteRegistry::new(&RemoteConfig::new(url), key)
        .map(Some)
        .map_err(|e| {
            Failure::usage(
                e.to_string(),
                "correct router.url or router.serviceKey; talon config show says where they come from",
            )
        })
}

/// A token that Cloudflare does not take is said at once: while nothing changes, no pass would stumble over it. Nothing
/// else is concluded from it.
async fn warn_of_token(client: Client) {
    let cx = CallCx {
        class: CallClass::UserChange,
        remaining: Some(Duration::from_secs(10)),
    };
    if let Err(error @ CloudError::Auth(_)) = client.verify_token(cx).await {
        tracing::error!(
            error = %safe(&error.to_string()),
            "Cloudflare does not take the token; talon doctor says more"
        );
    }
}

/// Ends on SIGTERM, SIGINT or SIGHUP.
pub async fn told_to_stop() -> Result<(), Failure> {
    stop_signals()?.await;
    Ok(())
}

/// Listens to the signals from now on; what it gives ends when one has come.
pub fn stop_signals() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Failure::io("signals cannot be waited for", &e));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
