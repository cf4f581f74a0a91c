//! A fleet at a glance.

use talon_core::Owner;
use talon_core::condition::{Condition, ConditionType, Reason, Truth};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::{Cleanup, Mutation, Progress, StatusWrite};
use talon_core::resource::{CleanupResult, ResourceState};
use talon_core::status::DeploymentStatus;

use super::support::{Bench, LONG, bucket, name, quiet, spec};
use crate::glance::{GlanceEvents, GlancePage};
use crate::{ApplyOptions, BudgetAsk, StoreError};

async fn create_for(bench: &Bench, agent: &str, owner: &str) {
    bench
        .apply(
            &name(agent),
            &Owner(owner.to_owned()),
            &spec(),
            ApplyOptions::default(),
        )
        .await
        .expect("created");
}

fn page() -> GlancePage {
    GlancePage {
        limit: 100,
        ..GlancePage::default()
    }
}

async fn names(bench: &Bench, ask: GlancePage) -> Vec<String> {
    let found = bench.glance_page(&ask).await.expect("a page");
    found.iter().map(|s| s.agent.name.to_string()).collect()
}

pub(super) async fn pages_are_in_name_order_and_fit_every_filter(bench: Bench) {
    for agent in ["bot-b", "bot-a", "legal-bot", "news"] {
        bench.create(agent).await;
    }
    create_for(&bench, "other-bot", "acme").await;
    let all = names(&bench, page()).await;
    assert_eq!(all, ["bot-a", "bot-b", "legal-bot", "news", "other-bot"]);
    let first = GlancePage { limit: 2, ..page() };
    assert_eq!(names(&bench, first.clone()).await, ["bot-a", "bot-b"]);
    let second = GlancePage {
        after: Some("bot-b".to_owned()),
        ..first
    };
    assert_eq!(names(&bench, second).await, ["legal-bot", "news"]);
    let text = GlancePage {
        text: Some("Bot".to_owned()),
        owner: Some(Owner::default()),
        ..page()
    };
    assert_eq!(names(&bench, text).await, ["bot-a", "bot-b", "legal-bot"]);
    let deployed = GlancePage {
        status: Some(DeploymentStatus::Deployed),
        ..page()
    };
    assert!(names(&bench, deployed).await.is_empty());
    for wild in ["%", "_", "'"] {
        let ask = GlancePage {
            text: Some(wild.to_owned()),
            ..page()
        };
        assert!(
            names(&bench, ask).await.is_empty(),
            "{wild} is a plain character"
        );
    }
}

pub(super) async fn the_display_name_is_found_as_well(bench: Bench) {
    let mut shown = spec();
    shown.display_name = Some("Recherche für ÄRZTE".to_owned());
    bench.put("research-pro", &shown).await.expect("created");
    for text in ["recherche", "für"] {
        let ask = GlancePage {
            text: Some(text.to_owned()),
            ..page()
        };
        assert_eq!(names(&bench, ask).await, ["research-pro"], "{text}");
    }
}

async fn say(bench: &Bench, agent: &str, condition: Condition, status: Option<DeploymentStatus>) {
    let id = bench.create(agent).await;
    let claim = bench.claim(id).await;
    let loaded = bench.snap(id).await;
    let mut mutations = vec![Mutation::Condition(condition)];
    mutations.extend(status.map(|deployment_status| {
        Mutation::Status(StatusWrite {
            deployment_status: Some(deployment_status),
            ..StatusWrite::default()
        })
    }));
    let finish = talon_core::mutation::Finish {
        mutations,
        ..quiet(&loaded)
    };
    bench.finish(&claim, &finish).await.expect("finished");
}

fn condition(kind: ConditionType, status: Truth, reason: Reason) -> Condition {
    Condition {
        kind,
        status,
        reason,
        message: "said".to_owned(),
        observed_generation: talon_core::Generation(1),
    }
}

