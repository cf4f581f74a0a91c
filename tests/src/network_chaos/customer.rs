//! Somebody who asks agents for one thing after the other, and asks again, with the same id, whenever a line is lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};
use talon_core::Owner;
use talon_hub::API_KEY_PREFIX;
use tokio::sync::watch;

use super::client::{Heard, Line};
use super::errand::{End, Errand, Kind};
use super::ground::Ground;

/// Longest time that one errand may take, whatever happens meanwhile: what the Hub gives a task, and the way there.
const LONGEST: Duration = Duration::from_secs(200);
/// Pause before a lost line is opened again, and before a refusal that passes is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// An errand and what came of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What was asked.
    pub errand: Errand,
    /// How it ended.
    pub end: End,
    /// How long that took.
    pub took: Duration,
    /// How often it was handed in again.
    pub resubmitted: usize,
}

/// See the module.
pub struct Customer {
    name: String,
    agents: Vec<String>,
    api_key: String,
    hub: SocketAddr,
    http: reqwest::Client,
    line: Option<Line>,
    dice: StdRng,
    /// Everything so far, in order.
    pub asked: Vec<Asked>,
}

impl Customer {
    /// One of them, with a key of their own.
    pub async fn new(ground: &Ground, n: usize, mut dice: StdRng) -> Result<Self> {
        let name = format!("customer-{n:02}");
        let api_key = format!("{API_KEY_PREFIX}{:032x}", dice.random::<u128>());
        let sha256 = hex::encode(Sha256::digest(&api_key));
        ground
            .site
            .store
            .create_api_key(&Owner::default().0, &name, &sha256, None)
            .await?;
        Ok(Self {
            name,
            agents: ground.agents.clone(),
            api_key,
            hub: ground.hub,
            http: ground.http.clone(),
            line: None,
            dice,
            asked: Vec::new(),
        })
    }

    /// Asks and asks until it is over; at least once.
    pub async fn go_on_until(mut self, over: watch::Receiver<bool>) -> Result<Self> {
        loop {
            let agent = self.agents[self.dice.random_range(0..self.agents.len())].clone();
            let others: Vec<_> = self
                .agents
                .iter()
                .filter(|a| **a != agent)
                .cloned()
                .collect();
            let kind = Kind::any(&mut self.dice, &others);
            self.ask(agent, kind).await?;
            if *over.borrow() {
                return Ok(self);
            }
            // What was answered stays answered, whatever has happened since.
            if self.dice.random_bool(0.1) {
                let at = self.dice.random_range(0..self.asked.len());
                self.ask_again(at).await?;
            }
        }
    }

    /// Asks something new, and checks the end.
    pub async fn ask(&mut self, agent: String, kind: Kind) -> Result<()> {
        let errand = Errand {
            id: format!("errand-{}-{:05}", self.name, self.asked.len()),
            session: self.name.clone(),
            agent,
            kind,
        };
        let begun = Instant::now();
        let (end, resubmitted) = self.end_of(&errand).await?;
        let before: Vec<_> = self
            .asked
            .iter()
            .filter(|a| a.errand.agent == errand.agent)
            .map(|a| (&a.errand, &a.end))
            .collect();
        errand.check(&end, &before)?;
        self.asked.push(Asked {
            errand,
            end,
            took: begun.elapsed(),
            resubmitted,
        });
        Ok(())
    }

    /// Asks once more for what has ended: the end must be the same.
    pub async fn ask_again(&mut self, at: usize) -> Result<()> {
        let asked = self.asked[at].clone();
        let (end, _) = self.end_of(&asked.errand).await?;
        let id = &asked.errand.id;
        ensure!(
            end == asked.end,
            "{id} ended twice: first {:?}, then {end:?}",
            asked.end
        );
        Ok(())
    }

    /// Hands an errand in as often as it takes; its end, and how often it was handed in again.
    pub async fn end_of(&mut self, errand: &Errand) -> Result<(End, usize)> {
        let begun = Instant::now();
        let mut handed_in = 0;
        loop {
            let heard = match self.line().await {
                Ok(line) => {
                    handed_in += 1;
                    line.ask(errand).await
                }
                Err(error) => Err(error),
            };
            let why = match heard {
                Ok(Heard::End(end)) => return Ok((end, handed_in - 1)),
                Ok(Heard::Refused(why)) => bail!("{} was refused: {why}", errand.id),
                Ok(Heard::Later(why)) => why,
                Err(error) => {
                    self.line = None;
                    format!("{error:#}")
                }
            };
            ensure!(
                begun.elapsed() < LONGEST,
                "{} has no end after {LONGEST:?}; last: {why}",
                errand.id
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn line(&mut self) -> Result<&mut Line> {
        if self.line.is_none() {
            let opened = Line::open(&self.http, self.hub, &self.name, &self.api_key).await?;
            self.line = Some(opened);
        }
        self.line.as_mut().context("just opened")
    }
}
