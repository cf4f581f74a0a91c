//! The end of a pass.

use std::time::Duration;

use serde_json::json;
use talon_core::mutation::{Finish, Mutation, Progress, StatusWrite};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, Generation, Snapshot};

use super::support::{Bench, assert_code, name, quiet, spec};
use crate::{Claim, HoldKind, codes};

async fn pass(bench: &Bench, agent: &str) -> (AgentId, Claim, Snapshot) {
    let id = bench.create(agent).await;
    let claim = bench.claim(id).await;
    let loaded = bench.snap(id).await;
    (id, claim, loaded)
}

pub(super) async fn frees_and_schedules(bench: Bench) {
    let (id, claim, loaded) = pass(&bench, "research-pro").await;
    let finish = Finish {
        next_due_in: Some(Duration::from_secs(300)),
        ..quiet(&loaded)
    };
    bench.finish(&claim, &finish).await.unwrap();
    let snap = bench.snap(id).await;
    assert_eq!((snap.work.lease_owner, snap.work.lease_until), (None, None));
    assert_eq!(snap.work.lease_epoch, claim.epoch);
    let due_in = snap.work.next_due_at.unwrap() - snap.now;
    assert!((290..=300).contains(&due_in.num_seconds()), "{due_in}");
    assert_eq!(bench.enqueue(&[id]).await.unwrap(), 1);
    let claim = bench.claim(id).await;
    bench.finish(&claim, &quiet(&loaded)).await.unwrap();
    assert_eq!(bench.snap(id).await.work.next_due_at, None);
}

async fn end(bench: &Bench, id: AgentId, progress: Progress) -> Snapshot {
    let claim = bench.claim(id).await;
    let finish = Finish {
        progress,
        next_due_in: Some(Duration::ZERO),
        ..quiet(&bench.snap(id).await)
    };
    bench.finish(&claim, &finish).await.unwrap();
    bench.snap(id).await
}

pub(super) async fn counts_failures(bench: Bench) {
    let id = bench.create("research-pro").await;
    let first = end(&bench, id, Progress::Failed).await.work;
    assert_eq!(first.failure_count, 1);
    let since = first.failing_since.unwrap();
    bench.tick(id).await;
    let second = end(&bench, id, Progress::Failed).await.work;
    assert_eq!(
        (second.failure_count, second.failing_since),
        (2, Some(since))
    );
    let waiting = end(&bench, id, Progress::Waiting).await.work;
    assert_eq!(
        (waiting.failure_count, waiting.failing_since),
        (2, Some(since))
    );
    let ok = end(&bench, id, Progress::Ok).await.work;
    assert_eq!((ok.failure_count, ok.failing_since), (0, None));
}

pub(super) async fn counts_throttling(bench: Bench) {
    let id = bench.create("research-pro").await;
    let throttled = Progress::Throttled { seconds: 30 };
    let before = end(&bench, id, throttled).await.work;
    assert_eq!((before.failure_count, before.throttled_seconds), (0, 0));
    end(&bench, id, Progress::Failed).await;
    end(&bench, id, throttled).await;
    let twice = end(&bench, id, throttled).await.work;
    assert_eq!((twice.failure_count, twice.throttled_seconds), (1, 60));
    let ok = end(&bench, id, Progress::Ok).await.work;
    assert_eq!((ok.throttled_seconds, ok.failing_since), (0, None));
}

async fn finish_late(bench: &Bench, id: AgentId, claim: &Claim, loaded: &Snapshot) {
    bench.tick(id).await;
    let finish = Finish {
        next_due_in: Some(Duration::from_secs(3600)),
        ..quiet(loaded)
    };
    bench.finish(claim, &finish).await.unwrap();
    let snap = bench.snap(id).await;
    assert!(
        snap.work.next_due_at.is_some_and(|at| at <= snap.now),
        "the change made during the pass is worked on at once"
    );
    bench.claim(id).await;
}

pub(super) async fn never_loses_a_spec_change(bench: Bench) {
    let (id, claim, loaded) = pass(&bench, "research-pro").await;
    let mut wanted = spec();
    wanted.keep_alive = true;
    bench.put("research-pro", &wanted).await.unwrap();
    finish_late(&bench, id, &claim, &loaded).await;
}

