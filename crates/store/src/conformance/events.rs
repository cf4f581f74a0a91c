//! Events fold, are found and go in the end.

use std::time::Duration;

use talon_core::TryId;
use talon_core::event::{Event, EventReason, NewEvent, Severity};
use talon_core::mutation::Mutation;
use talon_core::snapshot::AuthTokenState;

use super::support::Bench;
use crate::{CONTROLLER, EventFilter};

fn event(severity: Severity, message: &str) -> NewEvent {
    NewEvent {
        severity,
        reason: EventReason::StepFailed,
        object: "worker/w".to_owned(),
        message: message.to_owned(),
    }
}

async fn all(bench: &Bench) -> Vec<Event> {
    bench.events(&EventFilter::default()).await.unwrap()
}

pub(super) async fn fold(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let one = event(Severity::Warning, "500");
    let two = event(Severity::Warning, "503");
    bench.write(&claim, Mutation::Event(one.clone())).await;
    bench.tick(id).await;
    bench.record_event(Some(id), &two).await.unwrap();
    bench.tick(id).await;
    bench
        .commit(
            &claim,
            &[Mutation::Event(one.clone()), Mutation::Event(one.clone())],
        )
        .await
        .unwrap();
    let events = all(&bench).await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        (&events[0].event, events[0].count),
        (&two, 1),
        "oldest first by last_at"
    );
    assert_eq!((&events[1].event, events[1].count), (&one, 3));
    assert!(events[1].last_at > events[1].first_at);
    assert_eq!(events[1].agent, "research-pro");
    // The same words about another agent are another event.
    let other = bench.create("other").await;
    bench.record_event(Some(other), &one).await.unwrap();
    assert_eq!(all(&bench).await.len(), 3);
}

pub(super) async fn filter(bench: Bench) {
    let one = bench.create("agent-one").await;
    let two = bench.create("agent-two").await;
    for (id, severity, message) in [
        (one, Severity::Normal, "a"),
        (one, Severity::Warning, "b"),
        (two, Severity::Normal, "c"),
        (two, Severity::Warning, "d"),
    ] {
        bench
            .record_event(Some(id), &event(severity, message))
            .await
            .unwrap();
        bench.tick(one).await;
    }
    let messages = async |filter: EventFilter| {
        let found = bench.events(&filter).await.unwrap();
        found
            .into_iter()
            .map(|e| e.event.message)
            .collect::<Vec<_>>()
    };
    let of_one = EventFilter {
        agent: Some("agent-one".to_owned()),
        ..Default::default()
    };
    assert_eq!(messages(of_one).await, ["a", "b"]);
    let warnings = EventFilter {
        severity: Some(Severity::Warning),
        ..Default::default()
    };
    assert_eq!(messages(warnings).await, ["b", "d"]);
    let after = EventFilter {
        after: Some(all(&bench).await[1].last_at),
        ..Default::default()
    };
    assert_eq!(messages(after).await, ["c", "d"]);
    let latest = EventFilter {
        limit: 3,
        ..Default::default()
    };
    assert_eq!(messages(latest).await, ["b", "c", "d"]);
    let nobody = EventFilter {
        agent: Some("nobody".to_owned()),
        ..Default::default()
    };
    assert!(messages(nobody).await.is_empty());
}

pub(super) async fn of_the_controller(bench: Bench) {
    let orphan = NewEvent {
        severity: Severity::Warning,
        reason: EventReason::OrphanFound,
        object: "worker/stranger".to_owned(),
        message: "no row owns it".to_owned(),
    };
    bench.record_event(None, &orphan).await.unwrap();
    bench.record_event(None, &orphan).await.unwrap();
    let events = all(&bench).await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].agent.as_str(), events[0].count), (CONTROLLER, 2));
    assert_eq!(events[0].event, orphan);
    let of_controller = EventFilter {
        agent: Some(CONTROLLER.to_owned()),
        ..Default::default()
    };
    assert_eq!(bench.events(&of_controller).await.unwrap().len(), 1);
}

pub(super) async fn prune_takes_old_ones(bench: Bench) {
    let id = bench.create("research-pro").await;
    bench
        .record_event(Some(id), &event(Severity::Normal, "old"))
        .await
        .unwrap();
    bench.tick(id).await;
    assert_eq!(bench.prune(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(all(&bench).await.len(), 1);
    assert!(bench.prune(Duration::ZERO).await.unwrap() >= 1);
    assert!(all(&bench).await.is_empty());
}

pub(super) async fn prune_takes_retired_tokens(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let states = [
        AuthTokenState::Retired,
        AuthTokenState::Current,
        AuthTokenState::Candidate,
    ];
    for (n, state) in (1..).zip(states) {
        let try_id = TryId::new(n, 0);
        let candidate = Mutation::AuthTokenCandidate {
            try_id: try_id.clone(),
            sha256: format!("h{n}"),
        };
        bench.write(&claim, candidate).await;
        bench
            .write(&claim, Mutation::AuthTokenState { try_id, state })
            .await;
    }
    let left = async || {
        let tokens = bench.snap(id).await.auth_tokens;
        tokens.into_iter().map(|t| t.state).collect::<Vec<_>>()
    };
    bench.tick(id).await;
    bench.prune(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(left().await, states);
    assert!(bench.prune(Duration::ZERO).await.unwrap() >= 1);
    assert_eq!(
        left().await,
        [AuthTokenState::Current, AuthTokenState::Candidate],
        "what the Hub accepts stays, however old"
    );
}
