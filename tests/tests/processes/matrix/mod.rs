//! Every field, by every way in, before the first deployment, after it, and while the agent is being deleted: the same
//! outcome, the same cost at Cloudflare, and a refusal in the same words. One list says what must come of each change.

mod change;
mod way;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use reqwest::StatusCode;
use talon_core::{Owner, Snapshot};
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_store::{ApplyOptions, codes};
use talon_tests::site::{Engine, Site, unsettled};
use talon_tests::stage::{idle, name, spec};
use talon_tests::web::{Api, Browser, address};

use change::{Change, Effect, Outcome, Phase};
use way::{Said, Way};

const PATIENCE: Duration = Duration::from_secs(60);

/// Everything the ways in need.
struct Ground {
    site: Site<'static>,
    api: Api,
    browser: Browser,
}

impl Ground {
    async fn row(&self, agent: &str) -> Result<Snapshot> {
        self.site.store.get(agent, true).await?.context("the row")
    }

    /// Waits until the controller has done what there was to do.
    async fn at_rest(&self, agent: &str) -> Result<Snapshot> {
        let rest = |r: &Snapshot| {
            // A suspended agent is never observed as deployed.
            let seen =
                r.agent.spec.suspend || r.agent.status.observed_generation == r.agent.generation;
            idle(r) && seen
        };
        self.site.row(agent, "at rest", PATIENCE, rest).await
    }

    /// What was written to its Worker after this call.
    fn written(&self, row: &Snapshot, after: u64) -> Vec<String> {
        let worker = row.agent.status.worker_name.as_deref();
        let calls = self.site.sim.calls().into_iter();
        calls
            .filter(|c| c.seq > after && c.class == CallClass::Write)
            .filter(|c| worker.is_some_and(|w| c.path.contains(w)))
            .map(|c| c.operation)
            .collect()
    }

    fn last_call(&self) -> u64 {
        self.site.sim.calls().last().map_or(0, |c| c.seq)
    }

    async fn create(&self, agent: &str, suspend: bool) -> Result<()> {
        let mut spec = spec();
        spec.suspend = suspend;
        let (owner, options) = (Owner::default(), ApplyOptions::default());
        let name = name(agent);
        let store = &self.site.store;
        store.apply(&name, &owner, &spec, options).await?;
        Ok(())
    }

    /// Brings an agent to where it is to be.
    async fn stage(&self, agent: &str, phase: Phase) -> Result<()> {
        self.create(agent, phase == Phase::Before).await?;
        if phase == Phase::Before {
            return self.at_rest(agent).await.map(drop);
        }
        let deployed = |r: &Snapshot| unsettled(r).is_none();
        let row = self.site.row(agent, "deployed", PATIENCE, deployed).await?;
        if phase == Phase::Deleting {
            let worker = row.agent.status.worker_name.context("a Worker")?;
            let refuses = Fault::Status {
                status: 500,
                html: false,
                code: None,
                after_commit: false,
            };
            let mut rule = FaultRule::on("workers.delete", refuses);
            rule.matching.path = Some(worker);
            let faults = self.site.sim.faults();
            faults.add(vec![rule]).map_err(anyhow::Error::msg)?;
            let name = name(agent);
            self.site.store.request_deletion(&name, false).await?;
        }
        Ok(())
    }

    /// Makes one change and says what is not as it must be.
    async fn check(
        &self,
        way: Way,
        phase: Phase,
        agent: &str,
        change: &Change,
    ) -> Result<Vec<String>> {
        let before = self.row(agent).await?;
        let mark = self.last_call();
        let said = way
            .make(&self.site, &self.api, &self.browser, &before, change)
            .await?;
        let mut wrong = Vec::new();
        match change.outcome(phase) {
            Outcome::Accepted(writes) => {
                if !said.accepted {
                    wrong.push(format!("refused: {}", short(&said)));
                    return Ok(wrong);
                }
                let after = self.at_rest(agent).await?;
                let (wanted, _) = change.applied(&before.agent.spec);
                if after.agent.spec != wanted {
                    wrong.push("accepted, and the row does not say so".to_owned());
                }
                if after.agent.generation.0 != before.agent.generation.0 + 1 {
                    wrong.push(format!(
                        "generation {} → {}",
                        before.agent.generation, after.agent.generation
                    ));
                }
                let written = self.written(&after, mark);
                if written != writes {
                    wrong.push(format!("writes {written:?}, should write {writes:?}"));
                }
            }
            Outcome::Refused(code) => {
                wrong.extend(refused(change, code, &said));
                let after = self.row(agent).await?;
                if after.agent.spec != before.agent.spec
                    || after.agent.generation != before.agent.generation
                {
                    wrong.push("refused, and the row changed".to_owned());
                }
                let written = self.written(&after, mark);
                if phase != Phase::Deleting && !written.is_empty() {
                    wrong.push(format!("refused, and writes {written:?}"));
                }
            }
        }
        Ok(wrong)
    }
}