pub(super) async fn never_loses_a_request(bench: Bench) {
    let (id, claim, loaded) = pass(&bench, "research-pro").await;
    bench
        .request_reconcile(&name("research-pro"))
        .await
        .unwrap();
    finish_late(&bench, id, &claim, &loaded).await;
    // A second request, while the first is being worked on.
    let loaded = bench.snap(id).await;
    let claim = Claim {
        agent_id: id,
        epoch: loaded.work.lease_epoch,
    };
    bench
        .request_reconcile(&name("research-pro"))
        .await
        .unwrap();
    finish_late(&bench, id, &claim, &loaded).await;
    // And one that was seen asks for nothing more.
    let loaded = bench.snap(id).await;
    let claim = Claim {
        agent_id: id,
        epoch: loaded.work.lease_epoch,
    };
    bench.finish(&claim, &quiet(&loaded)).await.unwrap();
    assert_eq!(bench.snap(id).await.work.next_due_at, None);
}

pub(super) async fn never_loses_a_deletion(bench: Bench) {
    let (id, claim, loaded) = pass(&bench, "research-pro").await;
    bench
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
    finish_late(&bench, id, &claim, &loaded).await;
}

pub(super) async fn never_loses_a_release(bench: Bench) {
    let (id, claim, loaded) = pass(&bench, "research-pro").await;
    let hold = async |kind| {
        bench.set_hold(kind, "r").await.unwrap();
        bench.hold().await.unwrap().unwrap().since
    };
    let finish = |since| Finish {
        loaded_hold: Some(since),
        ..quiet(&loaded)
    };
    let due = async || {
        let snap = bench.snap(id).await;
        snap.work.next_due_at.is_some_and(|at| at <= snap.now)
    };
    let since = hold(HoldKind::MassChange).await;
    bench.release_hold().await.unwrap();
    bench.tick(id).await;
    bench.finish(&claim, &finish(since)).await.unwrap();
    assert!(due().await, "what the hold withheld is worked on at once");
    // Another hold is not the one that the pass knows of.
    let claim = bench.claim(id).await;
    let other = hold(HoldKind::Operator).await;
    bench.finish(&claim, &finish(since)).await.unwrap();
    assert!(due().await);
    // In force from the load to the end: it withholds, and nothing is due.
    let claim = bench.claim(id).await;
    bench.finish(&claim, &finish(other)).await.unwrap();
    assert_eq!(bench.snap(id).await.work.next_due_at, None);
    bench.release_hold().await.unwrap();
    assert!(due().await);
}

pub(super) async fn keeps_the_plan_report(bench: Bench) {
    let id = bench.create("research-pro").await;
    let report =
        json!({"steps": [{"kind": "worker", "do": "Create", "why": "it's absent"}], "n": 1});
    for (given, expected) in [
        (Some(report.clone()), Some(report.clone())),
        (None, Some(report)),
        (Some(json!([])), Some(json!([]))),
    ] {
        let claim = bench.claim(id).await;
        let finish = Finish {
            plan_report: given,
            next_due_in: Some(Duration::ZERO),
            ..quiet(&bench.snap(id).await)
        };
        bench.finish(&claim, &finish).await.unwrap();
        assert_eq!(bench.snap(id).await.work.plan_report, expected);
    }
}

pub(super) async fn applies_its_mutations_or_nothing(bench: Bench) {
    let (id, claim, loaded) = pass(&bench, "research-pro").await;
    let deployed = Mutation::Status(StatusWrite {
        deployment_status: Some(DeploymentStatus::Deployed),
        ..Default::default()
    });
    let finish = Finish {
        mutations: vec![deployed.clone(), Mutation::Archive],
        ..quiet(&loaded)
    };
    assert_code(bench.finish(&claim, &finish).await, codes::ARCHIVE);
    let snap = bench.snap(id).await;
    assert_eq!(
        snap.agent.status.deployment_status,
        DeploymentStatus::Pending
    );
    assert!(snap.work.lease_owner.is_some(), "the lease is still held");
    let finish = Finish {
        mutations: vec![
            deployed,
            Mutation::Latch {
                generation: Generation(1),
            },
        ],
        ..quiet(&loaded)
    };
    bench.finish(&claim, &finish).await.unwrap();
    let snap = bench.snap(id).await;
    assert_eq!(
        snap.agent.status.deployment_status,
        DeploymentStatus::Deployed
    );
    assert!(snap.agent.status.first_deployed_at.is_some());
    assert_eq!(snap.work.lease_owner, None);
}
