//! Chaos in the network: agents in real workerd do what they are asked while their daemon with the Hub in it is killed with
//! SIGKILL, their Workers are killed in the middle of tasks, and their secrets and tokens for the Hub are rotated. At the end
//! no task may be lost, none answered twice, every agent connected with its newest secrets, and nobody may have helped.
//!
//! - `ground`: the local Cloudflare that runs Workers, the database, the daemon as a process;
//! - `client`: speaks with the Hub as anybody's agent would; `errand`: what is asked and what the answer must be;
//!   `customer`: asks, again after every error; `trouble`: what goes wrong, and when;
//! - `verdict`: what must hold at the end.
//!
//! The local Cloudflare lives in this process, so that a daemon that is killed takes no Worker with it. The seed chooses
//! errands and troubles; how they fall on each other is the machine's.
//!
//! Played for ten minutes (20 agents, seed 42, debug build, two cores that others used too): 25 kills of the daemon, 125 of
//! Workers, all in mid-task, 50 rotations; 7,242 errands answered (median 0.8 s, 99 % 19 s, longest 51 s), 7 given up
//! honestly, none lost, none twice.

mod client;
mod customer;
mod errand;
mod ground;
mod trouble;
mod verdict;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::oracle;
use customer::{Asked, Customer};
use ground::Ground;
pub use trouble::Troubles;

/// Longest wait until all is well again once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(420);
/// Generous; it is stopped when it has nothing to do.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// What to play.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many agents.
    pub agents: usize,
    /// How many ask them, each one thing at a time.
    pub customers: usize,
    /// What goes wrong.
    pub troubles: Troubles,
    /// Mean pause between two troubles.
    pub pause: Duration,
    /// Chooses errands and troubles.
    pub seed: u64,
}

/// What was played, and how it ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was to be played.
    pub options: Options,
    /// Worker kills that met a task under way; the others met an agent with nothing to do.
    pub in_mid_task: usize,
    /// Errands that were answered as they should be.
    pub answered: usize,
    /// Errands that the agent gave up with an honest word, after its Worker was stopped twice in the middle.
    pub given_up: usize,
    /// How often an errand was asked once more because the connection was lost.
    pub resubmitted: usize,
    /// Errands that were asked again after their end, each answered with the same words.
    pub asked_again: usize,
    /// Half of the errands took no longer, 99 of 100 no longer, and the longest.
    pub took: [Duration; 3],
    /// From the start to the last trouble.
    pub trouble: Duration,
    /// From there until every agent was connected, settled, and held its newest secrets.
    pub recovery: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = &self.options;
        let [median, most, longest] = self.took.map(|t| t.as_secs_f64());
        write!(
            f,
            "network chaos, seed {}: {} agents, {} customers; in {:.0} s the daemon with the Hub was killed {} times, Workers \
             {} times ({} in mid-task), secrets were rotated {} times, tokens {} times; {} errands answered and {} given up honestly \
             ({} asked anew after a lost connection; median {median:.2} s, 99 % {most:.1} s, longest {longest:.1} s), \
             {} asked again with the same answer; all connected and settled with the newest secrets {:.0} s later; none \
             lost, none answered twice; all deleted, nothing left over",
            o.seed,
            o.agents,
            o.customers,
            self.trouble.as_secs_f64(),
            o.troubles.daemon_kills,
            o.troubles.worker_kills,
            self.in_mid_task,
            o.troubles.rotations,
            o.troubles.auth_rotations,
            self.answered,
            self.given_up,
            self.resubmitted,
            self.asked_again,
            self.recovery.as_secs_f64(),
        )
    }
}

/// Plays, and checks everything.
pub async fn play(options: Options) -> Result<Report> {
    let played = Box::pin(played(options)).await;
    played.with_context(|| format!("network chaos, seed {}", options.seed))
}

async fn played(options: Options) -> Result<Report> {
    let ground = Ground::prepare(&options).await?;
    let daemon = ground.site.daemon("daemon")?;
    ground.at_ease(PATIENCE).await.context("at the start")?;
    let mut all = Vec::new();
    for n in 0..options.customers {
        let dice = StdRng::seed_from_u64(options.seed ^ (n as u64 + 1).rotate_left(32));
        all.push(Customer::new(&ground, n, dice).await?);
    }
    eprintln!("{} agents are deployed and connected", options.agents);

    let begun = Instant::now();
    let (over, is_over) = watch::channel(false);
    let mut customers = JoinSet::new();
    for customer in all.drain(..) {
        customers.spawn(customer.go_on_until(is_over.clone()));
    }
    let mut trouble = trouble::Maker::new(&ground, &options, daemon);
    let made = tokio::select! {
        made = trouble.make_all() => made,
        // One that ends now has found something.
        Some(ended) = customers.join_next() => Err(failed(ended)),
    };
    if let Err(error) = made {
        return Err(error.context(ground.site.dump().await));
    }
    let lasted = begun.elapsed();
    over.send_replace(true);
    while let Some(ended) = customers.join_next().await {
        match ended {
            Ok(Ok(customer)) => all.push(customer),
            ended => return Err(failed(ended).context(ground.site.dump().await)),
        }
    }
    let calm = Instant::now();
    ground.at_ease(PATIENCE).await.context("afterwards")?;
    let recovery = calm.elapsed();
    eprintln!("all agents are well again; now everything is looked at");

    verdict::every_agent_answers(&ground, &mut all).await?;
    let asked_again = verdict::answers_stand(&mut all).await?;
    let asked: Vec<&Asked> = all.iter().flat_map(|c| &c.asked).collect();
    verdict::few_were_given_up(&asked, &options.troubles)?;
    verdict::buckets_hold(&ground, &asked).await?;
    oracle::verify_with(&ground.site, &|agent| ground.key_of(agent)).await?;
    verdict::delete_all(&ground, &mut all[0], PATIENCE).await?;
    let (status, _) = trouble.into_daemon().terminate(STOP_PATIENCE).await?;
    ensure!(status.success(), "after SIGTERM: {status}");

    let asked: Vec<&Asked> = all.iter().flat_map(|c| &c.asked).collect();
    let mut took: Vec<Duration> = asked.iter().map(|a| a.took).collect();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let answered = asked.iter().filter(|a| a.end.is_completed()).count();
    Ok(Report {
        options,
        in_mid_task: ground.in_mid_task(),
        answered,
        given_up: asked.len() - answered,
        resubmitted: asked.iter().map(|a| a.resubmitted).sum(),
        asked_again,
        took: [at(0.5), at(0.99), at(1.0)],
        trouble: lasted,
        recovery,
    })
}

fn failed(ended: Result<Result<Customer>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error,
        Err(error) => error.into(),
        Ok(Ok(_)) => anyhow::anyhow!("a customer went home early"),
    }
}
