//! What must hold at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use talon_core::Owner;
use talon_core::task::{TaskId, TaskState};
use talon_simulator::DEV_API_TOKEN;
use talon_store::network::AGENT_DELETED;
use url::Url;

use super::customer::{Asked, Customer};
use super::errand::{Errand, Kind};
use super::ground::Ground;
use super::trouble::Troubles;
use crate::stage::name;

/// Everybody can be asked, by customers of every line, and can ask the next one: now that nothing goes wrong, all of it
/// succeeds.
pub async fn every_agent_answers(ground: &Ground, customers: &mut [Customer]) -> Result<()> {
    let all = customers.len();
    let others = ground.agents.iter().cycle().skip(1);
    let pairs: Vec<_> = ground.agents.iter().zip(others).collect();
    let asking = customers.iter_mut().enumerate().map(async |(n, customer)| {
        for (agent, other) in pairs.iter().skip(n).step_by(all) {
            customer.ask((*agent).clone(), Kind::Echo).await?;
            let asked = customer.asked.last().context("just asked")?;
            ensure!(asked.end.is_completed(), "in the calm: {asked:?}");
            if agent != other {
                let kind = Kind::Delegate((*other).clone());
                customer.ask((*agent).clone(), kind).await?;
                let asked = customer.asked.last().context("just asked")?;
                let passed_on = asked.errand.is_passed_on(&asked.end);
                ensure!(passed_on, "in the calm: {asked:?}");
            }
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(asking).await?;
    Ok(())
}

/// An errand is given up only after its Worker was stopped twice in the middle of it, by a kill, by a push, or by an upload; so
/// there are not more of them than of those.
pub fn few_were_given_up(asked: &[&Asked], troubles: &Troubles) -> Result<()> {
    let given_up = asked.iter().filter(|a| !a.end.is_completed()).count();
    let stops = troubles.stops();
    ensure!(
        given_up <= stops,
        "{given_up} errands were given up, with {stops} Workers stopped"
    );
    Ok(())
}

/// Every errand, asked for once more, ends as it ended. How many were asked.
pub async fn answers_stand(customers: &mut [Customer]) -> Result<usize> {
    let asking = customers.iter_mut().map(async |customer| -> Result<usize> {
        for at in 0..customer.asked.len() {
            customer.ask_again(at).await?;
        }
        Ok(customer.asked.len())
    });
    let all = futures::future::try_join_all(asking).await?;
    Ok(all.into_iter().sum())
}

/// The buckets hold what the answers promise: each answered errand once in its session, each note with its content; what
/// was given up at most once.
pub async fn buckets_hold(ground: &Ground, asked: &[&Asked]) -> Result<()> {
    let mut sessions: BTreeMap<(&str, &str), Vec<&Asked>> = BTreeMap::new();
    for asked in asked {
        let errand = &asked.errand;
        sessions
            .entry((&errand.agent, &errand.session))
            .or_default()
            .push(asked);
    }
    for ((agent, session), asked) in sessions {
        let bucket = bucket_of(ground, agent).await?;
        // The Hub keeps each owner's ids apart.
        let owner = Some(Owner::default().0);
        let stored = |id: &str| TaskId::chosen_by(owner.as_deref(), id);
        let file = stored(session)?.as_str().replace(':', "%3A");
        let key = format!("agents/main/sessions/{file}.jsonl");
        let text = object(ground, &bucket, &key).await?.unwrap_or_default();
        let entries: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{agent}: {key}"))?;
        for asked in asked {
            let errand = &asked.errand;
            let first = format!("task-{}", stored(&errand.id)?);
            let times = entries.iter().filter(|e| e["id"] == *first).count();
            let right = if asked.end.is_completed() {
                times == 1
            } else {
                times <= 1
            };
            ensure!(
                right,
                "{} stands {times} times in {agent}'s session",
                errand.id
            );
            if errand.kind == Kind::Note && asked.end.is_completed() {
                let file = format!("workspace/artifacts/{}", errand.file());
                let found = object(ground, &bucket, &file).await?;
                let wanted = format!("{}\n", errand.content());
                ensure!(
                    found.as_ref() == Some(&wanted),
                    "{agent}: {file}: {found:?}"
                );
            }
        }
    }
    Ok(())
}

async fn bucket_of(ground: &Ground, agent: &str) -> Result<String> {
    let row = ground.site.store.get(agent, false).await?;
    let row = row.with_context(|| format!("there is no {agent}"))?;
    row.agent.status.r2_bucket.context("it has no bucket")
}

/// An object as text, if it is there.
async fn object(ground: &Ground, bucket: &str, key: &str) -> Result<Option<String>> {
    let sim = &ground.site.sim;
    let path = format!(
        "accounts/{}/r2/buckets/{bucket}/objects/{}",
        sim.account_id(),
        key.replace('%', "%25")
    );
    let base = sim.api_base().to_string();
    let url = Url::parse(&format!("{}/{path}", base.trim_end_matches('/')))?;
    let answer = ground
        .http
        .get(url)
        .bearer_auth(DEV_API_TOKEN)
        .send()
        .await?;
    if answer.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    Ok(Some(answer.error_for_status()?.text().await?))
}

/// Deletes one agent. Whoever waits for it hears so.
async fn a_deletion_is_told(ground: &Ground, agent: &str, customer: &mut Customer) -> Result<()> {
    let errand = Errand {
        id: "errand-cut-short".to_owned(),
        agent: agent.to_owned(),
        session: "cut-short".to_owned(),
        kind: Kind::Wait(60_000),
    };
    let deleting = async {
        let working = async || {
            let at_work = ground.at_work().await?;
            let works = at_work.iter().any(|name| name == agent);
            Ok(if works { Ok(()) } else { Err(agent.to_owned()) })
        };
        let site = &ground.site;
        site.until("it works on it", Duration::from_secs(60), working)
            .await?;
        Ok(site.store.request_deletion(&name(agent), false).await?)
    };
    let ((end, _), ()) = tokio::try_join!(customer.end_of(&errand), deleting)?;
    let told = end.state == TaskState::Failed && end.text == AGENT_DELETED;
    ensure!(told, "a task of a deleted agent ended {end:?}");
    Ok(())
}

/// Deletes every agent; nothing of them is left: no Worker, bucket or token, and no process.
pub async fn delete_all(
    ground: &Ground,
    customer: &mut Customer,
    patience: Duration,
) -> Result<()> {
    let site = &ground.site;
    let mut pids = BTreeSet::new();
    for agent in &ground.agents {
        let worker = ground.worker_of(agent).await?;
        let pid = ground.runner.pid(&worker);
        pids.insert(pid.with_context(|| format!("{agent} has no process"))?);
    }
    let (first, others) = ground.agents.split_first().context("no agent")?;
    a_deletion_is_told(ground, first, customer).await?;
    for agent in others {
        site.store.request_deletion(&name(agent), false).await?;
    }
    site.settled(patience).await?;
    let state = site.sim.state();
    // The first token is the controller's own.
    ensure!(
        state.workers.is_empty() && state.buckets.is_empty() && state.tokens.len() == 1,
        "left over: {state:#?}"
    );
    site.until("every workerd ended", patience, async || {
        let left: Vec<_> = pids.iter().filter(|pid| runs(**pid)).collect();
        Ok(if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        })
    })
    .await?;
    let open = site.store.agents_with_open_tasks().await?;
    ensure!(
        open.is_empty(),
        "open tasks of agents that are gone: {open:?}"
    );
    let online = site.store.online().await?;
    ensure!(online.is_empty(), "still online: {online:?}");
    Ok(())
}

/// Whether there is a process of this number that has not ended.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
