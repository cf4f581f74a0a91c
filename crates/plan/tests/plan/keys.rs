//! Keys handed in over HTTP: written through, never stored, never lost sight of.

use std::time::Duration;

use talon_core::Snapshot;
use talon_core::condition::{ConditionType, Reason};
use talon_core::event::EventReason;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};
use talon_plan::keys::{Ask, Fate, NewKey, Refusal, fate, plan, put_back};
use talon_plan::{Held, HeldScope, Input};

use crate::fixture::{assert_deployed, new_agent, refs, settle};
use crate::reality::sha;
use crate::stage::{CrashAt, Crashed, End, Fault, Stage};

const KEY: &str = "ANTHROPIC_API_KEY";
const OTHER: &str = "OPENAI_API_KEY";

fn ask(keys: &[(&str, &str)]) -> Ask {
    let new = |(name, value): &(&str, &str)| NewKey {
        name: (*name).to_owned(),
        provider: name.trim_end_matches("_API_KEY").to_ascii_lowercase(),
        fingerprint: sha(value),
    };
    Ask::Set(keys.iter().map(new).collect())
}

impl Stage {
    /// As the handler does: under the lease, with what the lists show.
    fn request(&mut self, ask: &Ask) -> Result<Result<Fate, Refusal>, Crashed> {
        let mut last = Fate::AsBefore;
        for _ in 0..3 {
            let (before, observed) = self.observe();
            let input = Input {
                snapshot: &before,
                observed: &observed,
                world: &self.world,
            };
            let plan = match plan(&input, ask) {
                Err(Refusal::LookAfter(_)) => {
                    self.look_at_lists();
                    continue;
                }
                Err(refusal) => return Ok(Err(refusal)),
                Ok(plan) if plan.steps.is_empty() => return Ok(Ok(Fate::Done)),
                Ok(plan) => plan,
            };
            assert_eq!(talon_plan::lint(&plan), Vec::<String>::new(), "{plan:#?}");
            let (failure, _) = self.execute(&before, plan)?;
            let after = self.db.load(self.now);
            last = fate(ask, &after, failure.is_some());
            if last != Fate::AsBefore {
                return Ok(Ok(last));
            }
            let back = put_back(ask, &before, &after);
            self.db.commit(self.now, &back);
            let there = |s: &Snapshot| {
                let worker = s.resource(ResourceKind::Worker);
                worker.is_some_and(|r| r.state == ResourceState::Present)
            };
            if !there(&before) || there(&after) {
                break;
            }
        }
        Ok(Ok(last))
    }

    fn hand_in(&mut self, keys: &[(&str, &str)]) -> Result<Fate, Refusal> {
        for (name, value) in keys {
            self.handed_in
                .insert((*name).to_owned(), (*value).to_owned());
        }
        self.request(&ask(keys)).expect("nobody kills it")
    }

    fn on_worker(&self, name: &str) -> Option<String> {
        let worker = self.reality.workers.get(&self.names().worker)?;
        worker.secrets.get(name).cloned()
    }

    fn record(&self, name: &str) -> Option<(SecretSource, SecretState, Option<String>)> {
        let record = self.db.row.secrets.iter().find(|s| s.name == name)?;
        Some((record.source, record.state, record.fingerprint.clone()))
    }
}

/// A row without a reference: nothing is made before its key comes.
fn awaiting() -> Stage {
    let mut stage = new_agent();
    stage.edit(|s| s.api_key_refs.clear());
    assert_eq!(stage.one_pass(), End::Stuck);
    assert_eq!(stage.calls, [""; 0]);
    stage
}

/// Deployed with a key that came over HTTP.
fn with_key() -> Stage {
    let mut stage = awaiting();
    assert_eq!(stage.hand_in(&[(KEY, "first")]), Ok(Fate::Done));
    stage.converge();
    settle(&mut stage);
    assert_deployed_with(&mut stage, KEY, "first");
    stage.calls.clear();
    stage
}

fn assert_deployed_with(stage: &mut Stage, name: &str, value: &str) {
    assert_deployed(stage);
    assert_eq!(stage.on_worker(name).as_deref(), Some(value));
}

