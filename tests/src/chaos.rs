//! Chaos: fifty agents are created, changed, deleted and created again while their daemon is killed with SIGKILL at
//! random moments and started again. At the end all must be as if nothing had happened.
//!
//! The seed chooses the writes and the moments. Most moments are "as the n-th write to Cloudflare of this life
//! begins", so that they hit work whatever the speed of the machine; the others are soon after the start.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use talon_core::{Owner, Snapshot};
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_store::{ApplyOptions, StoreError};
use tokio_util::sync::CancellationToken;

use crate::oracle::{self, Found};
use crate::process::Daemon;
use crate::site::{Engine, Site};
use crate::stage::{name, spec};

/// How many agents there are at a time.
const AGENTS: usize = 50;
/// Kills between two moments at which what is being deleted may become archived, to be created again.
const KILLS_PER_ROUND: u32 = 25;
/// Longest wait for the chosen write, where there is nothing to write.
const IDLE_LIFE: Duration = Duration::from_secs(3);
/// Longest wait until all is settled: a lost upload alone may land for over a minute.
const PATIENCE: Duration = Duration::from_secs(420);
/// Generous; what was measured is reported.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// What to play.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// On what.
    pub engine: Engine,
    /// How often the daemon is killed.
    pub kills: u32,
    /// Chooses writes and moments.
    pub seed: u64,
}

/// What was played, and how it ended.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// What was to be played.
    pub options: Options,
    /// Writes to rows.
    pub writes: Writes,
    /// Writes to Cloudflare that took effect.
    pub effects: usize,
    /// From the start to the last kill.
    pub killing: Duration,
    /// From there until every row was settled.
    pub settling: Duration,
    /// How long the daemon took to stop in good order.
    pub stopping: Duration,
    /// What was there at the end.
    pub found: Found,
}

/// Writes to rows, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writes {
    /// New rows.
    pub created: usize,
    /// Of these under a name that had been used before.
    pub again: usize,
    /// Changes of the spec, and requests for a pass.
    pub changed: usize,
    /// Deletions.
    pub deleted: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (o, w) = (&self.options, &self.writes);
        write!(
            f,
            "chaos on {}, seed {}: {} kills in {:.0} s, {} writes to rows ({} created, {} of them again, {} changed, {} \
             deleted), {} writes to Cloudflare; settled {:.0} s later, stopped in {:.1} s: {} live and {} archived, nothing \
             left over, nothing twice, credentials match, database valid",
            o.engine.as_str(),
            o.seed,
            o.kills,
            self.killing.as_secs_f64(),
            w.created + w.changed + w.deleted,
            w.created,
            w.again,
            w.changed,
            w.deleted,
            self.effects,
            self.settling.as_secs_f64(),
            self.stopping.as_secs_f64(),
            self.found.live,
            self.found.archived,
        )
    }
}

/// Plays, and checks everything.
pub async fn play(options: Options) -> Result<Report> {
    played(options).await.with_context(|| {
        format!(
            "chaos on {}, seed {}",
            options.engine.as_str(),
            options.seed
        )
    })
}

