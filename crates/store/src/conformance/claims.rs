//! Leases: claims, epochs, fencing, renewal.

use std::collections::BTreeSet;
use std::time::Duration;

use talon_core::Epoch;
use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::status::DeploymentStatus;

use crate::StoreError;

use super::support::{Bench, LONG, assert_stale, name, quiet};

fn status(word: DeploymentStatus) -> Mutation {
    Mutation::Status(StatusWrite {
        deployment_status: Some(word),
        ..Default::default()
    })
}

pub(super) async fn a_new_agent_is_due_once(bench: Bench) {
    assert!(bench.claim_due("a", LONG, 10).await.unwrap().is_empty());
    let id = bench.create("research-pro").await;
    let claims = bench.claim_due("a", LONG, 10).await.unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].agent_id, claims[0].epoch), (id, Epoch(1)));
    assert!(bench.claim_due("b", LONG, 10).await.unwrap().is_empty());
    let snap = bench.snap(id).await;
    assert_eq!(snap.work.lease_owner.as_deref(), Some("a"));
    assert_eq!(snap.work.lease_epoch, Epoch(1));
    assert!(snap.work.lease_until.is_some_and(|until| until > snap.now));
}

pub(super) async fn limit_holds(bench: Bench) {
    for i in 0..5 {
        bench.create(&format!("agent-{i}")).await;
    }
    assert!(bench.claim_due("a", LONG, 0).await.unwrap().is_empty());
    assert_eq!(bench.claim_due("a", LONG, 2).await.unwrap().len(), 2);
    assert_eq!(bench.claim_due("a", LONG, 10).await.unwrap().len(), 3);
}

pub(super) async fn deletions_first_then_oldest(bench: Bench) {
    let mut ids = Vec::new();
    for n in ["one", "two", "three", "four"] {
        let id = bench.create(n).await;
        bench.tick(id).await;
        ids.push(id);
    }
    bench.request_deletion(&name("three"), false).await.unwrap();
    let mut order = Vec::new();
    for _ in 0..4 {
        let claims = bench.claim_due("a", LONG, 1).await.unwrap();
        order.push(claims[0].agent_id);
    }
    assert_eq!(order, [ids[2], ids[0], ids[1], ids[3]]);
}

pub(super) async fn racing_claims_share_no_agent(bench: Bench) {
    for i in 0..24 {
        bench.create(&format!("agent-{i}")).await;
    }
    let mut racers = Vec::new();
    for r in 0..6 {
        let bench = bench.clone();
        racers.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let some = bench
                    .claim_due(&format!("racer-{r}"), LONG, 3)
                    .await
                    .unwrap();
                if some.is_empty() {
                    break mine;
                }
                mine.extend(some.into_iter().map(|c| c.agent_id));
            }
        }));
    }
    let mut all = Vec::new();
    for racer in racers {
        all.extend(racer.await.unwrap());
    }
    // A racer may find rows locked by another and stop early; what is left must still be claimable, once.
    all.extend(
        bench
            .claim_due("last", LONG, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|c| c.agent_id),
    );
    assert_eq!(all.len(), 24);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), 24);
}

pub(super) async fn a_newer_epoch_fences(bench: Bench) {
    let id = bench.create("research-pro").await;
    let old = bench.claim_for(id, Duration::ZERO).await;
    bench.tick(id).await;
    let loaded = bench.snap(id).await;
    let new = bench.claim(id).await;
    assert!(new.epoch > old.epoch);
    assert_stale(
        bench
            .commit(&old, &[status(DeploymentStatus::Deployed)])
            .await,
    );
    assert_stale(bench.commit(&old, &[]).await);
    assert_stale(bench.finish(&old, &quiet(&loaded)).await);
    assert_stale(bench.release(&old).await);
    assert_eq!(
        bench
            .renew(&[old.clone(), new.clone()], LONG)
            .await
            .unwrap(),
        [id]
    );
    let snap = bench.snap(id).await;
    assert_eq!(
        snap.agent.status.deployment_status,
        DeploymentStatus::Pending
    );
    assert_eq!(snap.work.lease_epoch, new.epoch);
    assert!(snap.work.lease_owner.is_some(), "the newer lease stands");
    bench.write(&new, status(DeploymentStatus::Deploying)).await;
}

pub(super) async fn a_lost_lease_is_unclean(bench: Bench) {
    let id = bench.create("research-pro").await;
    bench.claim_for(id, Duration::from_millis(1)).await;
    let until = bench.snap(id).await.work.lease_until.unwrap();
    assert_eq!(bench.snap(id).await.work.unclean_until, None);
    bench.tick(id).await;
    let claim = bench.claim(id).await;
    assert_eq!(bench.snap(id).await.work.unclean_until, Some(until));
    bench.release(&claim).await.unwrap();
    bench.claim(id).await;
    assert_eq!(
        bench.snap(id).await.work.unclean_until,
        Some(until),
        "a clean end adds nothing"
    );
}

pub(super) async fn a_lease_given_back_is_clean(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    let due = bench.snap(id).await.work.next_due_at;
    bench.release(&claim).await.unwrap();
    let work = bench.snap(id).await.work;
    assert_eq!((work.lease_owner, work.lease_until), (None, None));
    assert_eq!(work.next_due_at, due, "it stays due");
    let again = bench.claim(id).await;
    assert_eq!(again.epoch, Epoch(claim.epoch.0 + 1));
    assert_eq!(bench.snap(id).await.work.unclean_until, None);
}

