//! A thousand redeployments of agents whose keys nobody can supply again, at a Cloudflare that keeps nothing an upload does
//! not list, and that refuses, throttles and loses answers.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use talon_core::resource::ResourceKind;
use talon_core::secret::{Provider, SecretRef, SecretValue};
use talon_core::secret_writer::KeyName;
use talon_tests::simulation::dice::Dice;
use talon_tests::simulation::faults::Weather;
use talon_tests::simulation::script::{BOUND, every, history};
use talon_tests::simulation::seat::Seat;
use talon_tests::simulation::stage::Sim;
use talon_worker::Bundle;
use tokio::time::sleep;

const KEY: &str = "ANTHROPIC_API_KEY";
const OPENAI: &str = "env:TALON_SECRET_OPENAI";
const HISTORIES: u64 = 8;
const CHANGES: u64 = 18;
/// Each change of the code is one redeployment of every one of them.
const AGENTS: [&str; 10] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
];

/// Hands every agent a key, until it is stored.
async fn hand_in(sim: &mut Sim, value: &str) -> bool {
    for agent in AGENTS {
        if !hand_to(sim, agent, value).await {
            return false;
        }
    }
    sim.handed_in.insert(KEY.to_owned(), value.to_owned());
    true
}

async fn hand_to(sim: &Sim, agent: &str, value: &str) -> bool {
    let begun = sim.elapsed();
    while sim.elapsed() < begun + BOUND {
        let writer = sim.processes[0].daemon.secret_writer();
        let key = KeyName::parse(KEY).expect("a key's name");
        let keys = vec![(key, SecretValue::new(value.to_owned()))];
        match writer.set_keys(sim.get(agent).await.agent.id, keys).await {
            Ok(_) => return true,
            // Where a permission was missing, somebody has seen to it and tries again.
            Err(error) => sleep(error.retry_after().unwrap_or(Duration::from_secs(60))).await,
        }
    }
    false
}

/// Waits until a list has shown every Worker as we wrote it: an edit before that is taken for a write of ours.
async fn listed(sim: &Sim) {
    let based = async |sim: &Sim| {
        for agent in AGENTS {
            let found = sim.get(agent).await;
            let worker = found.resource(ResourceKind::Worker);
            if worker.is_none_or(|r| r.observed_hash.is_none()) {
                return false;
            }
        }
        true
    };
    sleep(Duration::from_secs_f64(2.0 * sim.config.resync_seconds)).await;
    sim.until(BOUND, based).await;
}

async fn restart(sim: &mut Sim, gently: bool) {
    while let Some(process) = sim.processes.pop() {
        match gently {
            true => process.stop().await,
            false => process.crash().await,
        }
    }
    sim.start(Seat::default());
}

/// Waits until everything is as it should be; looks seldom, because a look is dear.
async fn comes_right(sim: &Sim) -> bool {
    let begun = sim.elapsed();
    while sim.elapsed() < begun + BOUND {
        sleep(Duration::from_secs(60)).await;
        if sim.wrong().await.is_empty() {
            return true;
        }
    }
    false
}

/// Somebody uploads something else: it is repaired by another upload.
fn edit(sim: &Sim) {
    sim.account.outside("the Worker is edited", |world, now| {
        for worker in world.now.workers.values_mut() {
            worker.etag = format!("edited-{now}");
            worker.texts.clear();
            worker.modified_on = now;
        }
    });
}

/// What went wrong, and how often something was deployed over something.
fn play(seed: u64) -> (Vec<String>, u64) {
    history(async {
        let mut dice = Dice::new(seed ^ 0x5ec2_e700);
        let mut sim = Sim::new(seed).await;
        sim.weather(Sim::calm());
        sim.secrets.set(OPENAI, "sk-openai-by-reference");
        let mut spec = Sim::spec();
        let by_reference = (Provider("openai".to_owned()), SecretRef(OPENAI.to_owned()));
        spec.api_key_refs = [by_reference].into();
        for agent in AGENTS {
            sim.apply(agent, &spec).await;
        }
        sim.start(Seat::default());
        sleep(Duration::from_secs(60)).await;
        if !hand_in(&mut sim, "sk-first").await {
            return (vec!["the first key was never stored".to_owned()], 0);
        }
        sim.steady().await;
        let forgets = "from now on it forgets what is not listed";
        sim.account.outside(forgets, |world, _| {
            world.forgetful = true;
            world.redeployed = 0;
        });
        for n in 0..CHANGES {
            sim.weather(Weather {
                writes: *dice.pick(&[0, 100, 400]),
                reads: *dice.pick(&[0, 50]),
                lag: Duration::from_secs(*dice.pick(&[0, 5, 20])),
                budget: 8,
                ..Weather::default()
            });
            match dice.range(0..8) {
                0 => {
                    listed(&sim).await;
                    edit(&sim);
                }
                1 => {
                    let value = format!("sk-rotated-{n}");
                    if !hand_in(&mut sim, &value).await {
                        return (vec![format!("{value} was never stored")], 0);
                    }
                }
                _ => {
                    let code = format!("export default {{}}; // {n}");
                    sim.bundle = Bundle::from_source("next", &code);
                    restart(&mut sim, dice.permille(500)).await;
                }
            }
            sleep(Duration::from_millis(dice.range(10..90_000))).await;
            if dice.permille(200) {
                restart(&mut sim, false).await;
            }
            sim.weather(Sim::calm());
            if !comes_right(&sim).await {
                break;
            }
        }
        let mut wrong = sim.settle(BOUND).await;
        let state = sim.account.state();
        let lost = state.world.lost_keys.iter();
        wrong.extend(lost.map(|key| format!("lost in an upload: {key}")));
        (wrong, state.world.redeployed)
    })
}

#[test]
fn a_thousand_redeployments_lose_no_key() {
    let redeployed = Mutex::new(0);
    let seeds: Vec<u64> = (0..HISTORIES).collect();
    let broken = every(&seeds, |seed| {
        let (wrong, many) = play(*seed);
        *redeployed.lock().unwrap_or_else(PoisonError::into_inner) += many;
        wrong
    });
    let redeployed = redeployed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    println!("{redeployed} redeployments");
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(redeployed >= 1_000, "only {redeployed} redeployments");
}
