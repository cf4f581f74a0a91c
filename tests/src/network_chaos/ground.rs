//! What the chaos happens on: a local Cloudflare in this process that runs Workers in workerd, a database, the daemon as a
//! process with the Hub in it, and a folder of secrets.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use talon_core::Owner;
use talon_core::secret::{Provider, SecretRef, SecretValue, names};
use talon_core::spec::AgentSpec;
use talon_core::task::TaskState;
use talon_simulator::{SimConfig, WorkerdOptions, WorkerdRunner};
use talon_store::ApplyOptions;
use talon_worker::workshop::Workshop;
use tokio::net::TcpListener;

use super::Options;
use crate::site::{Engine, Site};
use crate::stage::{name, spec};

/// Name of the secret that is rotated.
const KEY_NAME: &str = "ANTHROPIC_API_KEY";
/// How long somebody tries again.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub struct Ground {
    /// The local Cloudflare, the database, the binary.
    pub site: Site<'static>,
    /// What runs the Workers.
    pub runner: Arc<WorkerdRunner>,
    /// Where the daemon serves the Hub, in every life.
    pub hub: SocketAddr,
    /// Names of the agents.
    pub agents: Vec<String>,
    /// For everybody who speaks HTTP.
    pub http: reqwest::Client,
    secrets: PathBuf,
    /// How often each agent's key was rotated.
    rotated: Mutex<BTreeMap<String, u64>>,
    in_mid_task: AtomicUsize,
}

impl Ground {
    /// Builds what has to be built, fetches what has to be fetched, and writes the rows. No daemon runs yet.
    pub async fn prepare(options: &Options) -> Result<Self> {
        let bundle = tokio::task::spawn_blocking(|| -> Result<PathBuf> {
            let shop = Workshop::usual()?;
            shop.find_or_build(&mut |line| eprintln!("{line}"))?;
            Ok(shop.bundle_dir())
        });
        let runner = Arc::new(WorkerdRunner::new(WorkerdOptions::default())?);
        runner.prepare().await.map_err(anyhow::Error::msg)?;
        let sim = SimConfig {
            seed: options.seed,
            runner: runner.clone(),
            front_door: Some((Ipv4Addr::LOCALHOST, 0).into()),
            ..SimConfig::default()
        };
        let mut site = Site::on(Engine::Sqlite, sim).await?;
        let hub = free_port().await?;
        let secrets = site.folder().join("secrets");
        fs::create_dir(&secrets)?;
        let scopes = serde_json::json!({"default": {"files": secrets}});
        let door = site.sim.front_door().context("a front door")?;
        let bundle = bundle.await??;
        site.launch
            .set("TALON_LISTEN", hub.to_string())
            .set("TALON_HUB_URL", format!("ws://{hub}/ws/agents"))
            .set("TALON_CLOUDFLARE_FRONT_DOOR", door.to_string())
            .set("TALON_RUNTIME_BUNDLE", bundle.display().to_string())
            .set("TALON_SCOPES", scopes.to_string())
            // A real upload is tried in workerd before it is accepted.
            .set("TALON_DEADLINES_REQUEST_SECONDS", "15")
            .set("TALON_DEADLINES_LEASE_SECONDS", "25");
        let _already = rustls::crypto::ring::default_provider().install_default();
        let ground = Self {
            site,
            runner,
            hub,
            agents: (0..options.agents)
                .map(|n| format!("agent-{n:02}"))
                .collect(),
            http: reqwest::Client::builder().no_proxy().build()?,
            secrets,
            rotated: Mutex::default(),
            in_mid_task: AtomicUsize::new(0),
        };
        for agent in &ground.agents {
            ground.rotate(agent).await?;
        }
        Ok(ground)
    }

    /// Puts another key behind an agent's reference and says so in its row, which is made if it is not there.
    pub async fn rotate(&self, agent: &str) -> Result<()> {
        let version = {
            let mut rotated = self.rotated.lock().unwrap_or_else(PoisonError::into_inner);
            let version = rotated.entry(agent.to_owned()).or_default();
            *version += 1;
            *version
        };
        // Whole or not at all, since the daemon may be reading.
        let file = self.secrets.join(agent);
        let fresh = self.secrets.join(format!("{agent}.new"));
        fs::write(&fresh, self.key_of(agent))?;
        fs::rename(&fresh, &file)?;
        let wanted = AgentSpec {
            model: "dev/echo".to_owned(),
            keep_alive: true,
            api_key_refs: [(
                Provider("anthropic".to_owned()),
                SecretRef(format!("file:{agent}")),
            )]
            .into(),
            secrets_version: version.try_into()?,
            ..spec()
        };
        let (agent, owner) = (name(agent), Owner::default());
        let options = ApplyOptions::default();
        self.site
            .store
            .apply(&agent, &owner, &wanted, options)
            .await?;
        Ok(())
    }

