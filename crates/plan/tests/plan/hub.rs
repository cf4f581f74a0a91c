//! What a registration at the Hub tells, and what is said of the connection.

use chrono::TimeDelta;
use talon_core::condition::{ConditionType, Reason};
use talon_core::event::EventReason;
use talon_core::presence::Presence;
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::snapshot::{AuthTokenRecord, AuthTokenState};
use talon_core::status::DeploymentStatus;
use talon_core::{Snapshot, TryId};
use talon_plan::{Input, report};

use crate::fixture::{assert_deployed, deployed, new_agent, snapshot, spec, start};
use crate::stage::{Fault, Stage};

fn states(stage: &Stage) -> Vec<AuthTokenState> {
    let tokens = stage.db.row.auth_tokens.iter();
    tokens.map(|t| t.state).collect()
}

fn count(stage: &Stage, call: &str) -> usize {
    stage.calls.iter().filter(|c| **c == call).count()
}

/// A deployed agent whose auth token was lost from the records: a secrets call brings a new one, and its answer is lost.
fn with_a_lost_secrets_call(hub: bool) -> Stage {
    let mut stage = deployed();
    stage.hub = hub;
    stage.db.row.auth_tokens[0].state = AuthTokenState::Retired;
    stage.db.row.agent.status.auth_token_hash = None;
    stage.faults.insert(0, Fault::LostDone);
    stage.one_pass();
    assert_eq!(stage.calls, ["push-secrets"]);
    assert_eq!(
        states(&stage),
        [AuthTokenState::Retired, AuthTokenState::Candidate]
    );
    stage
}

#[test]
fn a_secrets_call_is_known_by_the_registration_that_follows() {
    let mut stage = with_a_lost_secrets_call(true);
    insta::assert_snapshot!(
        "a_lost_secrets_call_known_by_its_registration",
        serde_json::to_string_pretty(&report::to_json(&stage.plan())).unwrap()
    );
    stage.converge();
    assert_eq!(count(&stage, "push-secrets"), 1, "{:?}", stage.calls);
    assert_eq!(
        states(&stage),
        [AuthTokenState::Retired, AuthTokenState::Current]
    );
    assert_eq!(stage.db.told(EventReason::TryObserved).len(), 1);
    assert_deployed(&mut stage);

    // Without it, it must be sent again.
    let mut stage = with_a_lost_secrets_call(false);
    stage.converge();
    assert_eq!(count(&stage, "push-secrets"), 2, "{:?}", stage.calls);
    assert_deployed(&mut stage);
}

#[test]
fn the_token_of_an_open_upload_is_promoted_before_any_list_shows_the_upload() {
    let mut stage = new_agent();
    stage.hub = true;
    stage.reality.tagless = std::time::Duration::from_secs(59);
    stage.faults.insert(2, Fault::LostDone);
    stage.one_pass();
    assert_eq!(states(&stage), [AuthTokenState::Candidate]);
    stage.one_pass();
    assert_eq!(states(&stage), [AuthTokenState::Current]);
    let worker = stage.db.row.resource(ResourceKind::Worker).unwrap();
    assert_eq!(
        worker.state,
        ResourceState::Unknown,
        "which code it runs is told by its tag"
    );
    assert!(stage.db.row.agent.status.auth_token_hash.is_some());
    stage.converge();
    assert_eq!(count(&stage, "upload"), 1);
    assert_deployed(&mut stage);
}

fn plans_a_promotion(row: &Snapshot) -> bool {
    let mut stage = deployed();
    let mut snapshot = stage.observe().0;
    snapshot.auth_tokens = row.auth_tokens.clone();
    snapshot.presence = row.presence.clone();
    let observed = stage.observe().1;
    let plan = talon_plan::plan(&Input {
        snapshot: &snapshot,
        observed: &observed,
        world: &stage.world,
    });
    let what = "put the records right after what was seen at the Hub";
    plan.steps.iter().any(|s| s.why == what)
}

fn token(n: u64, state: AuthTokenState) -> AuthTokenRecord {
    AuthTokenRecord {
        try_id: TryId::new(n, 0),
        sha256: format!("h{n}"),
        state,
        created_at: start() + TimeDelta::seconds(n as i64),
    }
}