pub(super) async fn who_wants_a_look_is_counted_and_listed(bench: Bench) {
    bench.deployed("well").await;
    let cases = [
        (
            "a-stalled",
            ConditionType::Stalled,
            Truth::True,
            Reason::InvalidSpec,
        ),
        (
            "b-drifted",
            ConditionType::Drifted,
            Truth::True,
            Reason::Missing,
        ),
        (
            "c-worn",
            ConditionType::SecretsReady,
            Truth::False,
            Reason::SecretRefDiscarded,
        ),
        (
            "d-keyless",
            ConditionType::Reconciling,
            Truth::False,
            Reason::AwaitingKeys,
        ),
        (
            "e-not-yet",
            ConditionType::SecretsReady,
            Truth::False,
            Reason::Missing,
        ),
        (
            "f-going-on",
            ConditionType::Reconciling,
            Truth::True,
            Reason::InProgress,
        ),
    ];
    for (agent, kind, status, reason) in cases {
        say(&bench, agent, condition(kind, status, reason), None).await;
    }
    let failed = condition(ConditionType::Ready, Truth::False, Reason::NotDeployed);
    say(&bench, "g-failed", failed, Some(DeploymentStatus::Failed)).await;
    let wanting = GlancePage {
        attention: true,
        ..page()
    };
    let expected = ["a-stalled", "b-drifted", "c-worn", "d-keyless", "g-failed"];
    assert_eq!(names(&bench, wanting.clone()).await, expected);
    let counts = bench.glance_counts(None).await.expect("counts");
    assert_eq!((counts.total(), counts.attention), (8, 5));
    assert_eq!(counts.of(DeploymentStatus::Failed), 1);
    // An edit may be the cure: what was said before it counts no more.
    let mut edited = spec();
    edited.model = "anthropic/other".to_owned();
    bench.put("a-stalled", &edited).await.expect("edited");
    assert_eq!(names(&bench, wanting).await, expected[1..]);
    let state = bench.controller_state().await.expect("a state");
    let told: Vec<_> = state
        .troubles
        .iter()
        .map(|t| (t.reason, t.agents))
        .collect();
    assert_eq!(told, [(Reason::AwaitingKeys, 1), (Reason::Missing, 1)]);
}

pub(super) async fn counts_are_of_one_owner(bench: Bench) {
    bench.create("mine").await;
    create_for(&bench, "theirs", "acme").await;
    let of = |owner: &str| Some(Owner(owner.to_owned()));
    let acme = bench
        .glance_counts(of("acme").as_ref())
        .await
        .expect("counts");
    assert_eq!((acme.total(), acme.of(DeploymentStatus::Pending)), (1, 1));
    assert_eq!(
        bench
            .glance_counts(of("nobody").as_ref())
            .await
            .expect("counts")
            .total(),
        0
    );
    assert_eq!(bench.glance_counts(None).await.expect("counts").total(), 2);
}

pub(super) async fn cleanup_shows_what_is_going_and_what_was_left(bench: Bench) {
    let mut left = bucket(ResourceState::Present);
    left.cleanup = Some(Cleanup {
        result: CleanupResult::Failed,
        error: Some("not empty".to_owned()),
    });
    bench.archived("left-over", Some(left)).await;
    bench.archived("clean", None).await;
    bench.create("alive").await;
    bench.create("going").await;
    bench
        .request_deletion(&name("going"), false)
        .await
        .expect("asked");
    let found = bench.glance_cleanup(None, 10).await.expect("cleanup");
    let names: Vec<_> = found.iter().map(|s| s.agent.name.as_str()).collect();
    assert_eq!(names, ["going", "left-over"]);
    let other = Owner("acme".to_owned());
    assert!(
        bench
            .glance_cleanup(Some(&other), 10)
            .await
            .expect("cleanup")
            .is_empty()
    );
    assert_eq!(
        bench.glance_cleanup(None, 1).await.expect("cleanup").len(),
        1
    );
    let left = |owner, limit| bench.glance_left_over(owner, limit);
    let found = left(None, 10).await.expect("left over");
    let names: Vec<_> = found.iter().map(|s| s.agent.name.as_str()).collect();
    assert_eq!(names, ["left-over"]);
    assert!(left(Some(&other), 10).await.expect("asked").is_empty());
    assert!(left(None, 0).await.expect("asked").is_empty());
}

fn happened(message: &str, severity: Severity) -> NewEvent {
    NewEvent {
        severity,
        reason: EventReason::Created,
        object: "worker/x".to_owned(),
        message: message.to_owned(),
    }
}

