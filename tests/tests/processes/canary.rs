//! No secret is where it may not be: a key pasted by SQL, the keys behind references, the tokens.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::secret::names;
use talon_simulator::SimConfig;
use talon_tests::canary::Canaries;
use talon_tests::postgres::{Role, TestPostgres};
use talon_tests::site::{Engine, Site, unsettled};

const PATIENCE: Duration = Duration::from_secs(120);
const PASTED: &str = "sk-ant-api03-PASTED-7f3c0e9a-k2Jd93lQ";
const BEHIND_A_REFERENCE: &str = "made-up-key-behind-a-reference-52b0c7";
const CLOUDFLARE_TOKEN: &str = "made-up-cloudflare-token-9e1d44a8c2";
/// Harmless; must be found, so that the search is known to work.
const PLANTED: &str = "PLANTED-persona-8dQm31";
const AGENT: &str = "research-pro";

fn sim() -> SimConfig {
    SimConfig {
        api_token: CLOUDFLARE_TOKEN.to_owned(),
        ..SimConfig::default()
    }
}

fn insert(refs: &str) -> String {
    format!(
        "INSERT INTO agent_source (name, persona, instructions, model, api_key_refs) VALUES ('{AGENT}', '{PLANTED}', \
         'Cite every claim.', 'anthropic/claude-sonnet-4-6', '{refs}') ON CONFLICT (name) WHERE deleted_at IS NULL \
         DO UPDATE SET api_key_refs = excluded.api_key_refs;"
    )
}

const GOOD: &str = "{\"anthropic\":\"env:TALON_SECRET_CANARY\"}";

fn bad() -> [String; 3] {
    [
        insert(&format!(
            "{{\"anthropic\":\"env:TALON_SECRET_CANARY\",\"openai\":\"{PASTED}\"}}"
        )),
        insert(PASTED),
        format!("UPDATE agent_source SET api_key_refs = '{{\"anthropic\":\"{PASTED}\"}}';"),
    ]
}

fn log_everything(site: &mut Site<'_>) {
    site.launch
        .set("TALON_CLOUDFLARE_API_TOKEN", CLOUDFLARE_TOKEN)
        .set("TALON_SECRET_CANARY", BEHIND_A_REFERENCE)
        .set("TALON_LOG", "trace")
        .set("RUST_LOG", "trace");
}

async fn is_settled(site: &Site<'_>) -> Result<()> {
    let settled = site.row(AGENT, "deployed", PATIENCE, |r| unsettled(r).is_none());
    settled.await.map(|_| ())
}

/// Everything secret there is by now.
#[allow(clippy::disallowed_methods)] // To look for what must not be there.
async fn canaries(site: &Site<'_>) -> Result<Canaries> {
    let row = site.store.get(AGENT, true).await?.context("the row")?;
    let status = row.agent.status;
    let worker = status.worker_name.context("a Worker name")?;
    let token = status.r2_token_id.context("a token id")?;
    let mut canaries = Canaries::default();
    canaries
        .add("the pasted key", PASTED)
        .add("the key behind a reference", BEHIND_A_REFERENCE)
        .add("the Cloudflare token", CLOUDFLARE_TOKEN);
    for secret in [
        names::AUTH_TOKEN,
        names::CONTROL_TOKEN,
        names::R2_SECRET_ACCESS_KEY,
    ] {
        let value = site.sim.secret_value(&worker, secret).context(secret)?;
        canaries.add(secret, value.expose());
    }
    let value = site.sim.token_value(&token).context("the R2 token")?;
    canaries.add("the R2 token", value.expose());
    let key = std::fs::read_to_string(site.folder().join("install.key"))?;
    canaries.add("the install key", key.trim());
    Ok(canaries)
}

fn none(where_: &str, found: &[impl AsRef<str>]) -> Result<()> {
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    ensure!(found.is_empty(), "{where_}: {found:?}");
    Ok(())
}

/// What the commands print, and the files of the folder: the logs, and with SQLite the database.
fn nothing_is_told(site: &Site<'_>, canaries: &Canaries) -> Result<()> {
    for arguments in [
        &["describe", AGENT][..],
        &["describe", AGENT, "-o", "json"],
        &["get", AGENT, "-o", "json"],
        &["get", AGENT, "-o", "yaml"],
        &["get", "-o", "wide"],
        &["events", "-o", "json"],
        &["events", AGENT],
        &["why", AGENT],
        &["why", AGENT, "-o", "json"],
        &["tree", AGENT],
        &["export", AGENT],
        &["config", "show"],
        &["doctor"],
    ] {
        // Whether it is content with what it finds is not asked here.
        let output = site.launch.run(arguments)?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(!said.is_empty(), "talon {arguments:?} says nothing");
        none(&format!("talon {arguments:?}"), &canaries.within(&said))?;
    }
    let key = site.folder().join("install.key");
    none("files", &canaries.below(site.folder(), &[key]))?;
    let log = std::fs::read_to_string(site.log_file("daemon"))?;
    ensure!(
        log.contains(" DEBUG "),
        "the log is not at its longest: {log}"
    );
    Ok(())
}