#[test]
fn a_key_comes_first_and_the_upload_inherits_it() {
    let mut stage = awaiting();
    assert_eq!(stage.hand_in(&[(KEY, "sk-1")]), Ok(Fate::Done));
    assert_eq!(stage.calls, ["upload-stub", "push-secrets"]);
    let pushed = (
        SecretSource::WriteThrough,
        SecretState::Pushed,
        Some(sha("sk-1")),
    );
    assert_eq!(stage.record(KEY), Some(pushed));
    assert!(!stage.reality.workers[&stage.names().worker].route);
    stage.calls.clear();
    stage.converge();
    assert_eq!(
        stage.calls,
        [
            "create-bucket",
            "create-token",
            "upload",
            "enable-route",
            "register-card"
        ]
    );
    assert_eq!(stage.name_reads, 0, "a definite answer needs no look");
    settle(&mut stage);
    assert_deployed_with(&mut stage, KEY, "sk-1");
}

#[test]
fn a_running_agents_key_changes_by_one_call_and_nothing_follows() {
    let mut stage = with_key();
    assert_eq!(
        stage.hand_in(&[(KEY, "second"), (OTHER, "another")]),
        Ok(Fate::Done)
    );
    assert_eq!(stage.calls, ["push-secrets"]);
    stage.converge();
    settle(&mut stage);
    assert_eq!(stage.calls, ["push-secrets"]);
    assert_deployed_with(&mut stage, KEY, "second");
    assert_deployed_with(&mut stage, OTHER, "another");
}

#[test]
fn new_code_and_a_stub_that_was_seen_late_keep_the_key() {
    let mut stage = with_key();
    stage.world.bundle.sha256 = "c2".repeat(32);
    stage.resync();
    stage.converge();
    assert_eq!(stage.calls, ["upload"]);
    assert_deployed_with(&mut stage, KEY, "first");
}

#[test]
fn whatever_becomes_of_an_answer_is_known_or_found_out() {
    let faults = [
        Fault::LostNotDone,
        Fault::LostDone,
        Fault::Late(Duration::from_secs(80)),
        Fault::Refused,
        Fault::Throttled,
        Fault::Twice,
    ];
    for call in 0..2 {
        for fault in faults {
            let mut stage = awaiting();
            stage.faults.insert(call, fault);
            let fate = stage.hand_in(&[(KEY, "sk-1")]).expect("not refused");
            let expected = match fault {
                Fault::Twice => Fate::Done,
                Fault::LostNotDone | Fault::LostDone | Fault::Late(_) if call == 1 => Fate::Open,
                // Of the stub: the key itself was not sent.
                _ => Fate::AsBefore,
            };
            assert_eq!(fate, expected, "{call} {fault:?}");
            assert_eq!(stage.fired, 1, "O11");
            let mut known = fate == Fate::Done;
            for _ in 0..60 {
                if known {
                    break;
                }
                stage.advance(Duration::from_secs(10));
                stage.resync();
                let end = stage.one_pass();
                if end != End::Stuck {
                    stage.converge();
                }
                let record = stage.record(KEY);
                assert!(
                    record.is_none() || stage.on_worker(KEY).is_some() || stage.settles(),
                    "{call} {fault:?}: {record:?}"
                );
                known = stage.hand_in(&[(KEY, "sk-1")]) == Ok(Fate::Done);
            }
            assert!(known, "{call} {fault:?}: never stored");
            stage.converge();
            settle(&mut stage);
            assert_deployed_with(&mut stage, KEY, "sk-1");
        }
    }
}

impl Stage {
    fn settles(&self) -> bool {
        let row = self.db.load(self.now);
        let until = row
            .resource(ResourceKind::Worker)
            .and_then(|r| r.settle_until);
        until.is_some_and(|t| t > self.now)
    }
}

