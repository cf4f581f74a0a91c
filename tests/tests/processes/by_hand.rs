//! A row written by hand, with the system's own `sqlite3` and `psql`, lives its whole life.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use talon_core::status::DeploymentStatus;
use talon_simulator::{CallClass, CallRecord, SimConfig};
use talon_tests::oracle;
use talon_tests::postgres::Role;
use talon_tests::site::{Engine, Site, unsettled};

const PATIENCE: Duration = Duration::from_secs(240);
/// Less than the fifteen seconds after which a daemon looks without being woken.
const AT_ONCE: Duration = Duration::from_secs(8);

/// As the contract shows it.
const INSERT: &str = "INSERT INTO agent_source (name, persona, instructions, model, api_key_refs)
VALUES ('research-pro', 'You are a careful research analyst.', 'Cite every claim.',
        'anthropic/claude-sonnet-4-6', '{\"anthropic\":\"env:TALON_SECRET_ANTHROPIC\"}');";
const SELECT: &str = "SELECT name, deployment_status, deployment_error, worker_url FROM agent_source \
                      WHERE name = 'research-pro';";
const DELETE: &str = "DELETE FROM agent_source WHERE name = 'research-pro';";
const CLEANUP: &str =
    "SELECT kind, result FROM cleanup WHERE agent = 'research-pro' ORDER BY kind;";

/// Runs statements as a person would; what was printed.
fn sql(site: &Site<'_>, text: &str) -> Result<String> {
    let output = match &site.database {
        Some(database) => database.psql(Role::Writer, text),
        None => Command::new("sqlite3")
            .args(["-cmd", ".timeout 5000"])
            .arg(site.file())
            .arg(text)
            .output()
            .context("sqlite3 is needed for this test: apt-get install sqlite3")?,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}: {said}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn writes(site: &Site<'_>) -> Vec<CallRecord> {
    let calls = site.sim.calls().into_iter();
    let writes = calls.filter(|c| c.class == CallClass::Write && !c.operation.starts_with("s3."));
    writes.collect()
}

/// Waits for the next write to Cloudflare, and says how long that took.
async fn woken(site: &Site<'_>, after: &str) -> Result<()> {
    let begun = Instant::now();
    let any = async || {
        let any = writes(site).into_iter().next().map(|_| ());
        Ok(any.ok_or_else(|| "no write to Cloudflare".to_owned()))
    };
    site.until(&format!("the daemon is woken by {after}"), AT_ONCE, any)
        .await?;
    println!(
        "{after}: first write to Cloudflare after {:?}",
        begun.elapsed()
    );
    Ok(())
}

async fn whole_life(engine: Engine) -> Result<()> {
    let mut site = Site::on(engine, SimConfig::default()).await?;
    // Nothing is found by looking regularly.
    site.launch.set("TALON_RESYNC_SECONDS", "3600");
    let daemon = site.daemon("daemon")?;
    // When this one is settled, the daemon has nothing to do and sleeps.
    site.create("first-one").await?;
    site.settled(PATIENCE).await?;
    site.sim.clear_calls();

    sql(&site, INSERT)?;
    woken(&site, "INSERT").await?;
    let row = site
        .row("research-pro", "deployed", PATIENCE, |r| {
            unsettled(r).is_none()
        })
        .await?;
    let made: Vec<String> = writes(&site).into_iter().map(|c| c.operation).collect();
    let wanted = [
        "r2.bucket.create",
        "tokens.create",
        "workers.upload",
        "workers.subdomain.set",
    ];
    ensure!(made == wanted, "{made:?}\n{}", site.dump().await);
    let worker = row.agent.status.worker_name.context("a Worker name")?;
    let seen = sql(&site, SELECT)?;
    ensure!(
        seen == format!("research-pro|deployed||https://{worker}.dev.workers.dev"),
        "{seen}"
    );
    let found = oracle::verify(&site).await?;
    ensure!(found.live == 2, "{found:?}");

    site.sim.clear_calls();
    sql(&site, DELETE)?;
    let seen = sql(
        &site,
        "SELECT count(*) FROM agent_source WHERE name = 'research-pro';",
    )?;
    ensure!(seen == "1", "the row stays until all is cleaned up: {seen}");
    woken(&site, "DELETE").await?;
    let row = site
        .row("research-pro", "archived", PATIENCE, |r| {
            r.agent.is_archived() && unsettled(r).is_none()
        })
        .await?;
    let status = row.agent.status.deployment_status;
    ensure!(status == DeploymentStatus::Deleting, "{status}");
    let results = sql(&site, CLEANUP)?;
    let kinds = [
        "agent_card",
        "r2_bucket",
        "r2_objects",
        "r2_token",
        "worker",
    ];
    for kind in kinds {
        ensure!(results.contains(&format!("{kind}|deleted")), "{results}");
    }
    let found = oracle::verify(&site).await?;
    ensure!((found.live, found.archived) == (1, 1), "{found:?}");
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_by_sqlite3_is_deployed_at_once_and_cleaned_up() -> Result<()> {
    whole_life(Engine::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_by_psql_is_deployed_at_once_and_cleaned_up() -> Result<()> {
    whole_life(Engine::Postgres).await
}
