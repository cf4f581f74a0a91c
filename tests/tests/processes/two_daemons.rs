//! Two daemons on one PostgreSQL: they share the work and the budget, and one takes over from the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Truth};
use talon_core::id::Epoch;
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_tests::oracle;
use talon_tests::process::Daemon;
use talon_tests::site::{Engine, Site};

const AGENTS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(300);

/// Forty agents, two daemons of four workers each, a Cloudflare that takes its time.
async fn pair(set: &[(&str, &str)]) -> Result<(Site<'static>, Daemon, Daemon)> {
    let mut site = Site::on(Engine::Postgres, SimConfig::default()).await?;
    site.launch.set("TALON_WORKERS", "4");
    for (variable, value) in set {
        site.launch.set(variable, *value);
    }
    let slow = FaultRule::on_class(CallClass::Write, Fault::Latency { ms: 100 });
    site.sim
        .faults()
        .add(vec![slow])
        .map_err(anyhow::Error::msg)?;
    for n in 0..AGENTS {
        site.create(&format!("agent-{n}")).await?;
    }
    let (a, b) = (site.daemon("a")?, site.daemon("b")?);
    Ok((site, a, b))
}

fn is_held_by(row: &Snapshot, daemon: u32) -> bool {
    let owner = row.work.lease_owner.as_deref().unwrap_or_default();
    owner.split('-').next() == Some(daemon.to_string().as_str())
}

/// Waits until both hold agents at the same time.
async fn both_work(site: &Site<'_>, a: &Daemon, b: &Daemon) -> Result<()> {
    let both = async || {
        let rows = site.rows().await?;
        let [a, b] = [a.id(), b.id()].map(|d| rows.iter().filter(|r| is_held_by(r, d)).count());
        Ok(if a >= 2 && b >= 2 {
            Ok(())
        } else {
            Err(format!("a holds {a}, b holds {b}"))
        })
    };
    site.until("both daemons work", PATIENCE, both).await
}

/// What a lease was when its holder was killed.
struct Lost {
    epoch: Epoch,
    until: DateTime<Utc>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_takes_over_when_the_lease_ends() -> Result<()> {
    let (site, a, b) = pair(&[]).await?;
    both_work(&site, &a, &b).await?;
    let killed = a.id();
    a.kill()?;
    let rows = site.rows().await?;
    let mut lost: BTreeMap<String, Lost> = BTreeMap::new();
    for row in rows.iter().filter(|r| is_held_by(r, killed)) {
        if let Some(until) = row.work.lease_until {
            let epoch = row.work.lease_epoch;
            lost.insert(row.agent.name.to_string(), Lost { epoch, until });
        }
    }
    ensure!(
        !lost.is_empty(),
        "the killed one held nothing\n{}",
        site.dump().await
    );

    let mut early = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let all_taken = async || {
        for row in site.rows().await? {
            let name = row.agent.name.to_string();
            if let Some(was) = lost.get(&name)
                && row.work.lease_epoch > was.epoch
                && taken.insert(name.clone())
                && row.now < was.until
            {
                early.push(name);
            }
        }
        Ok(if taken.len() == lost.len() {
            Ok(())
        } else {
            Err(format!("{} of {} are taken over", taken.len(), lost.len()))
        })
    };
    site.until("what it held is taken over", PATIENCE, all_taken)
        .await?;
    ensure!(
        early.is_empty(),
        "taken over before the lease ended: {early:?}"
    );
    site.settled(PATIENCE).await?;
    let found = oracle::verify(&site).await?;
    ensure!(found.live == AGENTS, "{found:?}");
    let (status, _) = b.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_one_for_both() -> Result<()> {
    const BUDGET: usize = 60;
    let set = [
        ("TALON_CLOUDFLARE_BUDGET_CALLS", "60"),
        ("TALON_RESYNC_SECONDS", "3600"),
    ];
    let (site, a, b) = pair(&set).await?;
    both_work(&site, &a, &b).await?;
    let throttled = |r: &Snapshot| {
        r.conditions.iter().any(|c| {
            c.condition.kind == ConditionType::Throttled && c.condition.status == Truth::True
        })
    };
    let spent = async || {
        let rows = site.rows().await?;
        let open = rows
            .iter()
            .filter(|r| talon_tests::site::unsettled(r).is_some());
        let (waiting, working): (Vec<_>, Vec<_>) = open.partition(|r| throttled(r));
        Ok(if working.is_empty() && !waiting.is_empty() {
            Ok(())
        } else {
            let (w, t) = (working.len(), waiting.len());
            Err(format!("{w} rows are worked on, {t} are throttled"))
        })
    };
    site.until("the budget is spent", PATIENCE, spent).await?;
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for call in site.sim.calls() {
        // R2's S3 endpoint has a budget of its own. Each daemon looks at its own token once, before it has a budget.
        if !call.operation.starts_with("s3.") && call.operation != "tokens.verify" {
            *calls.entry(call.operation).or_default() += 1;
        }
    }
    let counted = calls.values().sum();
    ensure!(
        (BUDGET / 2..=BUDGET).contains(&counted),
        "{counted} calls of {BUDGET}: {calls:?}\n{}",
        site.dump().await
    );
    for daemon in [a, b] {
        let (status, _) = daemon.terminate(PATIENCE).await?;
        ensure!(status.success(), "{status}\n{}", site.dump().await);
    }
    Ok(())
}
