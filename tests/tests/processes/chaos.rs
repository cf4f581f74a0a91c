//! `kill -9` ten times on each database; `cargo xtask chaos` does it a hundred times.

use talon_tests::chaos::{Options, play};
use talon_tests::site::Engine;

async fn ten_kills(engine: Engine, seed: u64) -> anyhow::Result<()> {
    let kills = 10;
    let report = play(Options {
        engine,
        kills,
        seed,
    })
    .await?;
    println!("{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_on_sqlite_leave_everything_converged() -> anyhow::Result<()> {
    ten_kills(Engine::Sqlite, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_kills_on_postgres_leave_everything_converged() -> anyhow::Result<()> {
    ten_kills(Engine::Postgres, 2).await
}
