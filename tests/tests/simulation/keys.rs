//! Keys handed in over HTTP while processes die, answers get lost and Workers vanish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use talon_core::secret::SecretValue;
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter, ValueStored};
use talon_tests::simulation::faults::CallFault;
use talon_tests::simulation::script::{AGENT, BOUND, every, history};
use talon_tests::simulation::seat::{Crash, Moment, Seat};
use talon_tests::simulation::stage::Sim;
use tokio::time::sleep;

const KEY: &str = "ANTHROPIC_API_KEY";
const MOMENTS: [Moment; 3] = [Moment::Before, Moment::InFlight, Moment::After];

/// What is handed in, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The first key of an agent that waits for it.
    First,
    /// Another key of an agent that runs.
    Another,
    /// The key again, of an agent whose Worker was deleted with it.
    WorkerGone,
}

const CASES: [Case; 3] = [Case::First, Case::Another, Case::WorkerGone];

#[derive(Debug, Default)]
struct Outcome {
    wrong: Vec<String>,
    points: u64,
    died: bool,
    first: Option<Result<(), ValueStored>>,
    there: bool,
    writes: BTreeMap<&'static str, u64>,
}

fn writer(sim: &Sim) -> Arc<dyn SecretWriter> {
    sim.processes[0].daemon.secret_writer()
}

async fn hand_in(sim: &Sim, value: &'static str) -> Result<(), SecretWriteError> {
    let key = KeyName::parse(KEY).expect("a key's name");
    let keys = vec![(key, SecretValue::new(value.to_owned()))];
    writer(sim)
        .set_keys(sim.get(AGENT).await.agent.id, keys)
        .await
        .map(drop)
}

/// Does it again until it is done, as a client would.
async fn at_last(sim: &Sim, value: &'static str) -> bool {
    let begun = sim.elapsed();
    while sim.elapsed() < begun + BOUND {
        match hand_in(sim, value).await {
            Ok(()) => return true,
            Err(error) => match error.retry_after() {
                Some(after) => sleep(after).await,
                None => return false,
            },
        }
    }
    false
}

fn worker_has(sim: &Sim, value: &str) -> bool {
    let state = sim.account.state();
    let mut workers = state.world.now.workers.values();
    workers.any(|w| w.secrets.get(KEY).is_some_and(|v| v == value))
}

async fn stage(case: Case) -> Sim {
    let mut sim = Sim::new(21).await;
    sim.weather(Sim::calm());
    let mut spec = Sim::spec();
    spec.api_key_refs.clear();
    sim.apply(AGENT, &spec).await;
    sim.start(Seat::default());
    sleep(Duration::from_secs(60)).await;
    if case != Case::First {
        assert!(at_last(&sim, "sk-of-before").await, "the first key");
        sim.handed_in
            .insert(KEY.to_owned(), "sk-of-before".to_owned());
        sim.steady().await;
        sleep(Duration::from_secs(400)).await;
        sim.steady().await;
    }
    if case == Case::WorkerGone {
        sim.account
            .outside("the Worker goes", |w, _| w.now.workers.clear());
        // Until the daemon has noticed.
        sleep(Duration::from_secs(700)).await;
    }
    while let Some(process) = sim.processes.pop() {
        process.stop().await;
    }
    sim.account.state().writes.clear();
    sim
}