#[test]
fn a_handler_killed_anywhere_leaves_no_doubt_for_ever() {
    let asked = ask(&[(KEY, "sk-1")]);
    let mut instruction = 0;
    let mut died = 0;
    loop {
        instruction += 1;
        let mut reached = false;
        for flight in [
            None,
            Some(Duration::from_millis(200)),
            Some(Duration::from_secs(70)),
        ] {
            let mut stage = awaiting();
            stage.handed_in.insert(KEY.to_owned(), "sk-1".to_owned());
            stage.instructions = 0;
            stage.crash = Some(CrashAt {
                instruction,
                flight,
                pause: Duration::ZERO,
            });
            let Err(Crashed) = stage.request(&asked) else {
                continue;
            };
            reached = true;
            died += 1;
            stage.crash = None;
            stage.advance(Duration::from_secs(60));
            stage.resync();
            // The controller alone: it finds out, and says nothing of a key that is not there.
            for _ in 0..40 {
                match stage.one_pass() {
                    End::Again(after) => stage.advance(after),
                    End::Quiet | End::Stuck => break,
                }
            }
            let record = stage.record(KEY);
            let there = stage.on_worker(KEY).is_some();
            assert_eq!(
                record.is_some(),
                there,
                "{instruction} {flight:?}: {record:?}"
            );
            assert!(record.is_none_or(|r| r.1 == SecretState::Pushed));
            // And the client, who repeats it.
            assert_eq!(
                stage.hand_in(&[(KEY, "sk-1")]),
                Ok(Fate::Done),
                "{instruction} {flight:?}"
            );
            stage.converge();
            settle(&mut stage);
            assert_deployed_with(&mut stage, KEY, "sk-1");
        }
        if !reached {
            break;
        }
    }
    assert!(died >= 15, "O11: {died}");
}

#[test]
fn a_lost_change_of_a_key_is_settled_by_name_and_its_value_is_not_claimed() {
    for fault in [Fault::LostDone, Fault::LostNotDone] {
        let mut stage = with_key();
        stage.faults.insert(0, fault);
        assert_eq!(stage.hand_in(&[(KEY, "second")]), Ok(Fate::Open));
        // Another value could be undone by the first; the same one could not.
        let other = stage.hand_in(&[(KEY, "third")]);
        assert!(matches!(other, Err(Refusal::Busy(..))), "{other:?}");
        stage.converge();
        assert_eq!(stage.name_reads, 1);
        let record = stage.record(KEY).expect("it is there");
        assert_eq!(
            record,
            (SecretSource::WriteThrough, SecretState::Pushed, None)
        );
        assert_eq!(stage.hand_in(&[(KEY, "second")]), Ok(Fate::Done));
        stage.converge();
        assert_deployed_with(&mut stage, KEY, "second");
    }
}

#[test]
fn the_same_key_once_more_need_not_wait() {
    let mut stage = with_key();
    stage.faults.insert(0, Fault::Late(Duration::from_secs(40)));
    assert_eq!(stage.hand_in(&[(KEY, "second")]), Ok(Fate::Open));
    assert_eq!(stage.hand_in(&[(KEY, "second")]), Ok(Fate::Done));
    stage.advance(Duration::from_secs(50));
    stage.converge();
    assert_deployed_with(&mut stage, KEY, "second");
}

#[test]
fn a_worker_deleted_behind_our_back_takes_its_keys_along_and_nothing_is_deployed_without_them() {
    let mut stage = with_key();
    assert_eq!(stage.hand_in(&[(OTHER, "another")]), Ok(Fate::Done));
    stage.converge();
    stage.calls.clear();
    let worker = stage.names().worker;
    stage.outside(|r, _| r.lose_worker(&worker));
    stage.resync();
    assert_eq!(stage.one_pass(), End::Stuck);
    assert_eq!(stage.calls, [""; 0]);
    let (truth, reason, _) = stage.db.condition(ConditionType::Stalled);
    assert_eq!((truth, reason), ("True", Reason::SecretValueMissing));
    let told = stage.last_plan.block.clone().expect("blocked");
    assert!(told.at.contains(KEY) && told.message.contains("secrets set"));

    // One of the two is not enough.
    assert_eq!(stage.hand_in(&[(KEY, "again")]), Ok(Fate::Done));
    assert_eq!(stage.calls, ["upload-stub", "push-secrets"]);
    for _ in 0..3 {
        assert_eq!(stage.one_pass(), End::Stuck);
        stage.resync();
    }
    let told = stage.last_plan.block.clone().expect("blocked");
    assert!(told.at.contains(OTHER) && told.stalled, "{told:?}");
    assert_eq!(stage.calls, ["upload-stub", "push-secrets"]);

    assert_eq!(stage.hand_in(&[(OTHER, "another")]), Ok(Fate::Done));
    stage.converge();
    settle(&mut stage);
    assert_deployed_with(&mut stage, KEY, "again");
    assert_deployed_with(&mut stage, OTHER, "another");
}

