//! How long a search takes: `cargo run --release -p talon-router --example bench [skills]`. Once with
//! everything in memory, and once as it is used: with each search goes a look at how those found stand and whether cards have
//! changed, one statement in SQLite on disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use talon_core::clock::Clock;
use talon_core::search::{AgentSearch, Asker};
use talon_router::{Router, StaticModel};
use talon_store::network::HostedConnection;
use talon_store::{MemoryStore, WholeStore};
use talon_store_sqlite::SqliteStore;

const LABELLED: &str = include_str!("../tests/quality/labelled.tsv");
const SEARCHES: usize = 2_000;

/// The clock of this machine.
struct System;

impl Clock for System {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::Utc::now()
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let skills: usize = std::env::args().nth(1).map_or(Ok(1_000), |n| n.parse())?;
    println!("in memory");
    measure(Arc::new(MemoryStore::new(Arc::new(System))), skills).await?;
    println!("SQLite");
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("talon.db").display());
    SqliteStore::migrate(&url).await?;
    measure(Arc::new(SqliteStore::open(&url).await?), skills).await
}

async fn measure(
    store: Arc<dyn WholeStore>,
    skills: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<Vec<&str>> = LABELLED
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect();
    let connection = HostedConnection {
        connection_id: "c".to_owned(),
        hub: "hub".to_owned(),
    };
    for number in 0..skills {
        let line = &lines[number % lines.len()];
        let skill = json!({"id": line[0], "name": line[1], "description": format!("{} ({number})", line[2])});
        let card = json!({ "skills": [skill] });
        let name = format!("agent{number}");
        store
            .hosted_connected(&name, "ann", true, Some(&card), &connection)
            .await?;
    }
    let model = StaticModel::built_in();
    let router = Router::new(store, Some(model.clone()));
    let begun = Instant::now();
    router.prepare().await?;
    println!("{skills} skills read and embedded in {:?}", begun.elapsed());
    let asker = Asker {
        agent: None,
        owner: "bob".to_owned(),
    };
    let mut whole = Vec::new();
    let mut embedding = Duration::ZERO;
    for number in 0..SEARCHES {
        let query = lines[number % lines.len()][3];
        let begun = Instant::now();
        std::hint::black_box(model.vector(query));
        embedding += begun.elapsed();
        let begun = Instant::now();
        router.search(&asker, query, 10).await?;
        whole.push(begun.elapsed());
    }
    whole.sort();
    let at = |share: f64| whole[((SEARCHES - 1) as f64 * share) as usize];
    println!(
        "embedding a query: {:?} on average",
        embedding / SEARCHES as u32
    );
    println!(
        "a whole search: {:?} in the middle, {:?} for 99 of 100",
        at(0.5),
        at(0.99)
    );
    Ok(())
}
