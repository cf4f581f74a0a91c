//! Keys of agents that run in workerd and do tasks are nowhere but in their Workers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use talon_core::Owner;
use talon_core::condition::{ConditionType, Truth};
use talon_core::secret::{Provider, SecretRef, names};
use talon_core::spec::{AgentSpec, Jurisdiction};
use talon_simulator::{SimConfig, WorkerdOptions, WorkerdRunner};
use talon_store::ApplyOptions;
use talon_tests::canary::Canaries;
use talon_tests::site::{Engine, Site};
use talon_tests::stage::{name, spec};
use talon_worker::workshop::Workshop;

use crate::proxy::Proxy;

const PATIENCE: Duration = Duration::from_secs(120);
const CLOUDFLARE_TOKEN: &str = "made-up-cloudflare-token-7d20b1f4e6";
/// Harmless; must be found, so that the search is known to work.
const PLANTED: &str = "PLANTED-note-4wQz81";
const AGENTS: [(&str, &str, &str); 2] = [
    (
        "canary-one",
        "TALON_SECRET_ONE",
        "sk-ant-made-up-CANARY-one-5e1f0a93c7",
    ),
    (
        "canary-two",
        "TALON_SECRET_TWO",
        "sk-ant-made-up-CANARY-two-b8846d20f1",
    ),
];

/// Thinks with the stand-in, and holds a key all the same.
fn holder(variable: &str) -> AgentSpec {
    let mut spec = AgentSpec {
        model: "dev/echo".to_owned(),
        ..spec()
    };
    spec.api_key_refs.clear();
    let reference = SecretRef(format!("env:{variable}"));
    spec.api_key_refs
        .insert(Provider("anthropic".to_owned()), reference);
    spec
}

fn none(where_: &str, found: &[impl AsRef<str>]) -> Result<()> {
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    ensure!(found.is_empty(), "{where_}: {found:?}");
    Ok(())
}

/// The address that the daemon's log names.
async fn listening(site: &Site<'_>) -> Result<String> {
    site.until("the daemon listens", PATIENCE, async || {
        let log = std::fs::read_to_string(site.log_file("daemon"))?;
        let line = log.lines().find(|line| line.contains("listens address="));
        let address = line.and_then(|l| l.split("address=").nth(1)?.split(' ').next());
        Ok(address.map(str::to_owned).ok_or("no such line".to_owned()))
    })
    .await
}