async fn played(options: Options) -> Result<Report> {
    let sim = SimConfig {
        seed: options.seed,
        ..SimConfig::default()
    };
    let site = Site::on(options.engine, sim).await?;
    site.sim.faults().add(rules()).map_err(anyhow::Error::msg)?;
    let begun = Instant::now();
    let mut writer = Writer::new(&site, options.seed);
    for agent in 0..AGENTS {
        writer.write(agent).await?;
    }
    let mut killer = Killer {
        site: &site,
        dice: StdRng::seed_from_u64(!options.seed),
    };
    let mut daemon = None;
    let mut left = options.kills;
    while left > 0 {
        let now = left.min(KILLS_PER_ROUND.min(options.kills.div_ceil(2)));
        let enough = CancellationToken::new();
        let (killed, written) = tokio::join!(
            async {
                let killed = killer.round(daemon.take(), now).await;
                enough.cancel();
                killed
            },
            writer.until(&enough)
        );
        written?;
        daemon = Some(killed?);
        left -= now;
        if left > 0 {
            // Names become free again, for the next round to use them again.
            site.until("what is deleted is archived", PATIENCE, async || {
                deleting(&site).await
            })
            .await?;
        }
    }
    let killing = begun.elapsed();
    let daemon = daemon.context("no daemon is left")?;
    site.settled(PATIENCE).await?;
    let settling = begun.elapsed() - killing;
    stays_so(&site).await?;
    let found = oracle::verify(&site).await?;
    let (status, stopping) = daemon.terminate(STOP_PATIENCE).await?;
    ensure!(
        status.success(),
        "after SIGTERM: {status}\n{}",
        site.dump().await
    );
    valid(&site).await?;
    let effects = site.sim.calls().iter().filter(|c| c.took_effect()).count();
    Ok(Report {
        options,
        writes: writer.done,
        effects,
        killing,
        settling,
        stopping,
        found,
    })
}

/// Cloudflare takes its time, and now and then carries a write out after the daemon has gone. The first two rules
/// count, too.
fn rules() -> Vec<FaultRule> {
    vec![
        FaultRule::on_class(CallClass::Write, Fault::Latency { ms: 15 }).probability(0.7),
        FaultRule::on("workers.list", Fault::Latency { ms: 1 }),
        FaultRule::on_class(CallClass::Write, Fault::LandLate { after_ms: 700 }).probability(0.01),
    ]
}

/// Writes to Cloudflare that have begun.
fn writes_begun(site: &Site<'_>) -> u64 {
    site.sim.faults().report().first().map_or(0, |r| r.matched)
}

fn lists_read(site: &Site<'_>) -> u64 {
    site.sim.faults().report().get(1).map_or(0, |r| r.matched)
}

async fn deleting(site: &Site<'_>) -> Result<std::result::Result<(), String>> {
    let rows = site.rows().await?;
    let open = |r: &&Snapshot| r.agent.is_deleting() && !r.agent.is_archived();
    let open: Vec<String> = rows.iter().filter(open).map(crate::site::line).collect();
    Ok(if open.is_empty() {
        Ok(())
    } else {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Err(open.join("; "))
    })
}

/// Two resyncs later nothing has been done, and nothing is to be done.
async fn stays_so(site: &Site<'_>) -> Result<()> {
    let (writes, lists) = (writes_begun(site), lists_read(site));
    let two_more = async || {
        let seen = lists_read(site) - lists;
        Ok(if seen >= 3 {
            Ok(())
        } else {
            Err(format!("{seen} of 3 lists of Workers"))
        })
    };
    site.until("two more resyncs", PATIENCE, two_more).await?;
    let more = writes_begun(site) - writes;
    let last = site.sim.calls();
    ensure!(
        more == 0,
        "{more} writes to Cloudflare after all was settled: {:#?}",
        &last[last.len().saturating_sub(20)..]
    );
    Ok(())
}

/// The file is whole.
async fn valid(site: &Site<'_>) -> Result<()> {
    if site.database.is_some() {
        return Ok(());
    }
    let options = SqliteConnectOptions::new().filename(site.file());
    let mut file: SqliteConnection = options.connect().await?;
    let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(&mut file)
        .await?;
    ensure!(found == ["ok"], "PRAGMA integrity_check: {found:?}");
    let strangers = sqlx::query("PRAGMA foreign_key_check")
        .fetch_all(&mut file)
        .await?;
    ensure!(
        strangers.is_empty(),
        "{} rows without a parent",
        strangers.len()
    );
    file.close().await?;
    Ok(())
}

struct Killer<'a, 's> {
    site: &'a Site<'s>,
    dice: StdRng,
}

