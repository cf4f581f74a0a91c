//! A dashboard over a database that holds an agent of every kind there is to show: for looking at it, and for the tests in a
//! browser. Prints one line of JSON with the address and the tokens, serves until standard input ends, and leaves nothing
//! behind. `stage [AGENTS]`: with so many more agents that are simply deployed.

#[path = "stage/fleet.rs"]
mod fleet;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use talon_core::Owner;
use talon_core::secret::SecretValue;
use talon_dashboard::{Dashboard, DashboardParts, Gate, Role, Visitor};
use talon_store::StoreResult;
use talon_store_sqlite::SqliteStore;
use tokio_util::sync::CancellationToken;

/// Tokens that anybody may know: the stage holds nothing.
struct Tokens(BTreeMap<String, Visitor>);

#[async_trait]
impl Gate for Tokens {
    async fn admit(&self, sha256: &str) -> StoreResult<Option<Visitor>> {
        Ok(self.0.get(sha256).cloned())
    }
}

fn token(name: &str) -> String {
    format!("stage-{name}")
}

fn tokens() -> Tokens {
    let people = [
        ("admin", Role::Admin, None),
        ("secrets", Role::SecretWriter, None),
        ("operator", Role::Operator, None),
        ("viewer", Role::Viewer, None),
        ("acme", Role::Operator, Some("acme")),
        ("nobody", Role::Operator, Some("nobody")),
    ];
    Tokens(
        people
            .into_iter()
            .map(|(name, role, owner)| {
                let visitor = Visitor {
                    name: name.to_owned(),
                    role,
                    owner: owner.map(|o| Owner(o.to_owned())),
                };
                (SecretValue::new(token(name)).sha256_hex(), visitor)
            })
            .collect(),
    )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let more = std::env::args().nth(1).map_or(Ok(0), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("talon.db").display());
    SqliteStore::migrate(&url).await?;
    let store = Arc::new(SqliteStore::open(&url).await?);
    fleet::make(&store, &url, more).await?;
    let stop = CancellationToken::new();
    let dashboard = Dashboard::new(DashboardParts {
        store: store.clone(),
        gate: Arc::new(tokens()),
        session_key: [7; 32],
        https: false,
        calls: Some(Arc::new(fleet::Calls)),
        call_ceiling: 1000,
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
