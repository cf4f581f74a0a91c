//! The process dies between any two instructions: before a commit, before a call, between a call and its record. The
//! call it was about to make may be on its way all the same.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::lost::message;
use crate::scenario::{self, Scenario};
use crate::stage::{CrashAt, Stage};

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn instructions(scenario: &Scenario) -> usize {
    let mut stage = scenario.stage.clone();
    let before = stage.instructions;
    stage.converge();
    stage.instructions - before
}

fn run(scenario: &Scenario, crash: CrashAt) -> Option<String> {
    let broken = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut stage: Stage = scenario.stage.clone();
        stage.crash = Some(CrashAt {
            instruction: stage.instructions + crash.instruction,
            ..crash
        });
        stage.converge();
        assert!(stage.crash.is_none(), "O11: the crash happened");
        scenario.assert_reached(&mut stage);
    }));
    broken
        .err()
        .map(|e| format!("{} {crash:?}: {}", scenario.name, message(&e)))
}

#[test]
fn a_crash_at_any_instruction_leaks_nothing_and_sticks_nowhere() {
    let mut broken = Vec::new();
    for scenario in scenario::all() {
        for instruction in 1..=instructions(&scenario) {
            for pause in [0, 20, 200].map(seconds) {
                for flight in [None, Some(seconds(10)), Some(seconds(80))] {
                    broken.extend(run(
                        &scenario,
                        CrashAt {
                            instruction,
                            flight,
                            pause,
                        },
                    ));
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
fn a_crash_heals_with_lists_that_lag_and_workers_without_tags() {
    let mut broken = Vec::new();
    for mut scenario in scenario::all() {
        scenario.stage.lag = seconds(29);
        scenario.stage.reality.tagless = seconds(50);
        for instruction in 1..=instructions(&scenario) {
            for flight in [None, Some(seconds(70))] {
                broken.extend(run(
                    &scenario,
                    CrashAt {
                        instruction,
                        flight,
                        pause: seconds(5),
                    },
                ));
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