impl Killer<'_, '_> {
    /// Kills this often; a daemon runs when it returns.
    async fn round(&mut self, running: Option<Daemon>, kills: u32) -> Result<Daemon> {
        let mut daemon = match running {
            Some(daemon) => daemon,
            None => self.site.daemon("daemon")?,
        };
        for _ in 0..kills {
            self.moment(&daemon).await;
            if let Err(error) = daemon.kill() {
                return Err(error.context(self.site.dump().await));
            }
            if self.dice.random_bool(0.3) {
                let pause = Duration::from_millis(self.dice.random_range(0..300));
                tokio::time::sleep(pause).await;
            }
            daemon = self.site.daemon("daemon")?;
        }
        Ok(daemon)
    }

    /// Waits for the moment of the next kill.
    async fn moment(&mut self, daemon: &Daemon) {
        let jitter = Duration::from_micros(self.dice.random_range(0..20_000));
        if self.dice.random_bool(0.2) {
            tokio::time::sleep(jitter * 15).await;
            return;
        }
        let wanted = writes_begun(self.site) + self.dice.random_range(1..30);
        let patience = daemon.age() + IDLE_LIFE;
        while writes_begun(self.site) < wanted && daemon.age() < patience {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(jitter).await;
    }
}

struct Writer<'a, 's> {
    site: &'a Site<'s>,
    dice: StdRng,
    done: Writes,
}

impl<'a, 's> Writer<'a, 's> {
    fn new(site: &'a Site<'s>, seed: u64) -> Self {
        Self {
            site,
            dice: StdRng::seed_from_u64(seed),
            done: Writes::default(),
        }
    }

    /// Writes until told that it is enough.
    async fn until(&mut self, enough: &CancellationToken) -> Result<()> {
        while !enough.is_cancelled() {
            let agent = self.dice.random_range(0..AGENTS);
            self.write(agent).await?;
            let pause = Duration::from_millis(self.dice.random_range(5..60));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// One write to one agent: creates it if it is not there, else something of all that a person may do.
    async fn write(&mut self, agent: usize) -> Result<()> {
        let agent = format!("chaos-{agent:02}");
        let dice = self.dice.random_range(0..100);
        let Some(row) = self.site.store.get(&agent, false).await? else {
            let again = self.site.store.get(&agent, true).await?.is_some();
            self.apply(&agent, &spec()).await?;
            self.done.created += 1;
            self.done.again += usize::from(again);
            return Ok(());
        };
        if row.agent.is_deleting() {
            return Ok(());
        }
        if dice < 20 {
            match self.site.store.request_deletion(&name(&agent), false).await {
                // Nothing but this deletes.
                Ok(()) => self.done.deleted += 1,
                Err(error) => return Err(error).context(agent),
            }
            return Ok(());
        }
        let mut wanted = row.agent.spec.clone();
        match dice {
            20..40 => {
                let models = ["anthropic/claude-sonnet-4-6", "anthropic/claude-opus-4-6"];
                wanted.model = models[usize::from(wanted.model == models[0])].to_owned();
            }
            40..60 => wanted.keep_alive = !wanted.keep_alive,
            60..80 => {
                for skill in &mut wanted.skills {
                    skill.description = format!("Researches topic {}.", self.dice.random::<u32>());
                }
            }
            80..90 => {
                wanted.persona = format!("You are careful, {} times.", self.dice.random::<u32>())
            }
            _ => {
                self.site.store.request_reconcile(&name(&agent)).await?;
                self.done.changed += 1;
                return Ok(());
            }
        }
        self.apply(&agent, &wanted).await?;
        self.done.changed += 1;
        Ok(())
    }

    async fn apply(&self, agent: &str, wanted: &talon_core::AgentSpec) -> Result<()> {
        let applied = self
            .site
            .store
            .apply(
                &name(agent),
                &Owner::default(),
                wanted,
                ApplyOptions::default(),
            )
            .await;
        match applied {
            Ok(_) => Ok(()),
            // The persona of an agent that was deployed meanwhile.
            Err(StoreError::Rejected { code, .. }) if code == talon_store::codes::IMMUTABLE => {
                Ok(())
            }
            Err(error) => Err(error).context(agent.to_owned()),
        }
    }
}
