//! `talon simulate`: the local Cloudflare alone.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use talon_simulator::{DEV_API_TOKEN, NoRunner, Quota, Runner, SimConfig, Simulator};

use crate::exit::{Exit, Failure};
use crate::local::fresh_seed;
use crate::logging::{self, LogFormat};
use crate::session::Session;
use crate::workers;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It keeps everything in memory. Its admin endpoint steers faults and shows the log of calls."
)]
pub struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Seed of ids, token values and faults [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Count calls as Cloudflare does: 1,200 in five minutes, then 429
    #[arg(long)]
    quota: bool,
    /// Run uploaded Workers in workerd (fetched from npm on first use), and serve their workers.dev
    #[arg(long)]
    workers: bool,
    /// Where to serve workers.dev, with --workers
    #[arg(
        long,
        default_value = "127.0.0.1:0",
        value_name = "ADDRESS",
        requires = "workers"
    )]
    front_door: SocketAddr,
}

/// Runs until it is told to stop.
pub async fn run(args: Args, session: Session) -> Result<Exit, Failure> {
    logging::start(LogFormat::Text, "warn")?;
    if !args.listen.ip().is_loopback() {
        session.output.warn(
            "the local Cloudflare accepts a token that everybody knows: do not let others reach it",
        );
    }
    let runner: Arc<dyn Runner> = if args.workers {
        let runner = workers::runner(None, &session.output)?;
        if let Err(why) = runner.prepare().await {
            return Err(Failure::new(
                Exit::Failure,
                format!("there is no workerd to run Workers in: {why}"),
                "install npm, or name a workerd with TALON_WORKERD; without --workers nothing is needed, and nothing runs",
            ));
        }
        Arc::new(runner)
    } else {
        Arc::new(NoRunner)
    };
    let cloud = Simulator::start(SimConfig {
        runner,
        front_door: args.workers.then_some(args.front_door),
        listen: args.listen,
        seed: args.seed.unwrap_or_else(fresh_seed),
        quota: args.quota.then_some(Quota::CLOUDFLARE),
        ..SimConfig::default()
    })
    .await
    .map_err(|e| {
        Failure::new(
            Exit::Failure,
            format!(
                "cannot listen on {} or {}: {e}",
                args.listen, args.front_door
            ),
            "choose another address with --listen; 127.0.0.1:0 takes any free port",
        )
    })?;
    let front_door = cloud.front_door();
    if session.output.is_machine() {
        session.output.document(&json!({
            "frontDoor": front_door,
            "apiBase": cloud.api_base().as_str(),
            "s3Endpoint": cloud.s3_endpoint().as_str(),
            "admin": cloud.admin().as_str(),
            "accountId": cloud.account_id(),
            "apiToken": DEV_API_TOKEN,
        }))?;
    } else {
        let door = match front_door {
            Some(door) => format!("\x20 export TALON_CLOUDFLARE_FRONT_DOOR={door}\n"),
            None => String::new(),
        };
        let browse = match front_door {
            Some(door) => format!(
                "Workers run; in a browser: http://WORKER.dev.workers.localhost:{}/healthz\n",
                door.port()
            ),
            None => String::new(),
        };
        session.output.write(&format!(
            "A local Cloudflare listens. For a daemon that uses it:\n\
             \x20 export TALON_CLOUDFLARE_API_BASE={}\n\
             \x20 export TALON_CLOUDFLARE_S3_ENDPOINT={}\n\
             \x20 export TALON_CLOUDFLARE_ACCOUNT_ID={}\n\
             \x20 export TALON_CLOUDFLARE_API_TOKEN={DEV_API_TOKEN}\n\
             {door}\
             \x20 talon run\n\
             {browse}\
             Faults and the log of calls: {}\n",
            cloud.api_base(),
            cloud.s3_endpoint(),
            cloud.account_id(),
            cloud.admin()
        ));
    }
    super::run::told_to_stop().await?;
    cloud.shutdown().await;
    Ok(Exit::Success)
}
