//! Lost answers, refusals and late landings: one fault at every call of every history, then pairs of them.

use std::time::Duration;

use crate::scenario::{self, Goal, Scenario};
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

fn check(scenario: &Scenario, faults: &[(usize, Fault)]) -> Option<String> {
    let broken = std::panic::catch_unwind(|| {
        let mut stage = run(scenario, faults);
        let called = &stage.calls;
        if !faults
            .iter()
            .all(|(i, f)| called.get(*i).is_some_and(|c| assumed(*f, c)))
        {
            return;
        }
        assert!(stage.fired > 0);
        scenario.assert_reached(&mut stage);
    });
    let text = |e: Box<dyn std::any::Any + Send>| {
        e.downcast_ref::<String>()
            .cloned()
            .or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default()
    };
    broken.err().map(|e| {
        let message: String = text(e).chars().take(400).collect();
        format!("{} {faults:?}: {message}", scenario.name)
    })
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