#[test]
fn a_worker_that_turns_out_to_be_gone_is_made_again_for_the_key() {
    let mut stage = with_key();
    let worker = stage.names().worker;
    stage.outside(|r, _| r.lose_worker(&worker));
    // The lists are old and still show it.
    assert_eq!(stage.hand_in(&[(KEY, "again")]), Ok(Fate::Done));
    assert_eq!(stage.calls, ["push-secrets", "upload-stub", "push-secrets"]);
    stage.converge();
    settle(&mut stage);
    assert_deployed_with(&mut stage, KEY, "again");
}

#[test]
fn a_key_that_somebody_took_from_the_worker_stops_the_repair_and_is_named() {
    let mut stage = with_key();
    let worker = stage.names().worker;
    stage.outside(|r, now| {
        let worker = r.workers.get_mut(&worker).expect("a Worker");
        worker.secrets.remove(KEY);
        worker.modified_on = now;
    });
    stage.resync();
    stage.advance(Duration::from_secs(60));
    for _ in 0..3 {
        stage.one_pass();
        stage.resync();
    }
    assert_eq!(stage.calls, [""; 0], "nothing is uploaded without it");
    let told = stage.last_plan.block.clone().expect("blocked");
    assert_eq!(told.reason, Reason::SecretValueMissing);
    assert!(told.at.contains(KEY));
    assert_eq!(stage.hand_in(&[(KEY, "again")]), Ok(Fate::Done));
    stage.converge();
    settle(&mut stage);
    assert_deployed_with(&mut stage, KEY, "again");
}

