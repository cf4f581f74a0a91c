//! A key that is handed in over HTTP is on the Worker after one write to Cloudflare; and if the daemon is killed anywhere on
//! the way (SIGKILL), whoever handed it in does the same again, and it is there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::{Owner, Snapshot};
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_store::ApplyOptions;
use talon_tests::site::{Engine, Site, unsettled};
use talon_tests::stage::{name, spec};
use talon_tests::web::{Answer, Api, address};

const PATIENCE: Duration = Duration::from_secs(90);
const AGENT: &str = "research-pro";
const KEY: &str = "ANTHROPIC_API_KEY";
const VALUE: &str = "made-up-key-41f0";
const PATH: &str = "/api/v1/openclaw/agents";

/// Where the daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Nothing was written down.
    BeforeTheRow,
    /// The agent is there, and no Worker.
    AfterTheRow,
    /// The Worker that is to hold the key is there, which nobody knows yet.
    AfterTheStub,
    /// The key is on its way.
    InTheCall,
    /// The key is there, which is written nowhere.
    BeforeTheRecord,
}

impl Point {
    /// The call at which it dies, and what becomes of the call.
    fn fault(self) -> Option<(&'static str, Fault)> {
        let never = Fault::TimeoutAfter {
            answer_after_ms: None,
        };
        match self {
            Self::BeforeTheRow => None,
            Self::AfterTheRow => Some(("workers.upload", Fault::TimeoutBefore)),
            Self::AfterTheStub => Some(("workers.upload", never)),
            Self::InTheCall => Some(("workers.secrets.bulk", Fault::TimeoutBefore)),
            Self::BeforeTheRecord => Some(("workers.secrets.bulk", never)),
        }
    }
}

/// How the key comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    /// With the agent itself.
    AtCreation,
    /// To an agent that runs.
    Later,
}

#[allow(clippy::disallowed_methods)] // What arrived is compared with what was sent.
fn on_worker(site: &Site<'_>, row: &Snapshot) -> Option<String> {
    let worker = row.agent.status.worker_name.as_deref()?;
    Some(site.sim.secret_value(worker, KEY)?.expose().to_owned())
}

fn written(site: &Site<'_>) -> Vec<String> {
    let calls = site.sim.calls().into_iter();
    let writes = calls.filter(|c| c.class == CallClass::Write && c.took_effect());
    writes.map(|c| c.operation).collect()
}

fn wanted() -> Value {
    json!({
        "persona": "You are careful.",
        "instructions": "Cite every claim.",
        "model": "anthropic/claude-sonnet-4-6",
    })
}

async fn create(api: &Api) -> Result<Answer> {
    let body = json!({"name": AGENT, "spec": wanted(), "api_keys": {"anthropic": VALUE}});
    api.send(api.ask(Method::POST, PATH).json(&body)).await
}

async fn put(api: &Api, value: &str) -> Result<Answer> {
    let path = format!("{PATH}/{AGENT}/secrets/{KEY}");
    let body = json!({"value": value});
    api.send(api.ask(Method::PUT, &path).json(&body)).await
}

/// Does it again until it is done; each answer before says what is known of the value.
async fn again(site: &Site<'_>, api: &Api) -> Result<()> {
    let done = async || {
        let mut answer = put(api, VALUE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            // The row was never written: the creation is what is repeated.
            answer = create(api).await?;
        }
        if matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::CREATED) {
            return Ok(Ok(()));
        }
        let body = answer.json();
        ensure!(
            body["value_stored"] == false || body["value_stored"] == "unknown",
            "it does not say what is known of the value: {}",
            answer.text
        );
        ensure!(
            body["retryable"] == true,
            "not to be repeated: {}",
            answer.text
        );
        Ok(Err(answer.text))
    };
    site.until("the key is stored", PATIENCE, done).await
}

async fn deployed(site: &Site<'_>, value: &str) -> Result<Snapshot> {
    let so = |r: &Snapshot| unsettled(r).is_none() && on_worker(site, r).as_deref() == Some(value);
    site.row(AGENT, "deployed with its key", PATIENCE, so).await
}

async fn with_daemon(site: &Site<'_>, log: &str) -> Result<(talon_tests::process::Daemon, Api)> {
    let daemon = site.daemon(log)?;
    let server = address(site, log, PATIENCE).await?;
    let api = Api::of(site, &server)?;
    Ok((daemon, api))
}

