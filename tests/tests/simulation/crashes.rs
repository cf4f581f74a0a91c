//! A process dies at every effect and at every write to the database, before, during and after it.

use std::time::Duration;

use talon_tests::simulation::script::{Change, Outcome, every, play};
use talon_tests::simulation::seat::{Crash, Moment};

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::InFlight, Moment::After];
const PAUSE: Duration = Duration::from_secs(3);

fn clean(change: Change) -> Outcome {
    let outcome = play(change, 1, &[], PAUSE, &[]);
    assert!(outcome.wrong.is_empty(), "{change:?}: {:#?}", outcome.wrong);
    outcome
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
        let mut outcome = play(*change, 1 + crash.at, &[*crash], PAUSE, &[]);
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
