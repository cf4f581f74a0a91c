//! What goes wrong: the daemon with the Hub in it is killed, Workers are killed, keys and tokens for the Hub are rotated.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::Options;
use super::ground::Ground;
use crate::process::Daemon;

/// How long a killer waits for an agent that works on something.
const LOOKING: Duration = Duration::from_secs(10);

/// How much of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Troubles {
    /// The daemon, and with it the Hub, is killed with SIGKILL and started again.
    pub daemon_kills: usize,
    /// A Worker's process is killed with SIGKILL, in the middle of a task where there is one.
    pub worker_kills: usize,
    /// An agent's key is rotated.
    pub rotations: usize,
    /// An agent gets another token for the Hub.
    pub auth_rotations: usize,
}

impl Troubles {
    /// So much that, with this mean pause, it takes so long.
    pub fn lasting(time: Duration, pause: Duration) -> Self {
        let all = (time.as_secs_f64() / pause.as_secs_f64()) as usize;
        let daemon_kills = all / 8;
        let rotations = all / 6;
        let auth_rotations = all / 8;
        Self {
            daemon_kills,
            worker_kills: all - daemon_kills - rotations - auth_rotations,
            rotations,
            auth_rotations,
        }
    }

    /// How often a Worker is stopped, in the middle of what it does.
    pub fn stops(&self) -> usize {
        self.worker_kills + self.rotations + self.auth_rotations
    }
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Daemon,
    Worker,
    Key,
    Auth,
}

/// Makes trouble.
pub struct Maker<'g> {
    ground: &'g Ground,
    daemon: Option<Daemon>,
    coming: Vec<Trouble>,
    pause: Duration,
    dice: StdRng,
}

impl<'g> Maker<'g> {
    /// With the daemon that runs now.
    pub fn new(ground: &'g Ground, options: &Options, daemon: Daemon) -> Self {
        let mut dice = StdRng::seed_from_u64(!options.seed);
        let Troubles {
            daemon_kills,
            worker_kills,
            rotations,
            auth_rotations,
        } = options.troubles;
        let mut coming = vec![Trouble::Daemon; daemon_kills];
        coming.extend(vec![Trouble::Worker; worker_kills]);
        coming.extend(vec![Trouble::Key; rotations]);
        coming.extend(vec![Trouble::Auth; auth_rotations]);
        coming.shuffle(&mut dice);
        Self {
            ground,
            daemon: Some(daemon),
            coming,
            pause: options.pause,
            dice,
        }
    }

    /// One after the other, with pauses. A daemon runs when it returns.
    pub async fn make_all(&mut self) -> Result<()> {
        let all = self.coming.len();
        for (n, trouble) in self.coming.clone().into_iter().enumerate() {
            let pause = self.pause.mul_f64(self.dice.random_range(0.0..2.0));
            tokio::time::sleep(pause).await;
            match trouble {
                Trouble::Daemon => self.kill_daemon().await?,
                Trouble::Worker => self.kill_worker().await?,
                Trouble::Key => {
                    let agent = self.any_agent();
                    self.ground.rotate(&agent).await?;
                }
                Trouble::Auth => {
                    let agent = self.any_agent();
                    self.ground.rotate_auth(&agent).await?;
                }
            }
            if (n + 1) % 20 == 0 {
                eprintln!("{} of {all} troubles made", n + 1);
            }
        }
        Ok(())
    }

    fn any_agent(&mut self) -> String {
        let agents = &self.ground.agents;
        agents[self.dice.random_range(0..agents.len())].clone()
    }

    /// The daemon that runs at the end.
    pub fn into_daemon(self) -> Daemon {
        self.daemon
            .unwrap_or_else(|| unreachable!("a daemon runs whenever nothing is made"))
    }

    async fn kill_daemon(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("a daemon runs")?;
        daemon.kill()?;
        if self.dice.random_bool(0.5) {
            let away = Duration::from_millis(self.dice.random_range(0..3_000));
            tokio::time::sleep(away).await;
        }
        self.daemon = Some(self.ground.site.daemon("daemon")?);
        Ok(())
    }

    /// That of an agent at work, if there is one in time.
    async fn kill_worker(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let working = self.ground.at_work().await?;
            let late = begun.elapsed() > LOOKING;
            let among = if late { &self.ground.agents } else { &working };
            if !among.is_empty() {
                let agent = among[self.dice.random_range(0..among.len())].clone();
                let worker = self.ground.worker_of(&agent).await?;
                if let Some(pid) = self.ground.runner.pid(&worker) {
                    let pid = Pid::from_raw(pid.try_into()?);
                    // Gone between two lines is as good.
                    let _ = kill(pid, Signal::SIGKILL);
                    if !late {
                        self.ground.killed_in_mid_task();
                    }
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
