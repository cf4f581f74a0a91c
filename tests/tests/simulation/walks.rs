//! Random histories. `TALON_SIM_SEEDS=100000` plays more of them; a failure prints the command that plays it again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use talon_tests::simulation::script::every;
use talon_tests::simulation::walk::walk;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays one history again: `TALON_SIM_SEED=7 TALON_SIM_TRACE=1 cargo test -p talon-tests --test simulation -- one_seed`.
#[test]
fn one_seed() {
    let walked = walk(number("TALON_SIM_SEED").unwrap_or(1));
    if !walked.wrong.is_empty() {
        println!("{}", walked.story.join("\n"));
    }
    assert!(walked.wrong.is_empty(), "{}", walked.wrong.join("\n"));
}

#[test]
fn a_seed_is_one_history() {
    for seed in 40..60 {
        let (first, second) = (walk(seed), walk(seed));
        assert_eq!(first.length, second.length, "seed {seed}");
        assert_eq!(first.fired, second.fired, "seed {seed}");
    }
}

/// Those that once ended otherwise.
#[test]
fn histories_that_were_broken_come_right() {
    let seeds = [91, 2_000_320];
    let broken = every(&seeds, |seed| walk(*seed).wrong);
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn random_histories_come_right_when_faults_end() {
    let first = number("TALON_SIM_FROM").unwrap_or(1);
    let many = number("TALON_SIM_SEEDS").unwrap_or(200);
    let seeds: Vec<u64> = (first..first + many).collect();
    let fired: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let broken = every(&seeds, |seed| {
        let walked = walk(*seed);
        let mut all = fired.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, times) in walked.fired {
            *all.entry(what).or_default() += times;
        }
        walked.wrong
    });
    let fired = fired.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{many} histories; faults: {fired:#?}");
    let text: Vec<String> = broken
        .iter()
        .map(|(seed, wrong)| {
            format!(
                "seed {seed}: TALON_SIM_SEED={seed} TALON_SIM_TRACE=1 cargo test -p talon-tests --test simulation -- one_seed\n  {}",
                wrong.join("\n  ")
            )
        })
        .collect();
    let n = broken.len();
    assert!(
        broken.is_empty(),
        "{n} of {many} broken:\n{}",
        text.join("\n")
    );
    for what in [
        "LostBefore",
        "LostAfter",
        "LandsLate",
        "Doubled",
        "Throttled(300)",
        "Forbidden",
        "AckLost",
        "Away",
        "a process died at a call",
        "a process was frozen",
        "a write of a stale epoch was refused",
        "the database is away",
    ] {
        assert!(fired.contains_key(what), "O11: {what} never happened");
    }
}
