//! Keys by every way in and pasted into every wrong place, with failures at each step; then everything Talon says by
//! each of its faces (every GET of the API's document, every page, every command, its log at its longest), and every file
//! of its own and of its database: none of them is anywhere.

mod ways_in;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use talon_simulator::SimConfig;
use talon_tests::canary::Canaries;
use talon_tests::postgres::{Role, TestPostgres};
use talon_tests::site::{Engine, Site, unsettled};
use talon_tests::web::{Api, Browser, address};

use ways_in::{AGENTS, IN_PERSONA, PLANTED};

const PATIENCE: Duration = Duration::from_secs(90);

/// What was said, with who said it.
#[derive(Default)]
struct Heard(Vec<(String, Vec<u8>)>);

impl Heard {
    fn add(&mut self, whence: impl Into<String>, what: impl Into<Vec<u8>>) {
        self.0.push((whence.into(), what.into()));
    }

    /// Everything of it is free of these.
    fn is_free_of(&self, canaries: &Canaries) -> Result<()> {
        for (whence, what) in &self.0 {
            none(whence, &canaries.within(what))?;
        }
        Ok(())
    }
}

fn none(whence: &str, found: &[impl AsRef<str>]) -> Result<()> {
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    ensure!(found.is_empty(), "{whence}: {found:?}");
    Ok(())
}

fn planted() -> Canaries {
    let mut planted = Canaries::default();
    planted.add("planted", PLANTED);
    planted
}

/// What may stand in the rows, because it was written there, and nowhere else.
fn in_persona() -> Canaries {
    let mut canaries = Canaries::default();
    canaries.add("a key in a persona", IN_PERSONA);
    canaries
}

/// The paths of an operation with its parameters filled in.
fn filled(path: &str, operation: &Value, task: &str) -> Result<Vec<String>> {
    let mut paths: Vec<String> = match path.contains("{name}") {
        true => AGENTS.iter().map(|a| path.replace("{name}", a)).collect(),
        false => vec![path.to_owned()],
    };
    let parameters = operation["parameters"].as_array().cloned();
    for p in parameters.unwrap_or_default() {
        let (name, place) = (p["name"].as_str(), p["in"].as_str());
        let required = p["required"].as_bool() == Some(true);
        match (name, place, required) {
            (Some("name"), ..) | (_, _, false) => {}
            (Some("id"), Some("path"), true) => {
                paths = paths.iter().map(|p| p.replace("{id}", task)).collect();
            }
            (Some("q"), Some("query"), true) => {
                paths.iter_mut().for_each(|p| p.push_str("?q=research"));
            }
            other => bail!("{path} has a parameter that this test does not know: {other:?}"),
        }
    }
    Ok(paths)
}

/// Walks the API's document: every GET, for every agent.
async fn every_answer(site: &Site<'_>, api: &Api, heard: &mut Heard) -> Result<()> {
    let document = api.get("/openapi.json").await?;
    heard.add("/openapi.json", document.text.clone());
    // A task's answer is one of them; that nobody carries it out does not matter here.
    let task = "asked-of-the-first";
    site.ask(task, AGENTS[0], PLANTED).await?;
    let document = document.json();
    let (mut asked, mut answered) = (0, 0);
    for (path, methods) in document["paths"].as_object().context("paths")? {
        let Some(operation) = methods.get("get") else {
            continue;
        };
        for path in filled(path, operation, task)? {
            let answer = api.get(&path).await?;
            ensure!(!answer.status.is_server_error(), "{path}: {}", answer.text);
            asked += 1;
            answered += usize::from(answer.status.is_success());
            heard.add(format!("GET {path}"), answer.text);
        }
    }
    // The card of an agent that is not public may be refused, everything else is not.
    let refusals = AGENTS.len();
    ensure!(
        asked >= 40 && answered + refusals >= asked,
        "{answered} of {asked}"
    );
    let followed = "/api/v1/openclaw/agents?watch=1&resource_version=0";
    heard.add(
        followed,
        beginning(api.ask(reqwest::Method::GET, followed)).await?,
    );
    Ok(())
}

