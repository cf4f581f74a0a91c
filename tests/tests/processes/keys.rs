//! Keys that are written through, and keys from Vault, with failures forced at each step: none of them is anywhere.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use talon_core::secret::{Provider, SecretRef};
use talon_core::spec::AgentSpec;
use talon_core::{Owner, Snapshot};
use talon_simulator::{Fault, FaultRule, SimConfig};
use talon_store::ApplyOptions;
use talon_tests::canary::Canaries;
use talon_tests::openbao::OpenBao;
use talon_tests::postgres::{Role, TestPostgres};
use talon_tests::site::{Engine, Site, unsettled};
use talon_tests::stage::{name, spec};

const PATIENCE: Duration = Duration::from_secs(120);
const KEY: &str = "ANTHROPIC_API_KEY";
const BY_HTTP: &str = "by-http";
const BY_HAND: &str = "by-hand";
const BY_VAULT: &str = "by-vault";
const VAULT_TOKEN: &str = "made-up-vault-token-0d21f7aa";
/// What is handed in: with characters that JSON and URLs escape.
const OVER_HTTP: [&str; 3] = [
    "sk-ant-CANARY-http-1-\"<é>/+&=77d1",
    "sk-ant-CANARY-http-2-\\{}%%%5b0e",
    "made-up-http-3-without-a-shape-c4a2",
];
const DIRECTLY: [&str; 2] = ["sk-ant-CANARY-direct-1-9f3e", "made-up-direct-2-1b77d0"];
const IN_VAULT: [&str; 2] = ["sk-ant-CANARY-vault-1-a7c3", "made-up-vault-2-88e1f0"];
/// Harmless; must be found, so that the search is known to work.
const PLANTED: &str = "PLANTED-instructions-5tRw08";

fn canaries(bao: &OpenBao) -> Canaries {
    let mut canaries = Canaries::default();
    for (n, value) in OVER_HTTP.iter().enumerate() {
        canaries.add(&format!("key {n} over HTTP"), value);
    }
    for (n, value) in DIRECTLY.iter().enumerate() {
        canaries.add(&format!("key {n} by hand"), value);
    }
    for (n, value) in IN_VAULT.iter().enumerate() {
        canaries.add(&format!("key {n} in Vault"), value);
    }
    canaries.add("the Vault token", &bao.token);
    canaries
}

fn planted() -> Canaries {
    let mut planted = Canaries::default();
    planted.add("planted", PLANTED);
    planted
}

fn prepare(site: &mut Site<'_>, bao: &OpenBao) {
    let scopes = json!({"default": {"env": ["TALON_SECRET_*"], "vault": ["secret/agents/*"]}});
    site.launch
        .set("TALON_VAULT_ADDRESS", &bao.address)
        .set("TALON_VAULT_TOKEN", &bao.token)
        .set("TALON_SCOPES", scopes.to_string())
        .set("TALON_LOG", "trace")
        .set("RUST_LOG", "trace");
}

async fn create(site: &Site<'_>, agent: &str, reference: Option<&str>) -> Result<()> {
    let mut spec: AgentSpec = spec();
    PLANTED.clone_into(&mut spec.instructions);
    let reference = reference.map(|r| {
        let provider = Provider("anthropic".to_owned());
        (provider, SecretRef(r.to_owned()))
    });
    spec.api_key_refs = reference.into_iter().collect();
    let options = ApplyOptions::default();
    site.store
        .apply(&name(agent), &Owner::default(), &spec, options)
        .await?;
    Ok(())
}

#[allow(clippy::disallowed_methods)] // What arrived is compared with what was sent.
fn on_worker(site: &Site<'_>, row: &Snapshot) -> Option<String> {
    let worker = row.agent.status.worker_name.as_deref()?;
    let value = site.sim.secret_value(worker, KEY)?;
    Some(value.expose().to_owned())
}

