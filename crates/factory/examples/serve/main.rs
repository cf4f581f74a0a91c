//! A Factory on a new SQLite database, with the real controller over a local Cloudflare, for tools that test an API from
//! outside: prints its address, the operator's token and one of each role for the owner `ann`, each on a line, and runs
//! until its input ends. Its argument: how many seconds a watch lasts.
#![allow(clippy::disallowed_methods)] // It shows tokens: nothing they open outlives this process.

mod controller;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use talon_controller::clock::{OsRandom, SystemClock};
use talon_core::guesses::GuessLimit;
use talon_factory::{FactoryConfig, FactoryParts, OperatorToken, Rate, new_token};
use talon_hub::{Hub, HubConfig, HubParts, SigningKey};
use talon_router::Router;
use talon_secrets::InstallKey;
use talon_store::access::{AccessStore, NewToken, Role};
use talon_store_sqlite::SqliteStore;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("talon.db");
    let url = file.to_str().ok_or("a path that is no text")?;
    SqliteStore::migrate(url).await?;
    let store = Arc::new(SqliteStore::open(url).await?);
    let clock = Arc::new(SystemClock::default());
    let stop = CancellationToken::new();
    let search = Arc::new(Router::new(store.clone(), None));
    let hub_parts = HubParts {
        store: store.clone(),
        key: SigningKey::new([9; 32]),
        search: Some(search.clone()),
        waker: None,
        clock: clock.clone(),
        random: Arc::new(OsRandom),
    };
    let hub = Hub::start(hub_parts, HubConfig::default()).await?;
    let key = InstallKey::from_hex(&"ab".repeat(32))?;
    let operator = key.operator_token();
    let mut tokens = vec![("operator".to_owned(), operator.duplicate())];
    for role in Role::ALL {
        let token = new_token(&OsRandom);
        let new = NewToken {
            label: role.to_string(),
            role,
            owner: talon_core::Owner::parse("ann"),
            sha256: token.sha256_hex(),
            expires_in: None,
        };
        store.create_token(&new).await?;
        tokens.push((format!("ann-{role}"), token));
    }
    let callbacks = InstallKey::from_hex(&"ab".repeat(32))?;
    let (daemon, _cloudflare) = controller::controller(store.clone(), key).await?;
    let parts = FactoryParts {
        store,
        deliver: Some(Arc::new(hub.clone())),
        hub: Some(hub),
        search: Some(search),
        secrets: Some(daemon.secret_writer()),
        // Without tails: no Worker runs here.
        logs: Some(daemon.logs(None)),
        callbacks: Some(Arc::new(callbacks)),
        clock,
        random: Arc::new(OsRandom),
        operator: OperatorToken::of(&operator),
        stopping: stop.clone(),
    };
    // A tool that follows every link must come back from streams; one that measures them says how long they shall last.
    let max_watch = match std::env::args().nth(1) {
        Some(seconds) => Duration::from_secs(seconds.parse()?),
        None => Duration::from_millis(100),
    };
    let config = FactoryConfig {
        rate: Rate {
            per_second: 0,
            burst: 0,
        },
        // Who tests whether others are kept out shows wrong tokens all the time.
        guesses: GuessLimit {
            at_once: 0,
            every: Duration::ZERO,
        },
        // Nobody is there to answer tasks, and what is waited for may never be so.
        max_wait: Duration::from_secs(1),
        task_timeout: Duration::from_secs(1),
        max_watch,
        ..FactoryConfig::default()
    };
    let router = talon_factory::routes(parts, config.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("address http://{}", listener.local_addr()?);
    for (name, token) in &tokens {
        println!("token {name} {}", token.expose());
    }
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { talon_factory::serve(listener, router, &config, stop).await }
    });
    let working = tokio::spawn({
        let stop = stop.clone();
        async move { daemon.run(stop).await }
    });
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    stop.cancel();
    serving.await?;
    working.await??;
    Ok(())
}
