//! What an agent was deployed with stays, while the Router goes on; and one that bears a name is not told what befell another
//! who bore it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use talon_core::Owner;
use talon_simulator::SimConfig;
use talon_store::ApplyOptions;
use talon_tests::site::{Engine, Site, unsettled};
use talon_tests::stage::{name, spec};
use talon_tests::web::{Api, Browser, address, plain};

const PATIENCE: Duration = Duration::from_secs(90);
const AGENT: &str = "research-pro";

async fn deployed(site: &Site<'_>) -> Result<talon_core::Snapshot> {
    let so = |r: &talon_core::Snapshot| !r.agent.is_deleting() && unsettled(r).is_none();
    site.row(AGENT, "deployed", PATIENCE, so).await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_router_has_moved_on_is_shown() -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let daemon = site.daemon("daemon")?;
    let server = address(&site, "daemon", PATIENCE).await?;
    let browser = Browser::of(&Api::of(&site, &server)?).await?;
    site.create(AGENT).await?;
    deployed(&site).await?;
    let describes = || site.talon(&["describe", AGENT]);
    let shows = async || -> Result<String> {
        let page = browser.page(&format!("/agents/{AGENT}/config")).await?;
        Ok(plain(&page.text))
    };
    ensure!(!describes()?.contains("Differs:"), "{}", describes()?);
    ensure!(!shows().await?.contains("Deployed and shown differ"));

    let mut changed = spec();
    changed.skills[0].description = "Researches whatever is asked.".to_owned();
    changed.display_name = Some("Research Professional".to_owned());
    let (agent, options) = (name(AGENT), ApplyOptions::default());
    site.store
        .apply(&agent, &Owner::default(), &changed, options)
        .await?;
    let row = deployed(&site).await?;
    let worker = row.agent.status.worker_name.context("a Worker")?;
    let deployed = site.sim.module_text(&worker, "IDENTITY.md");
    let deployed = deployed.context("IDENTITY.md")?;
    ensure!(
        deployed.contains("Researches any topic.") && !deployed.contains("Professional"),
        "{deployed}"
    );
    let card = site.store.card(row.agent.id).await?.context("a card")?;
    ensure!(card.skills[0].description == "Researches whatever is asked.");
    let described = describes()?;
    ensure!(described.contains("skill research"), "{described}");
    for said in [described, shows().await?] {
        for part in [
            "Researches any topic.",
            "Researches whatever is asked.",
            "Research Professional",
        ] {
            ensure!(said.contains(part), "{part} is not in {said}");
        }
    }
    daemon.kill()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namesake_has_neither_the_events_nor_the_tasks_of_who_was_there_before() -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let daemon = site.daemon("daemon")?;
    site.create(AGENT).await?;
    let first = deployed(&site).await?;
    let task = "asked-of-the-first";
    site.ask(task, AGENT, "Are you there?").await?;
    let worker = first.agent.status.worker_name.context("a Worker")?;
    let before = site.talon(&["describe", AGENT, "-o", "json"])?;
    ensure!(
        before.contains(task) && before.contains(&worker),
        "of its own it tells: {before}"
    );

    site.store.request_deletion(&name(AGENT), false).await?;
    let gone = |r: &talon_core::Snapshot| r.agent.is_archived();
    site.row(AGENT, "archived", PATIENCE, gone).await?;
    site.create(AGENT).await?;
    deployed(&site).await?;
    for said in [
        site.talon(&["describe", AGENT])?,
        site.talon(&["describe", AGENT, "-o", "json"])?,
    ] {
        ensure!(
            !said.contains(task) && !said.contains(&worker),
            "it tells of another: {said}"
        );
    }
    daemon.kill()
}