pub(super) async fn events_are_of_one_owner_or_one_agent(bench: Bench) {
    let mine = bench.create("mine").await;
    create_for(&bench, "theirs", "acme").await;
    let theirs = bench
        .get("theirs", false)
        .await
        .expect("read")
        .expect("a row")
        .agent
        .id;
    for (agent, text) in [
        (Some(mine), "one"),
        (Some(theirs), "two"),
        (None, "three"),
        (Some(mine), "four"),
    ] {
        let severity = if text == "four" {
            Severity::Warning
        } else {
            Severity::Normal
        };
        bench
            .record_event(agent, &happened(text, severity))
            .await
            .expect("recorded");
        bench.tick(mine).await;
    }
    let all = GlanceEvents {
        limit: 10,
        ..GlanceEvents::default()
    };
    let told = async |ask: GlanceEvents| -> Vec<String> {
        let found = bench.glance_events(&ask).await.expect("events");
        found
            .into_iter()
            .map(|e| format!("{} {}", e.agent, e.event.message))
            .collect()
    };
    assert_eq!(
        told(all.clone()).await,
        ["mine one", "theirs two", "talon three", "mine four"]
    );
    let acme = GlanceEvents {
        owner: Some(Owner("acme".to_owned())),
        ..all.clone()
    };
    assert_eq!(told(acme).await, ["theirs two"]);
    let latest = GlanceEvents {
        agent: Some(mine),
        limit: 1,
        ..all.clone()
    };
    assert_eq!(told(latest).await, ["mine four"]);
    let warnings = GlanceEvents {
        severity: Some(Severity::Warning),
        ..all
    };
    assert_eq!(told(warnings).await, ["mine four"]);
}

pub(super) async fn the_controller_is_seen_at_work(bench: Bench) {
    let idle = bench.controller_state().await.expect("a state");
    assert_eq!(
        (idle.due, idle.oldest_due, idle.replicas.len()),
        (0, None, 0)
    );
    let first = bench.create("first").await;
    bench.tick(first).await;
    bench.create("second").await;
    let state = bench.controller_state().await.expect("a state");
    assert_eq!((state.due, state.scheduled, state.failing), (2, 0, 0));
    assert!(state.oldest_due.is_some_and(|at| at < state.now));
    let claim = bench.claim(first).await;
    assert!(
        bench
            .try_lease("sweep", "bench", LONG)
            .await
            .expect("asked")
    );
    let state = bench.controller_state().await.expect("a state");
    assert_eq!((state.due, state.oldest_due), (0, None));
    let replica = &state.replicas[0];
    assert_eq!((replica.holder.as_str(), replica.agents), ("bench", 2));
    assert_eq!(replica.duties, ["sweep"]);
    assert!(replica.until > state.now);
    let loaded = bench.snap(first).await;
    let finish = talon_core::mutation::Finish {
        next_due_in: Some(LONG),
        progress: Progress::Failed,
        ..quiet(&loaded)
    };
    bench.finish(&claim, &finish).await.expect("finished");
    let state = bench.controller_state().await.expect("a state");
    assert_eq!((state.scheduled, state.failing), (1, 1));
}

pub(super) async fn granted_calls_and_pauses_are_shown(bench: Bench) {
    let ask = BudgetAsk {
        want: 3,
        reserve: 0,
        ceiling: 100,
        window: LONG,
    };
    bench.take_budget("account-a", ask).await.expect("granted");
    bench.take_budget("account-a", ask).await.expect("granted");
    bench.pause_budget("account-b", LONG).await.expect("paused");
    let state = bench.controller_state().await.expect("a state");
    let told: Vec<_> = state
        .budgets
        .iter()
        .map(|b| {
            let used: u32 = b.slots.iter().map(|s| s.used).sum();
            (b.account.as_str(), used, b.paused_until.is_some())
        })
        .collect();
    assert_eq!(told, [("account-a", 6, false), ("account-b", 0, true)]);
    assert!(matches!(
        bench.request_reconcile(&name("nobody")).await,
        Err(StoreError::NotFound)
    ));
}
