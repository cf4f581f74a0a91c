//! Keys handed in over HTTP: they reach the Worker by one call, the daemon inherits them, and no answer stays open.

use std::sync::Arc;

use talon_core::condition::{ConditionType, Reason, Truth};
use talon_core::secret::SecretValue;
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter, StoredKey, ValueStored};
use talon_core::snapshot::{SecretSource, SecretState};
use talon_core::spec::AgentSpec;
use talon_core::{AgentId, Snapshot};
use talon_simulator::Fault;
use talon_tests::stage::{Running, Stage, idle, spec, wait_for};

const AGENT: &str = "research-pro";
const KEY: &str = "ANTHROPIC_API_KEY";
const OTHER: &str = "OPENAI_API_KEY";

type Answer = Result<Vec<StoredKey>, SecretWriteError>;

fn without_reference() -> AgentSpec {
    let mut spec = spec();
    spec.api_key_refs.clear();
    spec
}

fn key(text: &str) -> KeyName {
    KeyName::parse(text).expect("a key's name")
}

async fn id(stage: &Stage) -> AgentId {
    stage.get(AGENT).await.agent.id
}

async fn set(stage: &Stage, writer: &Arc<dyn SecretWriter>, keys: &[(&str, &str)]) -> Answer {
    let keys = keys
        .iter()
        .map(|(n, v)| (key(n), SecretValue::new((*v).to_owned())));
    writer.set_keys(id(stage).await, keys.collect()).await
}

/// Does it again until it is done, as a client would.
async fn set_at_last(stage: &Stage, writer: &Arc<dyn SecretWriter>, keys: &[(&str, &str)]) {
    let done = wait_for(|| async {
        match set(stage, writer, keys).await {
            Ok(_) => Some(()),
            Err(error) => {
                assert!(error.retry_after().is_some(), "{error}");
                None
            }
        }
    });
    done.await.expect("stored at last");
}

/// A row without a key: the daemon waits, and has made nothing.
async fn awaiting(stage: &Stage) -> (Running, Arc<dyn SecretWriter>) {
    let daemon = stage.daemon();
    stage.apply(AGENT, &without_reference()).await;
    stage
        .until(AGENT, "waiting for its key", |s| {
            s.work.lease_owner.is_none() && reason(s, ConditionType::SecretsReady) == awaits()
        })
        .await;
    assert_eq!(stage.write_names(), [""; 0]);
    let writer = daemon.daemon.secret_writer();
    (daemon, writer)
}

fn awaits() -> Option<Reason> {
    Some(Reason::AwaitingKeys)
}

fn reason(s: &Snapshot, kind: ConditionType) -> Option<Reason> {
    let found = s.conditions.iter().find(|c| c.condition.kind == kind)?;
    Some(found.condition.reason)
}