fn sqlite3(site: &Site<'_>, text: &str) -> Result<Output> {
    Command::new("sqlite3")
        .args(["-cmd", ".timeout 5000"])
        .arg(site.file())
        .arg(text)
        .output()
        .context("sqlite3 is needed for this test: apt-get install sqlite3")
}

fn planted() -> Canaries {
    let mut planted = Canaries::default();
    planted.add("planted", PLANTED);
    planted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_key_is_refused_on_sqlite_and_no_secret_is_anywhere() -> Result<()> {
    let mut site = Site::on(Engine::Sqlite, sim()).await?;
    log_everything(&mut site);
    let daemon = site.daemon("daemon")?;
    let written = sqlite3(&site, &insert(GOOD))?;
    ensure!(written.status.success(), "{written:?}");
    is_settled(&site).await?;
    for statement in bad() {
        let refused = sqlite3(&site, &statement)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success(), "{statement}");
        ensure!(
            said.contains("TALON-OC010") && said.contains("rotate"),
            "{said}"
        );
        ensure!(!said.contains(PASTED), "the message repeats the key");
    }
    // The daemon goes on as if nothing had been said.
    site.talon(&["reconcile", AGENT])?;
    is_settled(&site).await?;
    let why = site.talon(&["why", AGENT])?;
    ensure!(why.contains("deployed"), "{why}");

    let canaries = canaries(&site).await?;
    nothing_is_told(&site, &canaries)?;
    let dump = sqlite3(&site, ".dump")?;
    ensure!(dump.status.success(), "{dump:?}");
    none(".dump", &canaries.within(&dump.stdout))?;
    ensure!(
        !planted().within(&dump.stdout).is_empty(),
        "nothing was planted"
    );
    ensure!(
        !planted().below(site.folder(), &[]).is_empty(),
        "no file was read"
    );
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    none(
        "files, later",
        &canaries.below(site.folder(), &[site.folder().join("install.key")]),
    )
}

fn is_told(row: &Snapshot) -> bool {
    row.conditions.iter().map(|c| &c.condition).any(|c| {
        c.kind == ConditionType::SecretsReady
            && c.status != Truth::True
            && c.reason == Reason::SecretRefDiscarded
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_key_is_discarded_on_postgres_and_no_secret_is_anywhere() -> Result<()> {
    let server = TestPostgres::start().await.map_err(anyhow::Error::msg)?;
    let mut site = Site::on_server(&server, sim()).await?;
    log_everything(&mut site);
    let daemon = site.daemon("daemon")?;
    let database = site.database.as_ref().context("a database")?;
    let written = database.psql(Role::Writer, &insert(GOOD));
    ensure!(written.status.success(), "{written:?}");
    is_settled(&site).await?;
    for statement in bad() {
        let written = database.psql(Role::Writer, &statement);
        let said = String::from_utf8_lossy(&written.stderr);
        ensure!(written.status.success(), "{said}");
        ensure!(
            said.contains("discarded") && said.contains("rotate"),
            "{said}"
        );
        ensure!(!said.contains(PASTED), "the notice repeats the key");
    }
    site.row(AGENT, "told that its key was discarded", PATIENCE, |r| {
        unsettled(r).is_none() && is_told(r)
    })
    .await?;
    // One that was never anything else.
    let fresh = insert(&format!("{{\"anthropic\":\"{PASTED}\"}}")).replace(AGENT, "fresh-one");
    let written = database.psql(Role::Writer, &fresh);
    ensure!(written.status.success(), "{written:?}");
    site.row(
        "fresh-one",
        "told that its key was discarded",
        PATIENCE,
        is_told,
    )
    .await?;
    let why = site.talon(&["why", "fresh-one"])?;
    ensure!(
        why.contains("SecretRefDiscarded") && why.contains("rotate"),
        "{why}"
    );

    let canaries = canaries(&site).await?;
    nothing_is_told(&site, &canaries)?;
    none("talon why", &canaries.within(why.as_bytes()))?;
    // A statement that is refused, so that the server's log has something to say; and everything goes to the files.
    let refused = database.psql(
        // What a writer's statement says is kept out of the log altogether.
        Role::Admin,
        &format!("UPDATE agent_source SET visibility = '{PLANTED}';"),
    );
    ensure!(!refused.status.success(), "{refused:?}");
    ensure!(
        database.psql(Role::Admin, "CHECKPOINT;").status.success(),
        "CHECKPOINT"
    );
    let data = server.data_dir().context("a server of our own")?;
    let log = server.log_file().context("a server of our own")?;
    let dump = server.run("pg_dump", ["-d", &database.url(Role::Admin)]);
    ensure!(dump.status.success(), "{dump:?}");
    none("pg_dump", &canaries.within(&dump.stdout))?;
    none("the server's files", &canaries.below(data, &[]))?;
    none("the server's log", &canaries.below(log, &[]))?;
    ensure!(
        !planted().within(&dump.stdout).is_empty(),
        "nothing was planted"
    );
    ensure!(
        !planted().below(log, &[]).is_empty(),
        "the server logs nothing"
    );
    let files = planted().below(data, &[]);
    ensure!(files.iter().any(|f| f.contains("pg_wal")), "{files:?}");
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}
