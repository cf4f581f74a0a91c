//! People change who an agent is while it is being deployed, without a pause: either the change comes in time and is what
//! is deployed, or it is refused; and what is recorded is what runs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use talon_tests::simulation::dice::Dice;
use talon_tests::simulation::faults::Weather;
use talon_tests::simulation::script::{AGENT, BOUND, every, history};
use talon_tests::simulation::seat::{Crash, Moment, Seat};
use talon_tests::simulation::stage::Sim;
use tokio::time::sleep;

const HISTORIES: u64 = 150;

#[derive(Debug, Default, Clone, Copy)]
struct Edits {
    taken: u64,
    refused: u64,
    /// Taken when something was uploaded, or about to be.
    late: u64,
}

fn play(seed: u64) -> (Vec<String>, Edits) {
    history(async {
        let mut dice = Dice::new(seed ^ 0x1a7c_4000);
        let mut sim = Sim::new(seed).await;
        sim.weather(Weather {
            writes: *dice.pick(&[0, 50, 200]),
            database: *dice.pick(&[0, 0, 20]),
            lag: Duration::from_secs(*dice.pick(&[0, 5, 20])),
            budget: 10,
            ..Weather::default()
        });
        let mut spec = Sim::spec();
        sim.apply(AGENT, &spec).await;
        let doomed = dice.permille(300).then(|| Crash {
            at: dice.range(0..30),
            moment: *dice.pick(&[Moment::Before, Moment::InFlight, Moment::After]),
        });
        sim.start(doomed.map_or_else(Seat::default, Seat::doomed));
        let (mut edits, mut last) = (Edits::default(), None);
        for n in 0..dice.range(5..60) {
            let wait = *dice.pick(&[0, 1, 20, 150, 900, 4_000]);
            sleep(Duration::from_millis(wait)).await;
            if sim.processes[0].seat.is_dead() {
                sim.crash(0).await;
                sim.start(Seat::default());
            }
            let mut wanted = spec.clone();
            match dice.range(0..3) {
                0 => wanted.persona = format!("You are number {n}."),
                1 => wanted.instructions = format!("Do what number {n} does."),
                _ => {
                    wanted.persona = format!("You are the pair {n}.");
                    wanted.instructions = format!("Do what the pair {n} does.");
                }
            }
            let uploaded = !sim.account.state().world.now.workers.is_empty();
            if sim.apply(AGENT, &wanted).await {
                edits.taken += 1;
                edits.late += u64::from(uploaded);
                spec = wanted;
            } else {
                edits.refused += 1;
                last.get_or_insert_with(|| spec.clone());
            }
        }
        if doomed.is_some() {
            // It may die yet; whoever comes next lives.
            sim.crash(0).await;
            sim.start(Seat::default());
        }
        let mut wrong = sim.settle(BOUND).await;
        let agent = sim.get(AGENT).await.agent;
        if (&agent.spec.persona, &agent.spec.instructions) != (&spec.persona, &spec.instructions) {
            wrong.push("the last change that was taken is not what is deployed".to_owned());
        }
        if last.is_some_and(|last| last != spec) {
            wrong.push("a change was taken after one was refused".to_owned());
        }
        (wrong, edits)
    })
}

#[test]
fn who_an_agent_is_changes_before_it_is_deployed_or_never() {
    let sum = Mutex::new(Edits::default());
    let seeds: Vec<u64> = (0..HISTORIES).collect();
    let broken = every(&seeds, |seed| {
        let (wrong, edits) = play(*seed);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.taken += edits.taken;
        sum.refused += edits.refused;
        sum.late += edits.late;
        wrong
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{sum:?}");
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(
        sum.refused > HISTORIES && sum.taken > HISTORIES && sum.late > HISTORIES / 4,
        "O11: the race was not close: {sum:?}"
    );
}