pub(super) async fn renewal(bench: Bench) {
    let one = bench.create("agent-one").await;
    let two = bench.create("agent-two").await;
    let claims = bench
        .claim_due("a", Duration::from_secs(30), 10)
        .await
        .unwrap();
    let before = bench.snap(one).await.work.lease_until.unwrap();
    assert!(bench.renew(&claims, LONG).await.unwrap().is_empty());
    assert!(bench.snap(one).await.work.lease_until.unwrap() > before);
    assert!(bench.snap(two).await.work.lease_until.unwrap() > before);
    let released = claims.iter().find(|c| c.agent_id == two).unwrap();
    bench.release(released).await.unwrap();
    assert_eq!(bench.renew(&claims, LONG).await.unwrap(), [two]);
    assert_eq!(bench.snap(two).await.work.lease_until, None);
    assert!(bench.renew(&[], LONG).await.unwrap().is_empty());
}

pub(super) async fn an_expired_lease_unclaimed_may_write(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim_for(id, Duration::ZERO).await;
    bench.tick(id).await;
    bench
        .write(&claim, status(DeploymentStatus::Deploying))
        .await;
    let status = bench.snap(id).await.agent.status.deployment_status;
    assert_eq!(status, DeploymentStatus::Deploying);
}

pub(super) async fn enqueue_moves_only_what_is_not_due(bench: Bench) {
    let idle = bench.deployed("idle").await;
    let due = bench.create("due-now").await;
    let gone = bench.archived("gone", None).await;
    let nobody = talon_core::AgentId(uuid::Uuid::nil());
    // `archived` claimed everything that was due.
    let epoch = bench.snap(due).await.work.lease_epoch;
    bench
        .release(&crate::Claim {
            agent_id: due,
            epoch,
        })
        .await
        .unwrap();
    let before = bench.snap(due).await.work.next_due_at;
    bench.tick(idle).await;
    let moved = bench.enqueue(&[idle, due, gone, nobody]).await.unwrap();
    assert_eq!(moved, 1);
    let snap = bench.snap(idle).await;
    assert!(snap.work.next_due_at.is_some_and(|at| at <= snap.now));
    assert_eq!(bench.snap(due).await.work.next_due_at, before);
    assert_eq!(bench.enqueue(&[idle]).await.unwrap(), 0);
    assert_eq!(bench.enqueue(&[]).await.unwrap(), 0);
    let claims = bench.claim_due("a", LONG, 10).await.unwrap();
    assert_eq!(claims[0].agent_id, due, "it has been due for longer");
    assert_eq!(claims.len(), 2);
}

pub(super) async fn next_due(bench: Bench) {
    assert_eq!(bench.next_due_in().await.unwrap(), None);
    let id = bench.create("research-pro").await;
    assert_eq!(bench.next_due_in().await.unwrap(), Some(Duration::ZERO));
    let claim = bench.claim_for(id, Duration::from_secs(1000)).await;
    // While it is leased it can come up only when that lease ends.
    let within = |d: Option<Duration>, lo: u64, hi: u64| {
        let d = d.expect("something is due");
        assert!(
            d > Duration::from_secs(lo) && d <= Duration::from_secs(hi),
            "{d:?} is not within {lo}..{hi} s"
        );
    };
    within(bench.next_due_in().await.unwrap(), 900, 1000);
    let mut finish = quiet(&bench.snap(id).await);
    finish.next_due_in = Some(Duration::from_secs(500));
    bench.finish(&claim, &finish).await.unwrap();
    within(bench.next_due_in().await.unwrap(), 400, 500);
    bench.archived("gone", None).await;
    within(bench.next_due_in().await.unwrap(), 400, 500);
}

pub(super) async fn one_agent_is_claimed_due_or_not(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    assert_eq!(bench.snap(id).await.work.next_due_at, None);
    let claim = bench.claim_agent(id, "handler", LONG).await.unwrap();
    let claim = claim.expect("nobody has it");
    let work = bench.snap(id).await.work;
    assert_eq!(
        (claim.agent_id, claim.epoch, work.lease_owner.as_deref()),
        (id, work.lease_epoch, Some("handler"))
    );
    let now = bench.snap(id).await.now;
    assert!(work.lease_until.is_some_and(|until| until > now));
    // Nobody else gets it meanwhile, by either way; it is due afterwards only if somebody makes it so.
    assert_eq!(bench.claim_agent(id, "other", LONG).await.unwrap(), None);
    bench.enqueue(&[id]).await.unwrap();
    assert!(bench.claim_due("b", LONG, 10).await.unwrap().is_empty());
    bench.release(&claim).await.unwrap();
    let passes = bench.claim_due("b", LONG, 10).await.unwrap();
    assert_eq!(passes.len(), 1);
    assert_stale(
        bench
            .commit(&claim, &[status(DeploymentStatus::Deploying)])
            .await,
    );
    assert_eq!(bench.claim_agent(id, "other", LONG).await.unwrap(), None);
    assert_eq!(bench.snap(id).await.work.unclean_until, None);

    let short = bench.create("news-digest").await;
    let first = bench.claim_agent(short, "a", Duration::ZERO).await.unwrap();
    bench.tick(short).await;
    let second = bench.claim_agent(short, "b", LONG).await.unwrap();
    assert!(second.is_some() && second != first, "it had run out");
    assert!(bench.snap(short).await.work.unclean_until.is_some());

    let gone = bench.archived("old-helper", None).await;
    let refused = bench.claim_agent(gone, "a", LONG).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    let nobody = talon_core::AgentId(uuid::Uuid::from_u128(1));
    let refused = bench.claim_agent(nobody, "a", LONG).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
}
