//! SIGTERM: an end in good order, at once, whatever is under way.

use std::time::Duration;

use anyhow::{Result, ensure};
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_tests::oracle;
use talon_tests::process::Daemon;
use talon_tests::site::{Engine, Site};

const AGENTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(240);
/// The promise is ten seconds; the machine may be busy.
const GENEROUS: Duration = Duration::from_secs(20);

async fn busy(
    engine: Engine,
    rule: FaultRule,
    set: &[(&str, &str)],
) -> Result<(Site<'static>, Daemon)> {
    let mut site = Site::on(engine, SimConfig::default()).await?;
    for (variable, value) in set {
        site.launch.set(variable, *value);
    }
    site.sim
        .faults()
        .add(vec![rule])
        .map_err(anyhow::Error::msg)?;
    for n in 0..AGENTS {
        site.create(&format!("agent-{n}")).await?;
    }
    let daemon = site.daemon("first")?;
    let many = async || {
        let calls = site.sim.faults().fired();
        let held = held(&site).await?;
        Ok(if calls >= 8 && held.len() >= 8 {
            Ok(())
        } else {
            Err(format!("{} leases and {calls} calls of 8", held.len()))
        })
    };
    site.until("passes are under way", PATIENCE, many).await?;
    Ok((site, daemon))
}

async fn held(site: &Site<'_>) -> Result<Vec<String>> {
    let rows = site.rows().await?.into_iter();
    let held = rows.filter(|r| r.work.lease_owner.is_some());
    Ok(held.map(|r| r.agent.name.to_string()).collect())
}

async fn ends_in_order(site: &Site<'_>, daemon: Daemon) -> Result<()> {
    let (status, took) = daemon.terminate(GENEROUS).await?;
    println!("stopped {:.2} s after SIGTERM", took.as_secs_f64());
    ensure!(status.code() == Some(0), "{status}\n{}", site.dump().await);
    let held = held(site).await?;
    ensure!(
        held.is_empty(),
        "still leased: {held:?}\n{}",
        site.dump().await
    );
    Ok(())
}

/// The next daemon ends what this one had begun, and makes nothing twice.
async fn is_taken_up(site: &Site<'_>) -> Result<()> {
    site.sim.faults().clear();
    let daemon = site.daemon("second")?;
    site.settled(PATIENCE).await?;
    oracle::verify(site).await?;
    ends_in_order(site, daemon).await
}

fn slow_writes() -> FaultRule {
    FaultRule::on_class(CallClass::Write, Fault::Latency { ms: 300 })
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_gives_the_leases_back_on_sqlite() -> Result<()> {
    let (site, daemon) = busy(Engine::Sqlite, slow_writes(), &[]).await?;
    ends_in_order(&site, daemon).await?;
    is_taken_up(&site).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_gives_the_leases_back_on_postgres() -> Result<()> {
    let (site, daemon) = busy(Engine::Postgres, slow_writes(), &[]).await?;
    ends_in_order(&site, daemon).await?;
    is_taken_up(&site).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_does_not_wait_for_calls_that_hang() -> Result<()> {
    // The timings that hold if nothing is configured.
    let set = [
        ("TALON_DEADLINES_LEASE_SECONDS", "60"),
        ("TALON_DEADLINES_REQUEST_SECONDS", "30"),
        ("TALON_DEADLINES_SHUTDOWN_SECONDS", "8"),
    ];
    let hangs = FaultRule::on("r2.bucket.create", Fault::TimeoutBefore);
    let (site, daemon) = busy(Engine::Sqlite, hangs, &set).await?;
    ends_in_order(&site, daemon).await
}
