//! Random walks: one agent through many changes of its row and its world, with faults and deaths on the way, until it
//! is deleted. After each step everything is as the row says; no step needs a person.

use std::time::Duration;

use proptest::prelude::*;

use crate::fixture::{assert_deployed, assert_gone, new_agent, refs, settle};
use crate::stage::{CrashAt, Fault, Stage};

#[derive(Debug, Clone, Copy)]
enum Change {
    Model(bool),
    Provider(bool),
    Name(u8),
    Bundle(u8),
    Version,
    Key(u8),
    LoseWorker,
    LoseBucket,
    LoseToken,
    LoseCard,
    EditCode,
    TouchWorker,
    SecondToken,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<bool>().prop_map(Change::Model),
        any::<bool>().prop_map(Change::Provider),
        any::<u8>().prop_map(Change::Name),
        any::<u8>().prop_map(Change::Bundle),
        Just(Change::Version),
        any::<u8>().prop_map(Change::Key),
        Just(Change::LoseWorker),
        Just(Change::LoseBucket),
        Just(Change::LoseToken),
        Just(Change::LoseCard),
        Just(Change::EditCode),
        Just(Change::TouchWorker),
        Just(Change::SecondToken),
    ]
}

fn apply(stage: &mut Stage, change: Change) {
    let names = stage.names();
    match change {
        Change::Model(a) => stage.edit(|s| {
            let provider = s.model.split('/').next().unwrap_or_default().to_owned();
            s.model = format!("{provider}/{}", if a { "large" } else { "small" });
        }),
        Change::Provider(openai) => stage.edit(|s| {
            let name = if openai { "openai" } else { "anthropic" };
            s.api_key_refs = refs(&[(name, "env:TALON_SECRET_X")]);
            s.model = format!("{name}/large");
        }),
        Change::Name(n) => stage.edit(|s| s.display_name = Some(format!("Agent {n}"))),
        Change::Bundle(n) => stage.world.bundle.sha256 = format!("{n:064x}"),
        Change::Version => stage.edit(|s| s.secrets_version += 1),
        Change::Key(n) => {
            for name in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"] {
                stage.keys.insert(name.to_owned(), Ok(format!("value {n}")));
            }
        }
        Change::LoseWorker => stage.outside(|r, _| r.lose_worker(&names.worker)),
        Change::LoseBucket => stage.outside(|r, _| r.lose_bucket(&names.bucket)),
        Change::LoseToken => stage.outside(|r, _| r.tokens.retain(|t| t.name != names.token)),
        Change::LoseCard => stage.outside(|r, _| r.card = None),
        Change::EditCode | Change::TouchWorker => stage.outside(|r, now| {
            if let Some(worker) = r.workers.get_mut(&names.worker) {
                worker.modified_on = now;
                if matches!(change, Change::EditCode) {
                    worker.content = "export default {}".to_owned();
                }
            }
        }),
        Change::SecondToken => stage.outside(|r, now| {
            let id = r.fresh("stray");
            let (name, value) = (names.token.clone(), "v".to_owned());
            r.tokens.push(crate::reality::Token {
                id,
                name,
                value,
                issued: now,
            });
        }),
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::LostNotDone,
        Fault::LostDone,
        Fault::Late(Duration::from_secs(45)),
        Fault::Late(Duration::from_secs(85)),
        Fault::Refused,
        Fault::Throttled,
        Fault::Twice,
    ])
}

type Step = (Vec<Change>, Option<(usize, Fault)>, Option<usize>, bool);

fn step() -> impl Strategy<Value = Step> {
    let changes = prop::collection::vec(change(), 1..4);
    (
        changes,
        prop::option::of((0usize..4, fault())),
        prop::option::weighted(0.3, 1usize..9),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_agent_follows_every_change_until_it_is_gone(
        steps in prop::collection::vec(step(), 1..7),
        lag in 0u64..30,
        touches in any::<bool>(),
    ) {
        let mut stage = new_agent();
        stage.lag = Duration::from_secs(lag);
        (stage.reality.route_touches, stage.reality.repeats_migrations) = (touches, touches);
        for (changes, fault, crash, wait) in steps {
            for change in changes {
                // Before the baseline is taken, or behind a secrets call of our own, an edit that keeps the tags cannot be
                // told from what we did ourselves.
                let edits = matches!(change, Change::EditCode);
                if edits {
                    settle(&mut stage);
                }
                apply(&mut stage, change);
                if edits {
                    stage.resync();
                    stage.converge();
                }
            }
            if wait {
                stage.resync();
            }
            let calls = stage.calls.len();
            stage.faults = fault.into_iter().map(|(i, f)| (calls + i, f)).collect();
            stage.crash = crash.map(|i| CrashAt {
                instruction: stage.instructions + i,
                flight: None,
                pause: Duration::from_secs(10),
            });
            stage.converge();
            stage.crash = None;
            stage.faults.clear();
            settle(&mut stage);
            assert_deployed(&mut stage);
        }
        stage.delete();
        stage.converge();
        assert_gone(&mut stage);
    }
}