fn play(case: Case, crash: Option<Crash>, fault: Option<(&'static str, CallFault)>) -> Outcome {
    history(async {
        let mut outcome = Outcome::default();
        let mut sim = stage(case).await;
        if let Some((operation, fault)) = fault {
            let mut state = sim.account.state();
            state.faults.armed.entry(operation).or_default().push(fault);
        }
        sim.start(crash.map_or_else(Seat::default, Seat::doomed));
        let seat = sim.processes[0].seat.clone();
        let first = tokio::select! {
            biased;
            () = seat.died() => None,
            answer = hand_in(&sim, "sk-new") => Some(answer),
        };
        outcome.points = seat.calls();
        outcome.first = first
            .as_ref()
            .map(|a| a.as_ref().copied().map_err(SecretWriteError::value_stored));
        outcome.there = worker_has(&sim, "sk-new");
        if first.is_none() {
            outcome.died = true;
            sim.crash(0).await;
            sleep(Duration::from_secs(3)).await;
            sim.start(Seat::default());
        }
        if !at_last(&sim, "sk-new").await {
            outcome.wrong.push("never stored".to_owned());
        }
        sim.handed_in.insert(KEY.to_owned(), "sk-new".to_owned());
        outcome.wrong.extend(sim.settle(BOUND).await);
        outcome.writes.clone_from(&sim.account.state().writes);
        outcome
    })
}

fn tell(broken: &[(impl std::fmt::Debug, Vec<String>)], of: usize) {
    let text: Vec<String> = broken
        .iter()
        .take(5)
        .map(|(job, wrong)| format!("{job:?}\n  {}", wrong.join("\n  ")))
        .collect();
    let n = broken.len();
    assert!(
        broken.is_empty(),
        "{n} of {of} broken:\n{}",
        text.join("\n")
    );
}

/// T21: the client knows, or finds out by asking again; the key is there once, and the agent runs with it.
#[test]
fn t21_a_handler_that_dies_anywhere_can_be_asked_again() {
    let mut jobs = Vec::new();
    for case in CASES {
        let clean = play(case, None, None);
        assert!(clean.wrong.is_empty(), "{case:?}: {:#?}", clean.wrong);
        assert_eq!(clean.first, Some(Ok(())), "{case:?}");
        println!("{case:?}: {} points, {:?}", clean.points, clean.writes);
        for at in 0..clean.points {
            jobs.extend(MOMENTS.map(|moment| (case, Crash { at, moment })));
        }
    }
    let broken = every(&jobs, |(case, crash)| {
        let mut outcome = play(*case, Some(*crash), None);
        if !outcome.died && outcome.first != Some(Ok(())) {
            outcome.wrong.push(format!("O11: {:?}", outcome.first));
        }
        outcome.wrong
    });
    println!("{} crashes", jobs.len());
    tell(&broken, jobs.len());
}

/// T22: what a client is told of a value is true.
#[test]
fn t22_what_is_said_of_a_value_is_so() {
    let mut jobs = Vec::new();
    for case in CASES {
        for operation in ["upload", "push"] {
            let faults = [
                CallFault::Doubled,
                CallFault::LostBefore,
                CallFault::LostAfter,
                CallFault::LandsLate,
                CallFault::Throttled(30),
                CallFault::Forbidden,
            ];
            jobs.extend(faults.map(|fault| (case, operation, fault)));
        }
    }
    let broken = every(&jobs, |(case, operation, fault)| {
        let mut outcome = play(*case, None, Some((operation, *fault)));
        let says = outcome.first;
        let lies = match says {
            Some(Ok(())) => !outcome.there,
            Some(Err(ValueStored::No)) => outcome.there,
            Some(Err(ValueStored::Unknown)) => false,
            None => true,
        };
        if lies {
            let there = outcome.there;
            outcome.wrong.push(format!("said {says:?}, there: {there}"));
        }
        outcome.wrong
    });
    tell(&broken, jobs.len());
}

/// T23: a key that was to be taken away is gone in the end, and is not said to be on its way for ever, though nobody asks
/// again and without it everything else waits.
#[test]
fn t23_taking_away_ends_whatever_becomes_of_the_answer() {
    let faults = [
        CallFault::LostBefore,
        CallFault::LostAfter,
        CallFault::LandsLate,
    ];
    let broken = every(&faults, |fault| {
        history(async {
            let mut sim = stage(Case::Another).await;
            sim.handed_in.clear();
            {
                let mut state = sim.account.state();
                state.faults.armed.entry("push").or_default().push(*fault);
            }
            sim.start(Seat::default());
            let key = KeyName::parse(KEY).expect("a key's name");
            let agent = sim.get(AGENT).await.agent.id;
            let asked = writer(&sim).unset_key(agent, &key).await;
            let mut wrong = Vec::new();
            if asked.as_ref().map_err(SecretWriteError::value_stored) != Err(ValueStored::Unknown) {
                wrong.push(format!("said {asked:?}"));
            }
            let over = async |s: &Sim| s.get(AGENT).await.secret(KEY).is_none();
            if !sim.until(BOUND, over).await {
                wrong.push(format!("{:?}", sim.get(AGENT).await.secret(KEY)));
            }
            if worker_has(&sim, "sk-of-before") {
                wrong.push("it is still on the Worker".to_owned());
            }
            wrong
        })
    });
    tell(&broken, faults.len());
}
