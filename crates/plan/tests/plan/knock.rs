//! When a Worker is spoken to, and what is made of its answer.

use std::time::Duration;

use chrono::TimeDelta;
use talon_core::condition::{ConditionType, Reason};
use talon_core::contact::Contact;
use talon_core::deliver::WakeError;
use talon_core::event::EventReason;
use talon_core::presence::Presence;
use talon_core::secret::names;
use talon_core::snapshot::{AuthTokenState, SecretSource, SecretState};
use talon_plan::heard::Answer;
use talon_plan::{Held, HeldScope, Knock};

use crate::door::silent;
use crate::fixture::{assert_deployed, deployed, new_agent, settle};
use crate::stage::{End, Fault, Stage};

fn with_door(mut stage: Stage) -> Stage {
    stage.world.knocks = true;
    stage
}

/// To stay connected; deployed, spoken to, verified, left in peace.
fn spoken_to() -> Stage {
    let mut stage = with_door(deployed());
    stage.edit(|spec| spec.keep_alive = true);
    stage.converge();
    settle(&mut stage);
    assert_eq!(stage.knocks, 1);
    stage.knocks = 0;
    stage.calls.clear();
    stage.db.events.clear();
    stage
}

fn contact(stage: &Stage) -> Contact {
    stage.db.row.contact.clone().expect("it was spoken to")
}

fn states(stage: &Stage) -> Vec<SecretState> {
    stage.db.row.secrets.iter().map(|s| s.state).collect()
}

fn secrets_ready(stage: &Stage) -> Reason {
    stage.db.condition(ConditionType::SecretsReady).1
}

/// The Worker tells the truth but for one value.
fn but_for(stage: &Stage, name: &str) -> Answer {
    let mut answer = stage.truth();
    let report = answer.report.as_mut().expect("it answers");
    report.fingerprints.insert(name.to_owned(), "0".repeat(64));
    answer
}

fn presence(stage: &Stage, away: Duration) -> Presence {
    let ended = stage.now - TimeDelta::from_std(away).unwrap();
    Presence {
        connected: false,
        connection_id: "c1".to_owned(),
        hub: "hub-1".to_owned(),
        token_sha256: "t".to_owned(),
        runtime: None,
        connected_at: ended,
        last_seen: ended,
        disconnected_at: Some(ended),
    }
}

#[test]
fn a_new_agent_is_deployed_spoken_to_once_and_verified() {
    let mut stage = with_door(new_agent());
    stage.converge();
    assert_eq!(stage.knocks, 1);
    assert!(states(&stage).iter().all(|s| *s == SecretState::Verified));
    assert_eq!(secrets_ready(&stage), Reason::Pushed);
    let contact = contact(&stage);
    assert_eq!((contact.tries, contact.problem), (0, None));
    assert_eq!(contact.runtime, Some(stage.world.bundle.sha256.clone()));
    assert_deployed(&mut stage);
    assert_eq!(stage.knocks, 1, "a converged agent is left alone");
}

#[test]
fn without_a_door_nobody_is_spoken_to() {
    let mut stage = new_agent();
    stage.converge();
    assert_eq!(stage.knocks, 0);
    assert_eq!(secrets_ready(&stage), Reason::PushedUnverified);
}

#[test]
fn a_silent_worker_is_deployed_all_the_same_tried_for_a_minute_and_then_left_alone() {
    let mut stage = with_door(new_agent());
    stage.says = Some(silent());
    assert_eq!(stage.one_pass(), End::Again(Duration::from_secs(2)));
    assert_eq!(stage.db.condition(ConditionType::Ready).1, Reason::Deployed);
    assert_eq!(stage.db.row.work.failure_count, 0);
    let begun = stage.now;
    stage.converge();
    let took = stage.now - begun;
    assert_eq!(stage.knocks, 6);
    assert!(
        took > TimeDelta::seconds(55) && took < TimeDelta::seconds(70),
        "{took}"
    );
    let hub = stage.db.condition(ConditionType::HubConnected);
    assert!(hub.2.contains("it answers 404"), "{hub:?}");
    assert_deployed(&mut stage);
    assert_eq!(stage.knocks, 6);
    // A push is something new.
    stage.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
    stage.says = None;
    stage.converge();
    assert_eq!(stage.knocks, 7);
    assert_eq!(secrets_ready(&stage), Reason::Pushed);
}