/// What only Workers may hold, and what may go over the Hub once, at registration.
#[allow(clippy::disallowed_methods)] // To look for what must not be there.
async fn canaries(site: &Site<'_>) -> Result<(Canaries, Canaries)> {
    let (mut hidden, mut shown_once) = (Canaries::default(), Canaries::default());
    for (agent, _, key) in AGENTS {
        hidden.add("a key", key);
        let row = site.store.get(agent, true).await?.context("the row")?;
        let worker = row.agent.status.worker_name.context("a Worker name")?;
        for secret in [names::CONTROL_TOKEN, names::R2_SECRET_ACCESS_KEY] {
            let value = site.sim.secret_value(&worker, secret).context(secret)?;
            hidden.add(secret, value.expose());
        }
        let held = site.sim.secret_value(&worker, "ANTHROPIC_API_KEY");
        ensure!(
            held.is_some_and(|v| v.expose() == key),
            "{agent} has no key"
        );
        let token = row.agent.status.r2_token_id.context("a token id")?;
        let value = site.sim.token_value(&token).context("the R2 token")?;
        hidden.add("the R2 token", value.expose());
        let value = site.sim.secret_value(&worker, names::AUTH_TOKEN);
        shown_once.add(names::AUTH_TOKEN, value.context("a token")?.expose());
    }
    hidden.add("the Cloudflare token", CLOUDFLARE_TOKEN);
    let key = std::fs::read_to_string(site.folder().join("install.key"))?;
    hidden.add("the install key", key.trim());
    Ok((hidden, shown_once))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_leaves_its_worker_while_agents_do_tasks() -> Result<()> {
    let shop = Workshop::usual()?;
    let bundle = shop.bundle_dir();
    tokio::task::spawn_blocking(move || shop.find_or_build(&mut |line| println!("{line}")))
        .await??;
    let objects = tempfile::tempdir()?;
    let runner = Arc::new(WorkerdRunner::new(WorkerdOptions {
        state_dir: Some(objects.path().to_owned()),
        ..WorkerdOptions::default()
    })?);
    runner.prepare().await.map_err(anyhow::Error::msg)?;
    let sim = SimConfig {
        api_token: CLOUDFLARE_TOKEN.to_owned(),
        runner: runner.clone(),
        front_door: Some(([127, 0, 0, 1], 0).into()),
        ..SimConfig::default()
    };
    let mut site = Site::on(Engine::Sqlite, sim).await?;
    let proxy = Proxy::start().await;
    let door = site.sim.front_door().context("a front door")?;
    site.launch
        .set("TALON_CLOUDFLARE_API_TOKEN", CLOUDFLARE_TOKEN)
        .set("TALON_CLOUDFLARE_FRONT_DOOR", door.to_string())
        .set("TALON_RUNTIME_BUNDLE", bundle.display().to_string())
        .set("TALON_HUB_URL", proxy.url())
        // A real upload is tried in workerd before it is accepted.
        .set("TALON_DEADLINES_LEASE_SECONDS", "90")
        .set("TALON_DEADLINES_REQUEST_SECONDS", "30")
        .set("TALON_LOG", "trace")
        .set("RUST_LOG", "trace");
    for (_, variable, key) in AGENTS {
        site.launch.set(variable, key);
    }
    let daemon = site.daemon("daemon")?;
    let address = listening(&site).await?;
    proxy.lead_to(&address);
    site.launch.set("TALON_SERVER", format!("http://{address}"));
    for (agent, variable, _) in AGENTS {
        let (owner, spec) = (Owner::default(), holder(variable));
        site.store
            .apply(&name(agent), &owner, &spec, ApplyOptions::default())
            .await?;
        site.row(agent, "connected", PATIENCE, |row| {
            row.conditions.iter().any(|c| {
                let c = &c.condition;
                c.kind == ConditionType::HubConnected && c.status == Truth::True
            })
        })
        .await?;
    }
    for (agent, _, _) in AGENTS {
        let answer = site.talon(&["task", agent, &format!("Save a note: {PLANTED}")])?;
        ensure!(answer.starts_with("Done."), "{answer}");
    }
    let answer = site.talon(&["task", AGENTS[0].0, "ask canary-two: are you there?"])?;
    ensure!(answer.contains("Echo: are you there?"), "{answer}");

    let (hidden, shown_once) = canaries(&site).await?;
    let mut planted = Canaries::default();
    planted.add("planted", PLANTED);
    let frames = proxy.frames();
    ensure!(
        !planted.within(frames.concat().as_bytes()).is_empty(),
        "no frame was kept"
    );
    for frame in &frames {
        none("a frame", &hidden.within(frame.as_bytes()))?;
        if !frame.contains("\"agent.register\"") {
            none("a frame", &shown_once.within(frame.as_bytes()))?;
        }
    }
    let mut written = false;
    for bucket in site.sim.buckets() {
        for (key, body) in site.sim.objects(Jurisdiction::Default, &bucket.name) {
            let object = [key.as_bytes(), &body].concat();
            none("an object in R2", &hidden.within(&object))?;
            none("an object in R2", &shown_once.within(&object))?;
            written |= !planted.within(&object).is_empty();
        }
    }
    ensure!(written, "nothing was written to R2");
    for worker in site.sim.workers() {
        let output = runner.output(&worker.name).join("\n");
        none("what workerd printed", &hidden.within(output.as_bytes()))?;
        none(
            "what workerd printed",
            &shown_once.within(output.as_bytes()),
        )?;
    }
    let (status, _) = daemon.terminate(PATIENCE).await?;
    ensure!(status.success(), "{status}");
    let except = [site.folder().join("install.key")];
    for canaries in [&hidden, &shown_once] {
        none("workerd's files", &canaries.below(objects.path(), &[]))?;
        none(
            "talon's files and logs",
            &canaries.below(site.folder(), &except),
        )?;
    }
    ensure!(
        !planted.below(objects.path(), &[]).is_empty(),
        "workerd keeps no tasks: its files were not read"
    );
    let log = std::fs::read_to_string(site.log_file("daemon"))?;
    ensure!(log.contains(" DEBUG "), "the log is not at its longest");
    Ok(())
}
