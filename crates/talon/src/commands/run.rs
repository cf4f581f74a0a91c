//! `talon run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use talon_cloudflare::{Client, Unlimited};
use talon_core::cloud::{CallClass, CallCx, Cloud, CloudError};
use talon_secrets::ScopedReader;
use tokio_util::sync::CancellationToken;

use crate::cloudflare;
use crate::daemon::{self, Wiring};
use crate::database::{self, Database};
use crate::exit::{Exit, Failure};
use crate::install_key;
use crate::logging::{self, LogFormat};
use crate::output::safe;
use crate::session::Session;

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
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Runs until it is told to stop.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    logging::start(args.log_format, "info")?;
    // Before anything is said or done, so that a signal never finds nobody.
    let told = stop_signals()?;
    let settings = &session.config.settings;
    let cloudflare = cloudflare::client_config(&settings.cloudflare)?;
    let door = cloudflare::door(&cloudflare)?;
    let database = session.database()?;
    if let Database::Sqlite(_) = database {
        // Nobody else administers a file; a server's schema is its owner's business (talon migrate).
        database::migrate(&database, false).await?;
    }
    let opened = database::open(&database).await?;
    let lock = opened.lock_daemon()?;
    let store = opened.store;
    let key_file = install_key::path(&session.config, &database);
    let keyed = install_key::ensure(&*store, &key_file).await?;
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
    let stop = CancellationToken::new();
    let daemon = daemon::build(
        Wiring {
            store,
            cloudflare,
            secrets: Arc::new(ScopedReader::new(settings.secret_scopes.clone())),
            keyed,
            door,
            config,
        },
        stop.clone(),
    )?;
    let mut running = std::pin::pin!(daemon);
    let result = tokio::select! {
        result = &mut running => result,
        () = told => {
            tracing::info!("stopping: passes under way end, leases are given back");
            stop.cancel();
            running.await
        }
    };
    drop(lock);
    match &result {
        Ok(()) => tracing::info!("stopped"),
        Err(failure) => tracing::error!(error = %safe(&failure.message), "stopped"),
    }
    result.map(|()| Exit::Success)
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
fn stop_signals() -> Result<impl Future<Output = ()>, Failure> {
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
