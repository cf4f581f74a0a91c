//! A dashboard over a database that holds an agent of every kind there is to show: for looking at it, and for the tests in a
//! browser. Prints one line of JSON with the address and the tokens, serves until standard input ends, and leaves nothing
//! behind. `stage [AGENTS [hold]]`: with so many more agents that are simply deployed; with everything on hold.

#[path = "stage/fleet.rs"]
mod fleet;
#[path = "stage/logs.rs"]
mod logs;

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use talon_core::secret::SecretValue;
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter, StoredKey};
use talon_core::{AgentId, Owner};
use talon_dashboard::{Dashboard, DashboardParts};
use talon_store::access::{AccessStore, NewToken, Role};
use talon_store::{HoldKind, Store, StoreResult};
use talon_store_sqlite::SqliteStore;
use tokio_util::sync::CancellationToken;

/// A token that anybody may know: the stage holds nothing.
fn token(name: &str) -> String {
    format!("stage-{name}")
}

async fn make_tokens(store: &SqliteStore) -> StoreResult<()> {
    let people = [
        ("admin", Role::Admin, None),
        ("secrets", Role::SecretWriter, None),
        ("operator", Role::Operator, None),
        ("viewer", Role::Viewer, None),
        ("acme", Role::Operator, Some("acme")),
        ("acme-admin", Role::Admin, Some("acme")),
        ("nobody", Role::Operator, Some("nobody")),
    ];
    for (name, role, owner) in people {
        let token = NewToken {
            label: name.to_owned(),
            role,
            owner: owner.map(|o| Owner(o.to_owned())),
            sha256: SecretValue::new(token(name)).sha256_hex(),
            expires_in: None,
        };
        store.create_token(&token).await?;
    }
    Ok(())
}

/// Takes keys and forgets them.
struct Forgetful;

#[async_trait]
impl SecretWriter for Forgetful {
    async fn set_keys(
        &self,
        _: AgentId,
        _: Vec<(KeyName, SecretValue)>,
    ) -> Result<Vec<StoredKey>, SecretWriteError> {
        Ok(Vec::new())
    }

    async fn unset_key(&self, _: AgentId, _: &KeyName) -> Result<bool, SecretWriteError> {
        Ok(false)
    }

    async fn rotate_auth(&self, _: AgentId) -> Result<(), SecretWriteError> {
        Ok(())
    }
}

/// Time since the start.
struct Uptime(Instant);

impl talon_core::clock::Clock for Uptime {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let more = std::env::args().nth(1).map_or(Ok(0), |n| n.parse())?;
    let holds = std::env::args().nth(2).is_some_and(|word| word == "hold");
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("talon.db").display());
    SqliteStore::migrate(&url).await?;
    let store = Arc::new(SqliteStore::open(&url).await?);
    make_tokens(&store).await?;
    fleet::make(&store, &url, more).await?;
    if holds {
        let reason = "40 of 120 Workers vanished within ten minutes (the brake holds from 12)";
        store.set_hold(HoldKind::MassChange, reason).await?;
    }
    let logs = logs::Stories {
        silent: fleet::id_of(&store, "fresh-agent").await?,
        busy: fleet::id_of(&store, "research-pro").await?,
    };
    let stop = CancellationToken::new();
    let dashboard = Dashboard::new(DashboardParts {
        store: store.clone(),
        operator_sha256: SecretValue::new(token("install")).sha256_hex(),
        secrets: Some(Arc::new(Forgetful)),
        session_key: [7; 32],
        https: false,
        gauge: Some(Arc::new(fleet::Daemon)),
        logs: Some(Arc::new(logs)),
        guesses: Arc::new(talon_core::guesses::Guesses::new(
            talon_core::guesses::GuessLimit::default(),
            Arc::new(Uptime(Instant::now())),
        )),
        call_ceiling: 1000,
        new_token: Some(Box::new(|| SecretValue::new(token("made-here")))),
        stopping: stop.clone(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let once = dashboard.one_time_path(&SecretValue::new(token("admin")).sha256_hex());
    let said = serde_json::json!({
        "url": format!("http://{}", listener.local_addr()?),
        "once": once,
        "database": url,
    });
    println!("{said}");
    let serving = tokio::spawn(async move { axum::serve(listener, dashboard.routes()).await });
    tokio::task::spawn_blocking(|| {
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest)
    })
    .await??;
    stop.cancel();
    serving.abort();
    Ok(())
}