fn on_worker(stage: &Stage, agent: &Snapshot, secret: &str) -> Option<String> {
    let worker = agent.agent.status.worker_name.as_deref()?;
    let value = stage.sim.secret_value(worker, secret)?;
    Some(value.expose().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_accepted_is_on_the_worker_and_the_deployment_inherits_it() {
    let stage = Stage::in_memory().await;
    let (daemon, writer) = awaiting(&stage).await;
    let stored = set(&stage, &writer, &[(KEY, "sk-1")])
        .await
        .expect("stored");
    assert_eq!(stored[0].name, key(KEY));
    let before = stage.get(AGENT).await;
    assert_eq!(on_worker(&stage, &before, KEY).as_deref(), Some("sk-1"));
    let record = before.secret(KEY).expect("a record");
    assert_eq!(record.source, SecretSource::WriteThrough);
    assert_eq!(record.fingerprint.as_ref(), Some(&stored[0].fingerprint));

    let agent = stage.deployed(AGENT).await;
    let mut calls = stage.write_names();
    calls.sort_unstable();
    assert_eq!(
        calls,
        [
            "r2.bucket.create",
            "tokens.create",
            "workers.secrets.bulk",
            "workers.subdomain.set",
            "workers.upload",
            "workers.upload"
        ]
    );
    assert_eq!(on_worker(&stage, &agent, KEY).as_deref(), Some("sk-1"));

    // Once it runs, a key changes by one call.
    stage.sim.clear_calls();
    set(&stage, &writer, &[(KEY, "sk-2"), (OTHER, "sk-3")])
        .await
        .expect("stored");
    let agent = stage.get(AGENT).await;
    assert_eq!(on_worker(&stage, &agent, KEY).as_deref(), Some("sk-2"));
    assert_eq!(on_worker(&stage, &agent, OTHER).as_deref(), Some("sk-3"));
    daemon.daemon.resync_now();
    stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.secrets.bulk"]);

    let gone = writer.unset_key(agent.agent.id, &key(OTHER)).await;
    assert_eq!(gone, Ok(true));
    let agent = stage.deployed(AGENT).await;
    assert_eq!(on_worker(&stage, &agent, OTHER), None);
    assert!(agent.secret(OTHER).is_none());
    assert_eq!(
        writer.unset_key(agent.agent.id, &key(OTHER)).await,
        Ok(false),
        "there is none any more"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_a_call_can_go_wrong_is_told_and_doing_it_again_ends_well() {
    let lost = Fault::TimeoutAfter {
        answer_after_ms: None,
    };
    let refused = Fault::Status {
        status: 400,
        html: false,
        code: Some(10_021),
        after_commit: false,
    };
    let cases = [
        ("workers.upload", Fault::ResetAfter, ValueStored::No),
        ("workers.upload", Fault::ResetBefore, ValueStored::No),
        ("workers.upload", refused.clone(), ValueStored::No),
        (
            "workers.secrets.bulk",
            Fault::ResetAfter,
            ValueStored::Unknown,
        ),
        (
            "workers.secrets.bulk",
            Fault::ResetBefore,
            ValueStored::Unknown,
        ),
        ("workers.secrets.bulk", lost, ValueStored::Unknown),
        ("workers.secrets.bulk", refused, ValueStored::No),
        (
            "workers.secrets.bulk",
            Fault::LandLate { after_ms: 2_500 },
            ValueStored::Unknown,
        ),
        (
            "workers.secrets.bulk",
            Fault::Throttle {
                retry_after: Some(1),
            },
            ValueStored::No,
        ),
    ];
    for (operation, fault, expected) in cases {
        let stage = Stage::in_memory().await;
        let (daemon, writer) = awaiting(&stage).await;
        let what = format!("{operation} {fault:?}");
        stage.fault_once(operation, fault);
        let error = set(&stage, &writer, &[(KEY, "sk-1")])
            .await
            .expect_err(&what);
        assert_eq!(error.value_stored(), expected, "{what}: {error}");
        assert!(!error.to_string().contains("sk-1"), "{error}");
        assert_eq!(stage.sim.faults().fired(), 1, "the fault fired");
        if expected == ValueStored::No {
            let agent = stage.get(AGENT).await;
            assert_eq!(on_worker(&stage, &agent, KEY), None, "{what}");
            assert!(agent.secret(KEY).is_none(), "{what}");
        }
        set_at_last(&stage, &writer, &[(KEY, "sk-1")]).await;
        let agent = stage.deployed(AGENT).await;
        assert_eq!(
            on_worker(&stage, &agent, KEY).as_deref(),
            Some("sk-1"),
            "{what}"
        );
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_finds_out_by_itself_what_became_of_a_lost_answer() {
    for (fault, there) in [(Fault::ResetAfter, true), (Fault::ResetBefore, false)] {
        let stage = Stage::in_memory().await;
        let (daemon, writer) = awaiting(&stage).await;
        stage.fault_once("workers.secrets.bulk", fault);
        let error = set(&stage, &writer, &[(KEY, "sk-1")])
            .await
            .expect_err("lost");
        assert_eq!(error.value_stored(), ValueStored::Unknown);
        if there {
            let agent = stage.deployed(AGENT).await;
            let record = agent.secret(KEY).expect("found");
            assert_eq!(record.state, SecretState::Pushed);
        } else {
            stage
                .until(AGENT, "waiting for its key again", |s| {
                    s.secret(KEY).is_none() && reason(s, ConditionType::SecretsReady) == awaits()
                })
                .await;
        }
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_deleted_behind_our_back_stalls_until_the_key_is_set_again() {
    let stage = Stage::in_memory().await;
    let (daemon, writer) = awaiting(&stage).await;
    set(&stage, &writer, &[(KEY, "sk-1")])
        .await
        .expect("stored");
    let agent = stage.deployed(AGENT).await;
    let worker = agent.agent.status.worker_name.clone().expect("a Worker");
    stage.sim.clear_calls();
    assert!(stage.sim.remove_worker(&worker));
    let stalled = stage
        .until(AGENT, "stalled", |s| {
            // A list may lag behind our own writes for a while, and may not contradict them before.
            daemon.daemon.resync_now();
            reason(s, ConditionType::Stalled) == Some(Reason::SecretValueMissing)
        })
        .await;
    let error = stalled.agent.status.deployment_error.expect("told");
    assert!(error.contains(KEY), "{error}");
    assert!(stalled.conditions.iter().any(|c| {
        c.condition.kind == ConditionType::Stalled && c.condition.status == Truth::True
    }));
    assert!(
        !stage.write_names().contains(&"workers.upload".to_owned()),
        "nothing is deployed without the key"
    );
    set(&stage, &writer, &[(KEY, "sk-2")])
        .await
        .expect("stored");
    let agent = stage.deployed(AGENT).await;
    assert_eq!(on_worker(&stage, &agent, KEY).as_deref(), Some("sk-2"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_that_cannot_be_a_key_or_has_nowhere_to_go() {
    let stage = Stage::in_memory().await;
    let (daemon, writer) = awaiting(&stage).await;
    for bad in ["", "  ", "two\nlines", "env:TALON_SECRET_ANTHROPIC"] {
        let error = set(&stage, &writer, &[(KEY, bad)]).await.expect_err(bad);
        assert!(matches!(error, SecretWriteError::Invalid(_)), "{error}");
    }
    let twice = set(&stage, &writer, &[(KEY, "sk-1"), (KEY, "sk-2")]).await;
    assert!(matches!(twice, Err(SecretWriteError::Invalid(_))));
    let nobody = AgentId(uuid::Uuid::nil());
    let keys = vec![(key(KEY), SecretValue::new("sk-1".to_owned()))];
    let answer = writer.set_keys(nobody, keys).await;
    assert_eq!(answer, Err(SecretWriteError::NotFound));
    stage.apply("with-reference", &spec()).await;
    let other = stage.deployed("with-reference").await.agent.id;
    let keys = vec![(key(KEY), SecretValue::new("sk-1".to_owned()))];
    let answer = writer.set_keys(other, keys).await;
    assert!(
        matches!(answer, Err(SecretWriteError::Conflict(_))),
        "{answer:?}"
    );

    set(&stage, &writer, &[(KEY, "sk-1")])
        .await
        .expect("stored");
    stage.deployed(AGENT).await;
    stage.delete(AGENT).await;
    let answer = set(&stage, &writer, &[(KEY, "sk-2")]).await;
    assert!(
        matches!(
            answer,
            Err(SecretWriteError::Conflict(_) | SecretWriteError::NotFound)
        ),
        "{answer:?}"
    );
    let old = stage.archived(AGENT).await.agent.id;

    // The name is another's by now: who was let in for the old one does not reach the new one.
    stage.apply(AGENT, &without_reference()).await;
    let keys = vec![(key(KEY), SecretValue::new("sk-3".to_owned()))];
    let answer = writer.set_keys(old, keys).await;
    assert_eq!(answer, Err(SecretWriteError::NotFound));
    assert_eq!(
        writer.rotate_auth(old).await,
        Err(SecretWriteError::NotFound)
    );
    assert!(stage.get(AGENT).await.secret(KEY).is_none());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_auth_token_takes_the_place_of_the_old_one() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let before = stage.deployed(AGENT).await;
    let writer = daemon.daemon.secret_writer();
    writer.rotate_auth(before.agent.id).await.expect("rotated");
    let after = stage
        .until(AGENT, "deployed with another token", |s| {
            idle(s) && s.agent.status.auth_token_hash != before.agent.status.auth_token_hash
        })
        .await;
    crate::credentials::assert_working(&stage, &after);
    let card = stage.store.card(after.agent.id).await.expect("the store");
    let credentials = card.and_then(|c| c.authentication).expect("a card");
    assert_eq!(
        Some(credentials.credentials),
        after.agent.status.auth_token_hash
    );
    daemon.stop().await;
}
