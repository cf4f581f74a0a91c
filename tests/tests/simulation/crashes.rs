//! A process dies at every effect and at every write to the database, before, during and after it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use talon_tests::simulation::faults::CallFault;
use talon_tests::simulation::script::{Change, Outcome, every, freeze, play};
use talon_tests::simulation::seat::{Crash, Moment};

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::InFlight, Moment::After];
const PAUSE: Duration = Duration::from_secs(3);

fn clean(change: Change) -> Outcome {
    let outcome = play(change, 1, &[], PAUSE, &[]);
    assert!(outcome.wrong.is_empty(), "{change:?}: {:#?}", outcome.wrong);
    outcome
}

/// A share of the jobs that grows with `TALON_SIM_SEEDS`; all of them from a thousand on.
fn sample<J: Clone>(jobs: &[J], most: usize) -> Vec<J> {
    let seeds = std::env::var("TALON_SIM_SEEDS").ok();
    let all = seeds.and_then(|s| s.parse().ok()).unwrap_or(0u64) >= 1_000;
    let step = if all {
        1
    } else {
        jobs.len().div_ceil(most).max(1)
    };
    jobs.iter().step_by(step).cloned().collect()
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

#[test]
fn t1_a_crash_anywhere_leaks_nothing_doubles_nothing_and_sticks_nowhere() {
    let mut jobs = Vec::new();
    for change in Change::ALL {
        let clean = clean(change);
        println!(
            "{change:?}: {} points, {} calls {:?}",
            clean.points, clean.calls, clean.writes
        );
        for at in 0..clean.points {
            jobs.extend(MOMENTS.map(|moment| (change, clean.calls, Crash { at, moment })));
        }
    }
    let broken = every(&jobs, |(change, calls, crash)| {
        let mut outcome = play(*change, 1, &[*crash], PAUSE, &[]);
        if outcome.died != 1 {
            outcome.wrong.push("O11: nothing died".to_owned());
        }
        if outcome.calls > calls + 4 {
            outcome.wrong.push(format!(
                "O5: {} calls, {calls} without a crash: {:?}",
                outcome.calls, outcome.writes
            ));
        }
        outcome.wrong
    });
    tell(&broken, jobs.len());
}

#[test]
fn t2_two_crashes_in_a_row_do_no_more_harm_than_one() {
    let mut pairs = Vec::new();
    for change in [Change::Create, Change::Delete, Change::WorkerGone] {
        let points = clean(change).points;
        for first in 0..points {
            for second in 0..points {
                for a in MOMENTS {
                    for b in MOMENTS {
                        let crashes = [(first, a), (second, b)];
                        pairs.push((change, crashes.map(|(at, moment)| Crash { at, moment })));
                    }
                }
            }
        }
    }
    // A step that is coprime to the inner loops visits every point and moment.
    let jobs = sample(&pairs, 150);
    println!("{} of {} pairs", jobs.len(), pairs.len());
    let broken = every(&jobs, |(change, crashes)| {
        play(*change, 1, crashes, PAUSE, &[]).wrong
    });
    tell(&broken, jobs.len());
}

/// T3, T4: every call is delivered twice, or its answer is lost before or after it was carried out, or it lands late.
#[test]
fn t3_t4_every_call_doubled_lost_or_late() {
    let mut jobs = Vec::new();
    for change in Change::ALL {
        for operation in clean(change).writes.into_keys() {
            let faults = [
                CallFault::Doubled,
                CallFault::LostBefore,
                CallFault::LostAfter,
                CallFault::LandsLate,
                CallFault::Throttled(300),
            ];
            jobs.extend(faults.map(|fault| (change, operation, fault)));
        }
    }
    let broken = every(&jobs, |(change, operation, fault)| {
        play(*change, 3, &[], PAUSE, &[(*operation, *fault)]).wrong
    });
    tell(&broken, jobs.len());
}

#[test]
fn t8_a_holder_frozen_beyond_its_lease_does_no_harm_when_it_goes_on() {
    let mut jobs = Vec::new();
    for change in Change::ALL {
        jobs.extend((0..clean(change).points).map(|at| (change, at)));
    }
    let (stale, frozen) = (AtomicU64::new(0), AtomicU64::new(0));
    let broken = every(&jobs, |(change, at)| {
        let outcome = freeze(*change, 1, *at);
        stale.fetch_add(outcome.points, Ordering::Relaxed);
        frozen.fetch_add(outcome.died as u64, Ordering::Relaxed);
        outcome.wrong
    });
    tell(&broken, jobs.len());
    let (stale, frozen) = (stale.into_inner(), frozen.into_inner());
    println!("{frozen} freezes, {stale} stale writes, all refused");
    let most = jobs.len() as u64 * 9 / 10;
    assert!(
        frozen >= most && stale > 0,
        "O11: {frozen} of {} froze",
        jobs.len()
    );
}

/// T20: the process dies between the token and its use; its value is lost with it.
#[test]
fn t20_a_token_whose_value_was_lost_is_rolled_once() {
    let mut rolled = 0;
    for at in 0..clean(Change::Create).points {
        for moment in MOMENTS {
            let outcome = play(Change::Create, 1, &[Crash { at, moment }], PAUSE, &[]);
            let count = |operation| outcome.writes.get(operation).copied().unwrap_or(0);
            assert!(
                count("roll_token") <= 1 && count("create_token") <= 2,
                "{outcome:?}"
            );
            assert!(outcome.wrong.is_empty(), "{:#?}", outcome.wrong);
            rolled += count("roll_token");
        }
    }
    assert!(rolled > 0, "O11: no crash ever lost a value");
}
