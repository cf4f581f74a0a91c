//! Lost answers, refusals and late landings: one fault at every call of every history, then pairs of them.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use proptest::prelude::*;

use crate::scenario::{self, Scenario};
use crate::stage::{Fault, Stage};

const SETTLED: Duration = Duration::from_secs(90);

fn faults() -> Vec<Fault> {
    let late = |s| Fault::Late(Duration::from_secs(s));
    vec![
        Fault::LostNotDone,
        Fault::LostDone,
        late(33),
        late(60),
        late(89),
        late(95),
        late(140),
        late(400),
        Fault::Refused,
        Fault::Throttled,
        Fault::Twice,
    ]
}

/// A secrets call or a roll carries no mark that a list would show: beyond the time that a request may take to land,
/// nobody can tell that it did. Everything else is found whenever it lands.
fn assumed(fault: Fault, call: &str) -> bool {
    !matches!(fault, Fault::Late(after) if after > SETTLED && matches!(call, "push-secrets" | "roll-token"))
}

fn clean_run(scenario: &Scenario) -> Stage {
    let mut stage = scenario.stage.clone();
    stage.converge();
    scenario.assert_reached(&mut stage.clone());
    stage
}

fn run(scenario: &Scenario, faults: &[(usize, Fault)]) -> Stage {
    let mut stage = scenario.stage.clone();
    let base = stage.calls.len();
    stage.faults = faults.iter().map(|(i, f)| (base + i, *f)).collect();
    stage.converge();
    stage
}

/// What is wrong after a history with these faults, each of which must have happened.
fn check(scenario: &Scenario, faults: &[(usize, Fault)]) -> Option<String> {
    caught(scenario, faults, |stage| {
        assert_eq!(stage.fired, faults.len(), "O11: the faults really fired")
    })
}

/// As [`check`], but faults may lie beyond the end of the history.
fn check_any(scenario: &Scenario, faults: &[(usize, Fault)]) -> Option<String> {
    caught(scenario, faults, |_| ())
}

fn caught(scenario: &Scenario, faults: &[(usize, Fault)], also: impl Fn(&Stage)) -> Option<String> {
    let broken = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut stage = run(scenario, faults);
        let called = &stage.calls;
        if !faults
            .iter()
            .all(|(i, f)| called.get(*i).is_none_or(|c| assumed(*f, c)))
        {
            return;
        }
        also(&stage);
        scenario.assert_reached(&mut stage);
    }));
    broken
        .err()
        .map(|e| format!("{} {faults:?}: {}", scenario.name, message(&e)))
}

/// The beginning of a panic's message.
pub fn message(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    text.chars().take(400).collect()
}

#[test]
fn every_single_fault_at_every_call_heals() {
    let mut broken = Vec::new();
    for scenario in scenario::all() {
        let clean = clean_run(&scenario);
        for index in 0..clean.calls.len() {
            for fault in faults() {
                broken.extend(check(&scenario, &[(index, fault)]));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "{} broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

/// Worlds that differ in what Cloudflare leaves open: lists that lag, fresh Workers listed without tags, an address
/// that counts as a modification.
fn worlds() -> impl Iterator<Item = (Duration, Duration, bool)> {
    let seconds = Duration::from_secs;
    [(0, 0, false), (29, 0, false), (0, 59, true), (20, 45, true)]
        .into_iter()
        .map(move |(lag, tagless, touches)| (seconds(lag), seconds(tagless), touches))
}

fn in_world(
    mut scenario: Scenario,
    (lag, tagless, touches): (Duration, Duration, bool),
) -> Scenario {
    let stage = &mut scenario.stage;
    (
        stage.lag,
        stage.reality.tagless,
        stage.reality.route_touches,
    ) = (lag, tagless, touches);
    stage.reality.repeats_migrations = touches;
    scenario
}

#[test]
fn every_single_fault_heals_with_lists_that_lag_and_workers_without_tags() {
    let mut broken = Vec::new();
    for world in worlds().skip(1) {
        for scenario in scenario::all() {
            let scenario = in_world(scenario, world);
            let clean = clean_run(&scenario);
            for index in 0..clean.calls.len() {
                for fault in faults() {
                    broken.extend(
                        check(&scenario, &[(index, fault)]).map(|b| format!("{world:?} {b}")),
                    );
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "{} broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn every_single_fault_heals_with_a_hub_that_tells_who_registered() {
    let mut broken = Vec::new();
    for world in worlds() {
        for scenario in scenario::all() {
            let mut scenario = in_world(scenario, world);
            scenario.stage.hub = true;
            let clean = clean_run(&scenario);
            for index in 0..clean.calls.len() {
                for fault in faults() {
                    broken.extend(
                        check(&scenario, &[(index, fault)]).map(|b| format!("{world:?} {b}")),
                    );
                }
            }
        }
    }
    assert!(
        broken.is_empty(),
        "{} broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_faults_in_any_history_heal(
        which in any::<prop::sample::Index>(),
        world in any::<prop::sample::Index>(),
        hub in any::<bool>(),
        picks in prop::collection::vec((0usize..8, any::<prop::sample::Index>()), 2..5),
    ) {
        let scenarios = scenario::all();
        let index = which.index(scenarios.len());
        let scenario = scenarios.into_iter().nth(index).unwrap();
        let mut scenario = in_world(scenario, worlds().nth(world.index(4)).unwrap());
        scenario.stage.hub = hub;
        let faults: Vec<_> = picks.iter().map(|(i, f)| (*i, *f.get(&faults()))).collect();
        let broken = check_any(&scenario, &faults);
        prop_assert!(broken.is_none(), "{}", broken.unwrap());
    }
}