#[test]
fn one_that_is_to_stay_connected_and_never_heard_us_is_tried_on_until_it_has() {
    let mut stage = with_door(new_agent());
    stage.edit(|spec| spec.keep_alive = true);
    stage.says = Some(silent());
    for _ in 0..12 {
        let End::Again(wait) = stage.one_pass() else {
            panic!("given up after {} tries", stage.knocks);
        };
        assert!(wait <= Duration::from_secs(600), "{wait:?}");
        stage.advance(wait);
    }
    assert!(stage.knocks >= 8, "{} tries", stage.knocks);
    // It hears us at last, and comes to the Hub by itself.
    stage.says = None;
    stage.converge();
    assert_eq!(stage.plan().knock, Knock::None);
}

#[test]
fn every_write_to_the_worker_is_followed_by_a_word_with_it() {
    let mut stage = spoken_to();
    stage.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
    stage.converge();
    assert_eq!((stage.knocks, secrets_ready(&stage)), (1, Reason::Pushed));
    stage.world.bundle.sha256 = "c2".repeat(32);
    stage.converge();
    assert_eq!(stage.knocks, 2);
    assert_eq!(contact(&stage).runtime, Some("c2".repeat(32)));
    stage.edit(|spec| spec.display_name = Some("Another".to_owned()));
    stage.converge();
    assert_eq!(stage.knocks, 2, "a card is no write to the Worker");
}

#[test]
fn an_agent_the_hub_misses_is_woken_after_two_minutes_and_ever_more_rarely() {
    let mut stage = spoken_to();
    stage.says = Some(silent());
    stage.db.row.contact.as_mut().expect("spoken to").tries = 0;
    stage.db.row.presence = Some(presence(&stage, Duration::from_secs(30)));
    assert_eq!(stage.plan().knock, Knock::In(Duration::from_secs(90)));
    stage.db.row.presence = Some(presence(&stage, Duration::from_secs(120)));
    assert!(matches!(stage.plan().knock, Knock::Now { .. }));
    let away = stage.now - TimeDelta::seconds(120);
    let mut at = Vec::new();
    while stage.now - away < TimeDelta::seconds(4000) {
        let before = stage.knocks;
        let End::Again(wait) = stage.one_pass() else {
            panic!("it is still missed")
        };
        if stage.knocks > before {
            at.push((stage.now - away).num_seconds());
        }
        stage.advance(wait);
    }
    // The first in vain is followed by a minute of tries; then as long again as it is away, ten minutes at most.
    let (minute, rare): (Vec<i64>, Vec<i64>) = at.iter().partition(|t| **t < 200);
    assert_eq!(minute.len(), 6, "{at:?}");
    let waits: Vec<i64> = rare.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(waits.windows(2).all(|w| w[0] <= w[1] + 1), "{at:?}");
    assert!(waits.iter().all(|w| *w <= 602), "{at:?}");
    assert!(rare.len() < 10, "{at:?}");
    let hub = stage.db.condition(ConditionType::HubConnected);
    assert!(hub.2.contains("tried to wake it at"), "{hub:?}");
}

#[test]
fn who_may_sleep_or_is_connected_or_never_was_is_not_missed() {
    let mut stage = spoken_to();
    assert_eq!(stage.plan().knock, Knock::None, "never seen");
    let mut connected = presence(&stage, Duration::from_secs(9999));
    connected.connected = true;
    stage.db.row.presence = Some(connected);
    assert_eq!(stage.plan().knock, Knock::None, "connected");
    stage.db.row.presence = Some(presence(&stage, Duration::from_secs(9999)));
    stage.edit(|spec| spec.keep_alive = false);
    stage.converge();
    assert_eq!(stage.knocks, 1, "the push of KEEP_ALIVE only");
    assert_eq!(stage.plan().knock, Knock::None, "it may sleep");
}