/// Hands in a value until it is stored; everything that was said on the way.
async fn hand_in(
    site: &Site<'_>,
    server: Option<&str>,
    agent: &str,
    value: &str,
) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    for _ in 0..200 {
        let mut arguments = vec!["secrets", "set", agent, KEY];
        arguments.extend(server.into_iter().flat_map(|s| ["--server", s]));
        let output = site.launch.run_with(&arguments, value)?;
        said.extend([output.stdout, output.stderr].concat());
        if output.status.success() {
            return Ok(said);
        }
        let text = String::from_utf8_lossy(&said);
        let code = output.status.code();
        ensure!(code == Some(9), "exit {code:?}: {text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("never stored: {}", String::from_utf8_lossy(&said))
}

fn faults(site: &Site<'_>) -> Result<()> {
    let refused = |text: &str| Fault::Status {
        status: 400,
        html: text == "html",
        code: Some(10_021),
        after_commit: false,
    };
    let broken = Fault::Status {
        status: 502,
        html: true,
        code: None,
        after_commit: true,
    };
    let rules = vec![
        FaultRule::on("workers.upload", Fault::ResetAfter).times(1),
        FaultRule::on("workers.secrets.bulk", broken).times(1),
        FaultRule::on("workers.secrets.bulk", Fault::ResetBefore).times(1),
        FaultRule::on(
            "workers.secrets.bulk",
            Fault::Throttle {
                retry_after: Some(1),
            },
        )
        .times(1),
        FaultRule::on("tokens.create", refused("json")).times(1),
    ];
    site.sim.faults().add(rules).map_err(anyhow::Error::msg)
}

/// A whole life with keys of each kind; what commands and the API said.
async fn live(site: &Site<'_>, bao: &OpenBao) -> Result<Vec<u8>> {
    bao.put("agents/rp", json!({"anthropic": IN_VAULT[0]}))
        .await?;
    let daemon = site.daemon("daemon")?;
    let server = site.address("daemon").await?;
    create(site, BY_VAULT, Some("vault:secret/agents/rp#anthropic")).await?;
    create(site, BY_HTTP, None).await?;
    create(site, BY_HAND, None).await?;
    faults(site)?;
    let mut said = Vec::new();
    for value in OVER_HTTP {
        said.extend(hand_in(site, Some(&server), BY_HTTP, value).await?);
    }
    for value in DIRECTLY {
        said.extend(hand_in(site, None, BY_HAND, value).await?);
    }
    let settled = |value: &'static str| {
        move |site: &Site<'_>, row: &Snapshot| {
            unsettled(row).is_none() && on_worker(site, row).as_deref() == Some(value)
        }
    };
    for (agent, value) in [
        (BY_HTTP, OVER_HTTP[2]),
        (BY_HAND, DIRECTLY[1]),
        (BY_VAULT, IN_VAULT[0]),
    ] {
        let so = settled(value);
        site.row(agent, "deployed with its key", PATIENCE, |r| so(site, r))
            .await?;
    }
    bao.put("agents/rp", json!({"anthropic": IN_VAULT[1]}))
        .await?;
    let so = settled(IN_VAULT[1]);
    site.row(BY_VAULT, "deployed with its next key", PATIENCE, |r| {
        so(site, r)
    })
    .await?;

    let unset = [
        "secrets",
        "unset",
        BY_HAND,
        "OPENAI_API_KEY",
        "--server",
        &server,
    ];
    let none = site.launch.run(&unset)?;
    ensure!(none.status.code() == Some(3), "{none:?}");
    let rotate = ["secrets", "rotate-auth", BY_HTTP, "--server", &server];
    said.extend(site.talon(&rotate)?.into_bytes());
    for agent in [BY_HTTP, BY_HAND, BY_VAULT] {
        for arguments in [
            &["secrets", "list", agent][..],
            &["secrets", "list", agent, "-o", "json"],
            &["secrets", "list", agent, "--server", &server],
            &["describe", agent, "-o", "json"],
            &["why", agent],
            &["events", agent],
            &["export", agent],
        ] {
            let output = site.launch.run(arguments)?;
            said.extend([output.stdout, output.stderr].concat());
        }
    }
    for arguments in [
        &["config", "show"][..],
        &["doctor"],
        &["events", "-o", "json"],
    ] {
        let output = site.launch.run(arguments)?;
        said.extend([output.stdout, output.stderr].concat());
    }
    ensure!(site.sim.faults().fired() >= 4, "the faults fired");
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    Ok(said)
}

fn none(where_: &str, found: &[impl AsRef<str>]) -> Result<()> {
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    ensure!(found.is_empty(), "{where_}: {found:?}");
    Ok(())
}

fn nothing_is_left(site: &Site<'_>, canaries: &Canaries, said: &[u8]) -> Result<()> {
    none("what was said", &canaries.within(said))?;
    none("files", &canaries.below(site.folder(), &[]))?;
    let log = std::fs::read_to_string(site.log_file("daemon"))?;
    ensure!(log.contains(" DEBUG "), "the log is not at its longest");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_http_by_hand_and_from_vault_leave_no_trace_on_sqlite() -> Result<()> {
    let bao = OpenBao::start(VAULT_TOKEN).await?;
    let mut site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    prepare(&mut site, &bao);
    let said = live(&site, &bao).await?;
    nothing_is_left(&site, &canaries(&bao), &said)?;
    ensure!(
        !planted().below(site.folder(), &[]).is_empty(),
        "nothing was planted"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_over_http_by_hand_and_from_vault_leave_no_trace_on_postgres() -> Result<()> {
    let bao = OpenBao::start(VAULT_TOKEN).await?;
    let server = TestPostgres::start().await.map_err(anyhow::Error::msg)?;
    let mut site = Site::on_server(&server, SimConfig::default()).await?;
    prepare(&mut site, &bao);
    let said = live(&site, &bao).await?;
    let canaries = canaries(&bao);
    nothing_is_left(&site, &canaries, &said)?;
    let database = site.database.as_ref().context("a database")?;
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
    let files = planted().below(data, &[]);
    ensure!(files.iter().any(|f| f.contains("pg_wal")), "{files:?}");
    Ok(())
}

/// Memory is kept private: no core, whatever the shell allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_crashes_leaves_no_core() -> Result<()> {
    let site = Site::on(Engine::Sqlite, SimConfig::default()).await?;
    let daemon = site.daemon("daemon")?;
    site.address("daemon").await?;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.id()))?;
    let core = limits.lines().find(|l| l.starts_with("Max core file size"));
    let words: Vec<&str> = core.context("a limit")?.split_whitespace().collect();
    ensure!(words[4..6] == ["0", "0"], "{words:?}");
    daemon.kill()
}