/// What a stream says until it has nothing more to say for a while.
async fn beginning(request: reqwest::RequestBuilder) -> Result<Vec<u8>> {
    let mut response = request.send().await?;
    let mut said = Vec::new();
    let quiet = Duration::from_millis(500);
    while let Ok(chunk) = tokio::time::timeout(quiet, response.chunk()).await {
        match chunk? {
            Some(chunk) => said.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok(said)
}

/// Every page, of every agent.
async fn every_page(browser: &Browser, heard: &mut Heard) -> Result<()> {
    let mut pages: Vec<String> = ["/", "/cleanup", "/controller", "/new"]
        .map(str::to_owned)
        .into();
    for agent in AGENTS {
        let of = [
            "",
            "/timeline",
            "/events",
            "/logs",
            "/config",
            "/history",
            "/secrets",
            "/edit",
            "/delete",
        ];
        pages.extend(of.map(|page| format!("/agents/{agent}{page}")));
    }
    for page in pages {
        let answer = browser.page(&page).await?;
        ensure!(
            answer.kind.starts_with("text/html"),
            "{page}: {}",
            answer.kind
        );
        heard.add(format!("the page {page}"), answer.text);
    }
    Ok(())
}

/// What every command says that shows something.
fn every_command(site: &Site<'_>, heard: &mut Heard) -> Result<()> {
    let mut commands: Vec<Vec<&str>> = [
        &["get", "-o", "json"][..],
        &["get", "-o", "wide"],
        &["events", "-o", "json"],
        &["config", "show"],
        &["doctor"],
    ]
    .map(<[&str]>::to_vec)
    .into();
    for agent in AGENTS {
        for command in ["describe", "why", "tree", "export", "events"] {
            commands.push(vec![command, agent]);
        }
        commands.push(vec!["describe", agent, "-o", "json"]);
        commands.push(vec!["secrets", "list", agent, "-o", "json"]);
    }
    for command in commands {
        // Whether it is content with what it finds is not asked here.
        let output = site.launch.run(&command)?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(!said.is_empty(), "talon {command:?} says nothing");
        heard.add(format!("talon {command:?}"), said);
    }
    Ok(())
}

/// The whole life; what was said in it, and what is secret in it.
async fn live(site: &mut Site<'_>) -> Result<(Heard, Canaries)> {
    ways_in::prepare(site)?;
    let daemon = site.daemon("daemon")?;
    let server = address(site, "daemon", PATIENCE).await?;
    let api = Api::of(site, &server)?;
    let browser = Browser::of(&api).await?;
    let mut heard = Heard::default();
    ways_in::faults(site)?;
    ways_in::all(site, &api, &browser, &mut heard).await?;
    for agent in AGENTS {
        let deployed = |r: &talon_core::Snapshot| unsettled(r).is_none();
        site.row(agent, "deployed", PATIENCE, deployed).await?;
    }
    ensure!(site.sim.faults().fired() >= 5, "the faults did not fire");
    let mut canaries = ways_in::canaries(site).await?;
    canaries.add("a token of the API", &api.token);
    every_answer(site, &api, &mut heard).await?;
    every_page(&browser, &mut heard).await?;
    every_command(site, &mut heard)?;
    let events = heard.0.iter().filter(|(w, _)| w.contains("events"));
    let metrics = heard.0.iter().find(|(w, _)| w == "GET /metrics");
    ensure!(events.count() >= AGENTS.len(), "no events were read");
    let metrics = String::from_utf8_lossy(&metrics.context("metrics")?.1).into_owned();
    ensure!(metrics.contains("talon_"), "no metrics: {metrics}");
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    Ok((heard, canaries))
}

fn free(site: &Site<'_>, heard: &Heard, canaries: &Canaries) -> Result<()> {
    heard.is_free_of(canaries)?;
    let except = ways_in::may_hold(site);
    none("files", &canaries.below(site.folder(), &except))?;
    let log = std::fs::read(site.log_file("daemon"))?;
    ensure!(
        String::from_utf8_lossy(&log).contains(" TRACE ")
            || String::from_utf8_lossy(&log).contains(" DEBUG "),
        "the log is not at its longest"
    );
    none("the log", &in_persona().within(&log))?;
    for (whence, what) in &heard.0 {
        // The row shows what is written in it: to those who may read the row.
        let shows_rows = ["agents", "export", "describe", "/config", "/edit"];
        if !shows_rows.iter().any(|s| whence.contains(s)) {
            none(whence, &in_persona().within(what))?;
        }
    }
    let found = heard.0.iter().any(|(_, w)| !planted().within(w).is_empty());
    ensure!(found, "what was planted was not found in what was said");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_face_shows_a_key_and_no_file_holds_one_on_sqlite() -> Result<()> {
    let mut site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let (heard, canaries) = live(&mut site).await?;
    free(&site, &heard, &canaries)?;
    let found = planted().below(site.folder(), &[]);
    ensure!(found.iter().any(|f| f.contains("talon.db")), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_face_shows_a_key_and_no_file_holds_one_on_postgres() -> Result<()> {
    let server = TestPostgres::start().await.map_err(anyhow::Error::msg)?;
    let mut site = Site::on_server(&server, SimConfig::default()).await?;
    let (heard, canaries) = live(&mut site).await?;
    free(&site, &heard, &canaries)?;
    let database = site.database.as_ref().context("a database")?;
    let checkpoint = database.psql(Role::Admin, "CHECKPOINT;");
    ensure!(checkpoint.status.success(), "{checkpoint:?}");
    let data = server.data_dir().context("a server of our own")?;
    let log = server.log_file().context("a server of our own")?;
    let dump = server.run("pg_dump", ["-d", &database.url(Role::Admin)]);
    ensure!(dump.status.success(), "{dump:?}");
    none("pg_dump", &canaries.within(&dump.stdout))?;
    none("the server's files", &canaries.below(data, &[]))?;
    none("the server's log", &canaries.below(log, &[]))?;
    none("the server's log", &in_persona().below(log, &[]))?;
    ensure!(
        !planted().within(&dump.stdout).is_empty(),
        "nothing was planted"
    );
    let files = planted().below(data, &[]);
    ensure!(files.iter().any(|f| f.contains("pg_wal")), "{files:?}");
    Ok(())
}