#[test]
fn suspended_and_withheld_agents_are_not_spoken_to_but_blocked_ones_are() {
    let missed = |mut stage: Stage| {
        stage.db.row.presence = Some(presence(&stage, Duration::from_secs(9999)));
        stage
    };
    let mut stage = missed(spoken_to());
    stage.edit(|spec| spec.suspend = true);
    assert_eq!(stage.plan().knock, Knock::None);

    let mut stage = missed(spoken_to());
    let held = |scope| Held {
        reason: Reason::ObserveOnly,
        message: "looks only".to_owned(),
        scope,
        since: None,
    };
    stage.world.held = Some(held(HeldScope::All));
    assert_eq!(stage.plan().knock, Knock::None);
    stage.world.held = Some(held(HeldScope::Risky));
    assert!(matches!(stage.plan().knock, Knock::Now { .. }));

    let mut stage = missed(spoken_to());
    stage.db.row.agent.spec.model = "openai/gpt-5".to_owned();
    let plan = stage.plan();
    assert!(plan.block.is_some(), "no key for the model");
    assert!(matches!(plan.knock, Knock::Now { .. }), "it is live");
}

#[test]
fn other_values_than_were_pushed_are_waited_for_and_then_pushed_again() {
    for (name, calls) in [
        ("ANTHROPIC_API_KEY", vec!["push-secrets"]),
        (names::CONTROL_TOKEN, vec!["push-secrets"]),
        (names::AUTH_TOKEN, vec!["push-secrets", "register-card"]),
        (
            names::R2_SECRET_ACCESS_KEY,
            vec!["roll-token", "push-secrets"],
        ),
    ] {
        let mut stage = with_door(deployed());
        // Within a minute of the push an old version may answer.
        stage.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
        stage.says = Some(but_for(&stage, name));
        assert!(matches!(stage.one_pass(), End::Again(_)), "{name}");
        assert_eq!(stage.calls, ["push-secrets"], "{name}");
        assert_eq!(contact(&stage).repairs, 0, "{name}");
        assert_eq!(secrets_ready(&stage), Reason::PushedUnverified, "{name}");
        // Later it is drift.
        stage.calls.clear();
        stage.advance(Duration::from_secs(61));
        stage.says = Some(but_for(&stage, name));
        stage.one_pass();
        assert_eq!(contact(&stage).repairs, 1, "{name}");
        let told = stage.db.told(EventReason::DriftDetected);
        assert!(told.iter().any(|m| m.contains(name)), "{told:?}");
        stage.says = None;
        stage.converge();
        assert_eq!(stage.calls, calls, "{name}");
        assert_eq!(secrets_ready(&stage), Reason::Pushed, "{name}");
        assert_eq!(contact(&stage).repairs, 0, "{name}");
        settle(&mut stage);
        assert_deployed(&mut stage);
    }
}

#[test]
fn a_worker_that_never_says_what_was_pushed_costs_two_repairs() {
    for refused in [false, true] {
        let mut stage = spoken_to();
        for _ in 0..40 {
            stage.says = Some(if refused {
                Answer {
                    woken: false,
                    report: Err(WakeError::Refused),
                }
            } else {
                but_for(&stage, "ANTHROPIC_API_KEY")
            });
            stage.db.row.presence = Some(presence(&stage, Duration::from_secs(9999)));
            stage.one_pass();
            stage.advance(Duration::from_secs(61));
        }
        assert_eq!(stage.calls, ["push-secrets"; 2], "refused: {refused}");
        let said = stage.db.condition(ConditionType::SecretsReady);
        assert_eq!(said.1, Reason::PushedUnverified);
        assert!(said.2.contains("however often"), "{said:?}");
    }
}

#[test]
fn a_key_of_which_no_copy_is_kept_must_be_set_again_and_costs_no_repair() {
    const KEY: &str = "ANTHROPIC_API_KEY";
    for (also, repairs) in [(None, 0), (Some(names::CONTROL_TOKEN), 1)] {
        let mut stage = spoken_to();
        let key = stage.db.row.secrets.iter_mut().find(|s| s.name == KEY);
        key.expect("it has a key").source = SecretSource::WriteThrough;
        stage.edit(|spec| spec.api_key_refs.clear());
        stage.converge();
        stage.advance(Duration::from_secs(601));
        stage.db.row.presence = Some(presence(&stage, Duration::from_secs(9999)));
        stage.calls.clear();
        let mut answer = but_for(&stage, KEY);
        if let (Some(name), Ok(report)) = (also, &mut answer.report) {
            report.fingerprints.insert(name.to_owned(), "0".repeat(64));
        }
        stage.says = Some(answer);
        stage.one_pass();
        let contact = contact(&stage);
        assert_eq!(contact.repairs, repairs);
        let problem = contact.problem.expect("it is told");
        assert!(problem.contains(&format!("set {KEY} again")), "{problem}");
        assert_eq!(
            problem.contains("pushed again"),
            also.is_some(),
            "{problem}"
        );
        let key = stage.db.row.secrets.iter().find(|s| s.name == KEY);
        assert_ne!(key.expect("it has a key").state, SecretState::Pushing);
        if also.is_none() {
            assert_eq!(stage.calls, [] as [&str; 0]);
        }
    }
}