#[test]
fn what_must_not_take_a_key_refuses_it() {
    let refused = |prepare: fn(&mut Stage)| {
        let mut stage = with_key();
        prepare(&mut stage);
        let answer = stage.hand_in(&[(KEY, "second")]);
        assert_eq!(stage.calls, [""; 0]);
        match answer {
            Err(Refusal::Conflict(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(Stage::delete).contains("deleted"));
    assert!(refused(|s| s.edit(|spec| spec.suspend = true)).contains("suspended"));
    let referenced = refused(|s| {
        s.edit(|spec| spec.api_key_refs = refs(&[("anthropic", "env:TALON_SECRET_ANTHROPIC")]))
    });
    assert!(
        referenced.contains("api_key_refs.anthropic"),
        "{referenced}"
    );
    let held = |scope| Held {
        reason: Reason::HeldByOperator,
        message: "a person looks".to_owned(),
        scope,
        since: None,
    };
    let mut stage = with_key();
    stage.world.held = Some(held(HeldScope::All));
    let answer = stage.hand_in(&[(KEY, "second")]);
    assert!(matches!(answer, Err(Refusal::Conflict(_))), "{answer:?}");
    // With the brake on, what is there may get a key; what is gone is not made again.
    stage.world.held = Some(held(HeldScope::Risky));
    assert_eq!(stage.hand_in(&[(KEY, "second")]), Ok(Fate::Done));
    let worker = stage.names().worker;
    stage.outside(|r, _| r.lose_worker(&worker));
    stage.resync();
    let answer = stage.hand_in(&[(KEY, "third")]);
    assert!(matches!(answer, Err(Refusal::Conflict(_))), "{answer:?}");

    let mut stage = awaiting();
    let worker = stage.names().worker;
    stage.outside(|r, now| {
        let theirs = crate::fixture::foreign_worker(now);
        r.workers.insert(worker, theirs);
    });
    stage.resync();
    let answer = stage.hand_in(&[(KEY, "second")]);
    assert!(matches!(answer, Err(Refusal::Conflict(_))), "{answer:?}");
    assert_eq!(stage.calls, [""; 0]);
}

#[test]
fn an_upload_that_may_still_land_is_waited_for() {
    let mut stage = with_key();
    stage.world.bundle.sha256 = "c2".repeat(32);
    stage.resync();
    stage.faults.insert(0, Fault::Late(Duration::from_secs(50)));
    stage.one_pass();
    let answer = stage.hand_in(&[(KEY, "second")]);
    assert!(matches!(answer, Err(Refusal::Busy(..))), "{answer:?}");
    assert_eq!(stage.calls, ["upload"]);
}

#[test]
fn a_key_that_is_taken_away_goes_from_worker_and_records_even_if_the_answer_is_lost() {
    for fault in [None, Some(Fault::LostDone), Some(Fault::LostNotDone)] {
        let mut stage = with_key();
        assert_eq!(stage.hand_in(&[(OTHER, "another")]), Ok(Fate::Done));
        stage.converge();
        stage.calls.clear();
        stage.faults = fault.map(|f| (0, f)).into_iter().collect();
        let ended = stage.request(&Ask::Unset(OTHER.to_owned())).expect("alive");
        let expected = if fault.is_none() {
            Fate::Done
        } else {
            Fate::Open
        };
        assert_eq!(ended, Ok(expected));
        stage.converge();
        settle(&mut stage);
        assert_eq!(stage.on_worker(OTHER), None, "{fault:?}");
        assert_deployed_with(&mut stage, KEY, "first");
        let again = stage.request(&Ask::Unset(OTHER.to_owned())).expect("alive");
        assert_eq!(again, Ok(Fate::Done));
    }
}

#[test]
fn an_unset_that_was_refused_changes_nothing() {
    let mut stage = with_key();
    let before = stage.record(KEY);
    stage.faults = [(0, Fault::Refused)].into();
    let ended = stage.request(&Ask::Unset(KEY.to_owned())).expect("alive");
    assert_eq!(ended, Ok(Fate::AsBefore));
    assert_eq!(stage.record(KEY), before);
}

#[test]
fn a_reference_wins_over_a_key_that_came_over_http_and_it_is_said() {
    let mut stage = with_key();
    stage.edit(|s| s.api_key_refs = refs(&[("anthropic", "env:TALON_SECRET_ANTHROPIC")]));
    stage.converge();
    assert_eq!(stage.calls, ["push-secrets"]);
    let record = stage.record(KEY).expect("there");
    assert_eq!(record.0, SecretSource::Reference);
    let told =
        stage.db.events.iter().any(|e| {
            e.reason == EventReason::SecretsPushed && e.message.contains("replaces the key")
        });
    assert!(told, "{:?}", stage.db.events);
    settle(&mut stage);
    assert_deployed(&mut stage);
}

#[test]
fn another_auth_token_is_pushed_and_promoted_and_the_card_follows() {
    let mut stage = with_key();
    let before = stage.db.row.agent.status.auth_token_hash.clone();
    assert_eq!(
        stage.request(&Ask::RotateAuth).expect("alive"),
        Ok(Fate::Done)
    );
    assert_eq!(stage.calls, ["push-secrets"]);
    assert_ne!(stage.db.row.agent.status.auth_token_hash, before);
    stage.converge();
    assert_eq!(stage.calls, ["push-secrets", "register-card"]);
    settle(&mut stage);
    assert_deployed_with(&mut stage, KEY, "first");

    // Lost: both are accepted until the Worker shows one of them.
    stage.calls.clear();
    stage.hub = true;
    stage.faults = [(0, Fault::LostDone)].into();
    assert_eq!(
        stage.request(&Ask::RotateAuth).expect("alive"),
        Ok(Fate::Open)
    );
    let count = |s: &Stage, state| {
        s.db.row
            .auth_tokens
            .iter()
            .filter(|t| t.state == state)
            .count()
    };
    assert_eq!(count(&stage, AuthTokenState::Current), 1);
    assert_eq!(count(&stage, AuthTokenState::Candidate), 1);
    stage.converge();
    settle(&mut stage);
    assert_eq!(count(&stage, AuthTokenState::Candidate), 0);
    assert_deployed_with(&mut stage, KEY, "first");

    let mut stage = awaiting();
    let answer = stage.request(&Ask::RotateAuth).expect("alive");
    assert!(matches!(answer, Err(Refusal::Conflict(_))), "{answer:?}");
}

#[test]
fn a_server_of_secrets_that_is_down_costs_no_call() {
    let mut stage = crate::fixture::deployed();
    let problem = talon_plan::SecretProblem {
        reason: Reason::SecretValueMissing,
        message: "no answer".to_owned(),
        transient: true,
    };
    stage.keys.insert(KEY.to_owned(), Err(problem));
    stage.resync();
    stage.one_pass();
    assert_eq!(stage.calls, [""; 0]);
    let (truth, reason, _) = stage.db.condition(ConditionType::SecretsReady);
    assert_eq!((truth, reason), ("False", Reason::SecretValueMissing));
    // It comes back with another value: one call.
    stage.keys.insert(KEY.to_owned(), Ok("rotated".to_owned()));
    stage.resync();
    stage.converge();
    assert_eq!(stage.calls, ["push-secrets"]);
    assert_deployed_with(&mut stage, KEY, "rotated");
}