    /// Asks for another token for the Hub, until it is so.
    pub async fn rotate_auth(&self, agent: &str) -> Result<()> {
        let server = format!("http://{}", self.hub);
        let asked = ["secrets", "rotate-auth", agent, "--server", &server].map(str::to_owned);
        let begun = Instant::now();
        loop {
            let (launch, asked) = (self.site.launch.clone(), asked.clone());
            let output = tokio::task::spawn_blocking(move || {
                launch.run(&asked.each_ref().map(String::as_str))
            })
            .await??;
            if output.status.success() {
                return Ok(());
            }
            // The daemon may be away, or at work on the agent: both pass.
            ensure!(begun.elapsed() < PATIENCE, "{agent}: {output:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The key that an agent should have.
    pub fn key_of(&self, agent: &str) -> String {
        let rotated = self.rotated.lock().unwrap_or_else(PoisonError::into_inner);
        let version = rotated.get(agent).copied().unwrap_or_default();
        format!("made-up-key-of-{agent}-version-{version}")
    }

    /// The name of an agent's Worker.
    pub async fn worker_of(&self, agent: &str) -> Result<String> {
        let row = self.site.store.get(agent, false).await?;
        let row = row.with_context(|| format!("there is no {agent}"))?;
        row.agent.status.worker_name.context("it has no Worker yet")
    }

    /// Agents that are connected and work on something now, as the Hub sees it.
    pub async fn at_work(&self) -> Result<Vec<String>> {
        let mut working = Vec::new();
        for (agent, _) in self.site.store.online().await? {
            let open = self.site.store.open_tasks(&agent, 64).await?;
            if open.iter().any(|task| task.state == TaskState::Working) {
                working.push(agent);
            }
        }
        Ok(working)
    }

    /// Counts a Worker that was killed in the middle of a task.
    pub fn killed_in_mid_task(&self) {
        self.in_mid_task.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn in_mid_task(&self) -> usize {
        self.in_mid_task.load(Ordering::Relaxed)
    }

    /// Waits until every row is settled, every agent connected, and every running Worker says that it holds the newest key.
    pub async fn at_ease(&self, patience: Duration) -> Result<()> {
        self.site.settled(patience).await?;
        self.site
            .until(
                "every agent connected, with its newest key",
                patience,
                async || {
                    let missing = self.missing().await?;
                    if missing.is_empty() {
                        return Ok(Ok(()));
                    }
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    Ok(Err(missing.join("; ")))
                },
            )
            .await
    }

    async fn missing(&self) -> Result<Vec<String>> {
        let online = self.site.store.online().await?;
        let mut missing = Vec::new();
        for agent in &self.agents {
            if !online.iter().any(|(name, _)| name == agent) {
                missing.push(format!("{agent} is not connected"));
            } else if let Err(why) = self.says_its_key(agent).await {
                missing.push(format!("{agent}: {why:#}"));
            }
        }
        Ok(missing)
    }

    /// Asks the Worker itself which key it runs with.
    async fn says_its_key(&self, agent: &str) -> Result<()> {
        let worker = self.worker_of(agent).await?;
        let control = self.site.sim.secret_value(&worker, names::CONTROL_TOKEN);
        let control = control.context("it has no control token")?;
        let door = self.site.sim.front_door().context("a front door")?;
        let said: serde_json::Value = self
            .http
            .get(format!("http://{door}/status"))
            .header("host", format!("{worker}.dev.workers.dev"))
            .bearer_auth(control.expose())
            .timeout(Duration::from_secs(10))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let wanted = SecretValue::new(self.key_of(agent)).fingerprint(&control, KEY_NAME);
        anyhow::ensure!(
            said["fingerprints"][KEY_NAME] == *wanted,
            "its Worker runs with another key than {}",
            self.key_of(agent)
        );
        Ok(())
    }
}

/// A port that nobody has now: the Hub must be at the same address in every life of the daemon.
async fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?)
}