#[test]
fn an_answer_that_makes_no_sense_confirms_nothing_and_repairs_nothing() {
    let mut stage = with_door(deployed());
    stage.says = Some(Answer {
        woken: true,
        report: Err(WakeError::Unintelligible("it is no report".to_owned())),
    });
    stage.converge();
    assert_eq!(stage.calls, [] as [&str; 0]);
    let said = stage.db.condition(ConditionType::SecretsReady);
    assert_eq!(said.1, Reason::PushedUnverified);
    assert!(said.2.contains("it is no report"), "{said:?}");
    let hub = stage.db.condition(ConditionType::HubConnected);
    assert!(hub.2.contains("woken at"), "{hub:?}");
}

#[test]
fn another_upload_than_the_last_one_gets_its_credentials_again() {
    let mut stage = spoken_to();
    stage.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
    stage.converge();
    stage.calls.clear();
    let mut answer = stage.truth();
    let other = talon_core::TryId::new(1, 1);
    answer.report.as_mut().expect("it answers").try_id = Some(other);
    stage.advance(Duration::from_secs(601));
    stage.db.row.presence = Some(presence(&stage, Duration::from_secs(9999)));
    stage.says = Some(answer);
    stage.one_pass();
    stage.says = None;
    stage.db.row.presence = None;
    stage.converge();
    assert_eq!(stage.calls, ["roll-token", "push-secrets", "register-card"]);
    settle(&mut stage);
    assert_deployed(&mut stage);
}

#[test]
fn a_lost_secrets_call_is_known_by_what_the_worker_holds() {
    let mut stage = spoken_to();
    stage.db.row.auth_tokens[0].state = AuthTokenState::Retired;
    stage.db.row.agent.status.auth_token_hash = None;
    stage.faults.insert(0, Fault::LostDone);
    stage.one_pass();
    stage.converge();
    assert_eq!(
        stage.calls.iter().filter(|c| **c == "push-secrets").count(),
        1,
        "{:?}",
        stage.calls
    );
    assert_eq!(stage.db.told(EventReason::TryObserved).len(), 1);
    assert_eq!(secrets_ready(&stage), Reason::Pushed);
    settle(&mut stage);
    assert_deployed(&mut stage);

    // It did not arrive: the Worker says so, and it is sent again.
    let mut stage = spoken_to();
    stage.edit(|spec| spec.model = "anthropic/claude-opus-4-6".to_owned());
    stage.faults.insert(0, Fault::LostNotDone);
    stage.converge();
    assert_eq!(stage.calls, ["push-secrets"; 2]);
    assert_eq!(stage.db.told(EventReason::TryObserved).len(), 0);
    settle(&mut stage);
    assert_deployed(&mut stage);
}

#[test]
fn the_token_of_an_open_upload_is_promoted_by_what_the_worker_runs() {
    let mut stage = spoken_to();
    stage.db.row.auth_tokens[0].state = AuthTokenState::Retired;
    stage.db.row.agent.status.auth_token_hash = None;
    stage.world.bundle.sha256 = "c2".repeat(32);
    stage.lag = Duration::from_secs(3600);
    stage.faults.insert(0, Fault::LostDone);
    stage.one_pass();
    stage.one_pass();
    let worker = stage
        .db
        .row
        .resource(talon_core::resource::ResourceKind::Worker);
    assert_eq!(
        worker.map(|r| r.state),
        Some(talon_core::resource::ResourceState::Unknown)
    );
    let tokens: Vec<_> = stage.db.row.auth_tokens.iter().map(|t| t.state).collect();
    assert_eq!(tokens, [AuthTokenState::Retired, AuthTokenState::Current]);
}