/// The beginning of what was said: a page is long.
fn short(said: &Said) -> String {
    said.text.chars().take(300).collect()
}

/// What is wrong with a refusal: its words are the rule's, and the API points at the field.
fn refused(change: &Change, code: &str, said: &Said) -> Vec<String> {
    let mut wrong = Vec::new();
    let words = codes::message(code).unwrap_or_default();
    if said.accepted {
        wrong.push("accepted".to_owned());
    }
    if !said.text.contains(words) {
        wrong.push(format!("does not say {words:?}: {}", short(said)));
    }
    let coded = said.text.contains(code) || (change.is_beside_spec() && said.status.is_none());
    if !coded {
        wrong.push(format!("does not say {code}: {}", short(said)));
    }
    if let (Some(pointers), Some(status)) = (&said.pointers, said.status) {
        let at = match change.is_beside_spec() {
            true => format!("/{}", change.field),
            false => format!("/spec/{}", change.column()),
        };
        let (wanted, at) = match code {
            // Any change would be refused: the state of the agent stands against it, not a field.
            codes::DELETING => (StatusCode::CONFLICT, Vec::new()),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, vec![at]),
        };
        if status != wanted || *pointers != at {
            wrong.push(format!("{status} {pointers:?}, should be {wanted} {at:?}"));
        }
    }
    wrong
}

async fn by(ground: &Ground, way: Way) -> Result<Vec<String>> {
    let mut report = Vec::new();
    for phase in [Phase::Before, Phase::After, Phase::Deleting] {
        let agent = way.agent(&format!("{phase:?}"));
        ground.stage(&agent, phase).await?;
        for change in change::ALL.iter().filter(|c| way.can(c)) {
            let wrong = ground
                .check(way, phase, &agent, change)
                .await
                .with_context(|| format!("{phase:?} {way:?} {}", change.field))?;
            let lines = wrong.into_iter();
            report.extend(lines.map(|w| format!("{phase:?} · {way:?} · {}: {w}", change.field)));
        }
    }
    Ok(report)
}

async fn on(engine: Engine) -> Result<()> {
    let mut site = Site::on(engine, SimConfig::default()).await?;
    site.launch
        .set("TALON_SECRET_OPENAI", "made-up-openai-key-2b77")
        .set("TALON_DEADLINES_CLEANUP_SECONDS", "600");
    let daemon = site.daemon("daemon")?;
    let server = address(&site, "daemon", PATIENCE).await?;
    let api = Api::of(&site, &server)?;
    let browser = Browser::of(&api).await?;
    let ground = Ground { site, api, browser };
    let ways = way::ALL.map(|way| by(&ground, way));
    let report = try_join_all(ways).await?.concat();
    ensure!(
        report.is_empty(),
        "{}: {} are not as they must be:\n  {}",
        engine.as_str(),
        report.len(),
        report.join("\n  ")
    );
    let uploads = ground.site.sim.calls().into_iter();
    let uploads = uploads.filter(|c| c.operation == "workers.upload").count();
    ensure!(
        uploads == 2 * way::ALL.len(),
        "{uploads} uploads, one for each agent that was deployed is right"
    );
    daemon.kill()
}

#[test]
fn the_table_holds_every_kind_of_effect() {
    let has = |so: fn(&Effect) -> bool| change::ALL.iter().any(|c| so(&c.effect));
    assert!(has(|e| *e == Effect::RouterOnly) && has(|e| *e == Effect::SecretPush));
    assert!(has(|e| *e == Effect::FixedOnceDeployed(codes::IMMUTABLE)));
    assert!(has(|e| *e == Effect::Fixed(codes::FIXED)));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_comes_out_the_same_by_every_way_on_sqlite() -> Result<()> {
    on(Engine::Sqlite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_comes_out_the_same_by_every_way_on_postgres() -> Result<()> {
    on(Engine::Postgres).await
}