async fn killed(coming: Coming, point: Point) -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let (mut daemon, mut api) = with_daemon(&site, "first").await?;
    if coming == Coming::Later {
        ensure!(create(&api).await?.status == StatusCode::CREATED, "created");
        deployed(&site, VALUE).await?;
        // Another value than the one that is there.
        let first = put(&api, "made-up-key-of-before").await?;
        ensure!(first.status == StatusCode::NO_CONTENT, "{}", first.text);
        deployed(&site, "made-up-key-of-before").await?;
    }
    if let Some((operation, fault)) = point.fault() {
        let rule = FaultRule::on(operation, fault).times(1);
        let faults = site.sim.faults();
        faults.add(vec![rule]).map_err(anyhow::Error::msg)?;
        let asked = async {
            match coming {
                Coming::AtCreation => create(&api).await,
                Coming::Later => put(&api, VALUE).await,
            }
        };
        let begun = async {
            let fired = async || {
                let fired = site.sim.faults().fired() > 0;
                Ok(fired.then_some(()).ok_or_else(|| "not sent".to_owned()))
            };
            site.until("the call is sent", PATIENCE, fired).await?;
            daemon.kill()
        };
        let (answer, ended) = tokio::join!(asked, begun);
        ended?;
        ensure!(
            answer.is_err(),
            "answered, though nobody was left to: {answer:?}"
        );
    } else {
        daemon.kill()?;
        let answer = create(&api).await;
        ensure!(answer.is_err(), "answered by nobody: {answer:?}");
        ensure!(site.store.get(AGENT, true).await?.is_none(), "a row");
    }
    (daemon, api) = with_daemon(&site, "second").await?;
    again(&site, &api).await?;
    let row = deployed(&site, VALUE).await?;
    ensure!(
        row.secrets.iter().filter(|s| s.name == KEY).count() == 1,
        "{:?}",
        row.secrets
    );
    ensure!(site.sim.workers().len() == 1, "a Worker is left over");
    daemon.kill()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_anywhere_on_the_way_can_be_asked_again() -> Result<()> {
    let cases = [
        (Coming::AtCreation, Point::BeforeTheRow),
        (Coming::AtCreation, Point::AfterTheRow),
        (Coming::AtCreation, Point::AfterTheStub),
        (Coming::AtCreation, Point::InTheCall),
        (Coming::AtCreation, Point::BeforeTheRecord),
        (Coming::Later, Point::InTheCall),
        (Coming::Later, Point::BeforeTheRecord),
    ];
    let all = cases.map(async |(coming, point)| {
        let played = killed(coming, point).await;
        played.with_context(|| format!("{coming:?}, {point:?}"))
    });
    try_join_all(all).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_on_the_running_worker_after_one_write() -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let (daemon, api) = with_daemon(&site, "daemon").await?;
    // A Worker that holds the key, the key, and what an agent costs anyway.
    let made = create(&api).await?;
    ensure!(made.status == StatusCode::CREATED, "{}", made.text);
    deployed(&site, VALUE).await?;
    let mut first = written(&site);
    first.truncate(2);
    ensure!(
        first == ["workers.upload", "workers.secrets.bulk"],
        "{first:?}"
    );
    let pushes = written(&site)
        .into_iter()
        .filter(|o| o == "workers.secrets.bulk");
    ensure!(pushes.count() == 1, "{:?}", written(&site));

    site.sim.clear_calls();
    let answer = put(&api, "made-up-key-next").await?;
    ensure!(answer.status == StatusCode::NO_CONTENT, "{}", answer.text);
    let row = site.store.get(AGENT, false).await?.context("the row")?;
    let there = on_worker(&site, &row);
    ensure!(
        there.as_deref() == Some("made-up-key-next"),
        "it is said to be there, and is not"
    );
    deployed(&site, "made-up-key-next").await?;
    ensure!(
        written(&site) == ["workers.secrets.bulk"],
        "{:?}",
        written(&site)
    );
    daemon.kill()
}

/// Where the answer is no to begin with, nothing was stored, and it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_said_not_to_be_stored() -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let (daemon, api) = with_daemon(&site, "daemon").await?;
    let (owner, mut suspended) = (Owner::default(), spec());
    suspended.suspend = true;
    suspended.api_key_refs.clear();
    let options = ApplyOptions::default();
    let agent = name(AGENT);
    site.store
        .apply(&agent, &owner, &suspended, options)
        .await?;
    let answer = put(&api, VALUE).await?;
    ensure!(answer.status == StatusCode::CONFLICT, "{}", answer.text);
    ensure!(answer.json()["value_stored"] == false, "{}", answer.text);
    ensure!(written(&site).is_empty(), "{:?}", written(&site));
    daemon.kill()
}