fn presence(token: &str) -> Presence {
    Presence {
        connected: true,
        connection_id: "c1".to_owned(),
        hub: "hub-1".to_owned(),
        token_sha256: token.to_owned(),
        runtime: None,
        connected_at: start(),
        last_seen: start(),
        disconnected_at: None,
    }
}

#[test]
fn only_a_connection_with_the_last_token_tells_of_the_last_call() {
    use AuthTokenState::{Candidate, Current, Retired};
    let mut row = snapshot(spec());
    for (tokens, registered, promoted) in [
        (vec![Candidate], "h0", true),
        (vec![Retired, Candidate], "h1", true),
        (vec![Candidate, Candidate], "h1", true),
        (vec![Current, Candidate], "h1", true),
        (vec![Candidate, Candidate], "h0", false),
        (vec![Candidate, Current], "h0", false),
        (vec![Current, Candidate], "h0", false),
        (vec![Current], "h0", false),
        (vec![Candidate, Retired], "h1", false),
        (vec![Candidate], "h7", false),
    ] {
        row.auth_tokens = (0..).zip(&tokens).map(|(n, s)| token(n, *s)).collect();
        row.presence = Some(presence(registered));
        assert_eq!(plans_a_promotion(&row), promoted, "{tokens:?} {registered}");
        row.presence.as_mut().unwrap().connected = false;
        assert!(!plans_a_promotion(&row), "it is not connected any more");
    }
}

fn said(change: impl FnOnce(&mut Stage)) -> (String, Reason, String, DeploymentStatus) {
    let mut stage = deployed();
    change(&mut stage);
    stage.converge();
    let condition = |kind| {
        let stored = stage.db.row.conditions.iter();
        let mut of_kind = stored.filter(|c| c.condition.kind == kind);
        of_kind.next().unwrap().condition.clone()
    };
    let hub = condition(ConditionType::HubConnected);
    assert_eq!(condition(ConditionType::Ready).reason, Reason::Deployed);
    assert_eq!(condition(ConditionType::Stalled).status.as_str(), "False");
    (
        hub.status.as_str().to_owned(),
        hub.reason,
        hub.message,
        stage.db.row.agent.status.deployment_status,
    )
}

#[test]
fn the_connection_is_a_condition_of_its_own_and_gates_nothing() {
    let connected = |stage: &mut Stage| stage.db.row.presence = Some(presence("h"));
    let gone = |stage: &mut Stage, keep_alive| {
        stage.edit(|s| s.keep_alive = keep_alive);
        stage.db.row.presence = Some(Presence {
            connected: false,
            disconnected_at: Some(start() + TimeDelta::seconds(90)),
            ..presence("h")
        });
    };
    let rows = [
        said(|_| ()),
        said(connected),
        said(|stage| gone(stage, true)),
        said(|stage| gone(stage, false)),
    ];
    let row = |truth: &str, reason, text: &str| {
        let status = DeploymentStatus::Deployed;
        (truth.to_owned(), reason, text.to_owned(), status)
    };
    let asleep = "asleep since 2026-03-01T12:01:30Z; a task wakes it (keepAlive is false)";
    let wanted = [
        row("Unknown", Reason::NotObserved, "never seen at the Hub"),
        row(
            "True",
            Reason::Registered,
            "connected since 2026-03-01T12:00:00Z",
        ),
        row(
            "False",
            Reason::Disconnected,
            "not connected since 2026-03-01T12:01:30Z",
        ),
        row("False", Reason::Asleep, asleep),
    ];
    assert_eq!(rows, wanted);
}

#[test]
fn signs_of_life_change_nothing_that_is_written() {
    let mut stage = deployed();
    stage.db.row.presence = Some(presence("h"));
    stage.converge();
    let writes = stage.db.writes;
    for seconds in [30, 60, 90] {
        let presence = stage.db.row.presence.as_mut().unwrap();
        presence.last_seen = start() + TimeDelta::seconds(seconds);
        stage.converge();
    }
    assert_eq!(stage.db.writes, writes);
}
