//! Deletion is a request; the row is archived in the end and its name is free again.

use talon_core::mutation::{Cleanup, Mutation, ResourceWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::spec::{DeletionPolicy, Jurisdiction};
use talon_core::{AgentId, Generation, card};

use super::support::{Bench, assert_code, bucket, name, spec, worker};
use crate::{ApplyOutcome, Claim, ListFilter, RowState, StoreError, codes};

pub(super) async fn is_a_request(bench: Bench) {
    let id = bench.deployed("research-pro").await;
    let n = name("research-pro");
    bench.request_deletion(&n, false).await.unwrap();
    let snap = bench.snap(id).await;
    assert!(snap.agent.deletion_requested_at.is_some());
    assert_eq!(snap.agent.generation, Generation(2));
    assert!(snap.work.next_due_at.is_some_and(|due| due <= snap.now));
    assert_eq!(snap.agent.status.deleted_at, None);
    let seq = bench.last_change().await.unwrap();
    bench.tick(id).await;
    bench.request_deletion(&n, true).await.unwrap();
    let again = bench.snap(id).await;
    assert_eq!(again.agent, snap.agent, "asking twice changes nothing");
    assert_eq!(bench.last_change().await.unwrap(), seq);
    assert!(bench.get("research-pro", false).await.unwrap().is_some());
    bench.request_reconcile(&n).await.unwrap();
}

pub(super) async fn keeps_the_bucket_if_asked(bench: Bench) {
    let id = bench.create("research-pro").await;
    bench
        .request_deletion(&name("research-pro"), true)
        .await
        .unwrap();
    let agent = bench.snap(id).await.agent;
    assert_eq!(agent.spec.deletion_policy, DeletionPolicy::KeepBucket);
    assert_eq!(agent.generation, Generation(2));
}

pub(super) async fn protection_refuses_it(bench: Bench) {
    let mut wanted = spec();
    wanted.deletion_protected = true;
    let id = bench.put("research-pro", &wanted).await.unwrap().id;
    let n = name("research-pro");
    assert_code(bench.request_deletion(&n, false).await, codes::PROTECTED);
    assert_eq!(bench.snap(id).await.agent.deletion_requested_at, None);
    wanted.deletion_protected = false;
    bench.put("research-pro", &wanted).await.unwrap();
    bench.request_deletion(&n, false).await.unwrap();
}

pub(super) async fn freezes_the_spec(bench: Bench) {
    let id = bench.create("research-pro").await;
    let n = name("research-pro");
    bench.request_deletion(&n, false).await.unwrap();
    let before = bench.snap(id).await.agent;
    let mut wanted = spec();
    wanted.keep_alive = true;
    assert_code(bench.put("research-pro", &wanted).await, codes::DELETING);
    assert_code(bench.set_suspend(&n, true).await, codes::DELETING);
    // Whoever applies what is there already is told as well that it goes.
    assert_code(bench.put("research-pro", &spec()).await, codes::DELETING);
    assert_eq!(bench.snap(id).await.agent, before);
}

pub(super) async fn archive_needs_a_request(bench: Bench) {
    let id = bench.create("research-pro").await;
    let claim = bench.claim(id).await;
    assert_code(
        bench.commit(&claim, &[Mutation::Archive]).await,
        codes::ARCHIVE,
    );
    bench
        .request_deletion(&name("research-pro"), false)
        .await
        .unwrap();
    bench.write(&claim, Mutation::Archive).await;
    let at = bench.snap(id).await.agent.status.deleted_at;
    assert!(at.is_some());
    bench.tick(id).await;
    bench.write(&claim, Mutation::Archive).await;
    assert_eq!(bench.snap(id).await.agent.status.deleted_at, at);
}

pub(super) async fn archive_frees_the_name(bench: Bench) {
    let old = bench.archived("research-pro", None).await;
    assert!(bench.get("research-pro", false).await.unwrap().is_none());
    assert_eq!(
        bench
            .get("research-pro", true)
            .await
            .unwrap()
            .unwrap()
            .agent
            .id,
        old
    );
    assert!(bench.list(&ListFilter::default()).await.unwrap().is_empty());
    assert!(bench.load_page(None, 10).await.unwrap().is_empty());
    assert_eq!(bench.enqueue(&[old]).await.unwrap(), 0);
    assert_eq!(bench.next_due_in().await.unwrap(), None);
    let made = bench.put("research-pro", &spec()).await.unwrap();
    assert_eq!(
        (made.outcome, made.generation),
        (ApplyOutcome::Created, Generation(1))
    );
    assert_ne!(made.id, old);
    assert_eq!(
        bench
            .get("research-pro", true)
            .await
            .unwrap()
            .unwrap()
            .agent
            .id,
        made.id
    );
    let claims = bench
        .claim_due("a", super::support::LONG, 10)
        .await
        .unwrap();
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].agent_id, made.id);
}

pub(super) async fn latest_archived_is_shown(bench: Bench) {
    let first = bench.archived("research-pro", None).await;
    bench.tick(first).await;
    let second = bench.archived("research-pro", None).await;
    assert_ne!(first, second);
    assert_eq!(
        bench
            .get("research-pro", true)
            .await
            .unwrap()
            .unwrap()
            .agent
            .id,
        second
    );
    let all = ListFilter {
        include_archived: true,
        ..Default::default()
    };
    assert_eq!(bench.list(&all).await.unwrap().len(), 2);
}

fn failed(error: &str) -> ResourceWrite {
    ResourceWrite {
        external_id: Some(Some("ext-1".to_owned())),
        cleanup: Some(Cleanup {
            result: CleanupResult::Failed,
            error: Some(error.to_owned()),
        }),
        ..bucket(ResourceState::Present)
    }
}

pub(super) async fn leftovers_are_named_and_corrected(bench: Bench) {
    assert!(bench.leftovers().await.unwrap().is_empty());
    // While an agent is still being deleted, a failed step is no leftover yet.
    let busy = bench.create("busy").await;
    let claim = bench.claim(busy).await;
    bench
        .write(&claim, Mutation::Resource(failed("later")))
        .await;
    let clean = ResourceWrite {
        cleanup: Some(Cleanup {
            result: CleanupResult::Deleted,
            error: None,
        }),
        ..worker(ResourceState::Absent)
    };
    bench.archived("clean", Some(clean)).await;
    let id = bench
        .archived("research-pro", Some(failed("not empty")))
        .await;
    let left = bench.leftovers().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].agent_id, left[0].agent.as_str()),
        (id, "research-pro")
    );
    assert_eq!(
        (left[0].kind, left[0].name.as_str()),
        (ResourceKind::R2Bucket, "openclaw-x")
    );
    assert_eq!(left[0].external_id.as_deref(), Some("ext-1"));
    assert_eq!(left[0].error.as_deref(), Some("not empty"));
    assert_eq!(left[0].jurisdiction, Jurisdiction::Default);

    for (result, note) in [
        (CleanupResult::Deleted, None),
        (CleanupResult::AlreadyAbsent, Some("a note")),
    ] {
        bench
            .correct_cleanup(id, ResourceKind::R2Bucket, result, note)
            .await
            .unwrap();
        assert!(bench.leftovers().await.unwrap().is_empty());
        let record = bench
            .snap(id)
            .await
            .resource(ResourceKind::R2Bucket)
            .unwrap()
            .clone();
        assert_eq!(record.cleanup_result, Some(result));
        assert_eq!(record.cleanup_error.as_deref(), note);
        assert!(record.cleaned_at.is_some());
    }

    let (failed, error) = (CleanupResult::Failed, Some("it came back"));
    bench
        .correct_cleanup(id, ResourceKind::R2Bucket, failed, error)
        .await
        .unwrap();
    let left = bench.leftovers().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].error.as_deref(), Some("it came back"));
    let record = bench
        .snap(id)
        .await
        .resource(ResourceKind::R2Bucket)
        .unwrap()
        .clone();
    assert_eq!(record.cleaned_at, None);

    for (agent, kind) in [(id, ResourceKind::Worker), (busy, ResourceKind::R2Bucket)] {
        let result = bench
            .correct_cleanup(agent, kind, CleanupResult::Deleted, None)
            .await;
        assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
    }
}

pub(super) async fn ownership(bench: Bench) {
    let live = bench.create("alive").await;
    let gone = bench.archived("gone", None).await;
    let nobody = AgentId(uuid::Uuid::nil());
    let mut found = bench.ownership(&[gone, nobody, live]).await.unwrap();
    found.sort_by_key(|(_, state)| *state == RowState::Archived);
    assert_eq!(found, [(live, RowState::Live), (gone, RowState::Archived)]);
    assert!(bench.ownership(&[]).await.unwrap().is_empty());
}

pub(super) async fn leftovers_tell_where_the_bucket_lives(bench: Bench) {
    let mut eu = spec();
    eu.r2.jurisdiction = Jurisdiction::Eu;
    let id = bench.put("far-away", &eu).await.expect("created").id;
    bench.archive("far-away", id, Some(failed("no"))).await;
    let left = bench.leftovers().await.unwrap();
    assert_eq!(left[0].jurisdiction, Jurisdiction::Eu);
}

pub(super) async fn buckets_belong_to_rows_live_or_archived(bench: Bench) {
    let named = |bucket: &str| Mutation::Names {
        worker: format!("worker-of-{bucket}"),
        bucket: bucket.to_owned(),
        account: "account".to_owned(),
    };
    let gone = bench.create("gone").await;
    let claim = bench.claim(gone).await;
    bench.write(&claim, named("openclaw-gone")).await;
    bench.release(&claim).await.expect("released");
    bench.archive("gone", gone, None).await;
    let live = bench.create("alive").await;
    let claim = bench.claim(live).await;
    bench.write(&claim, named("openclaw-live")).await;
    let ask = ["openclaw-live", "openclaw-nobodys", "openclaw-gone"].map(str::to_owned);
    let owned = bench.owned_buckets(&ask).await.unwrap();
    let want = ["openclaw-gone", "openclaw-live"].map(str::to_owned);
    assert_eq!(owned.into_iter().collect::<Vec<_>>(), want);
    assert!(bench.owned_buckets(&[]).await.unwrap().is_empty());
    let other = bench.owned_buckets(&ask[1..2]).await.unwrap();
    assert!(other.is_empty(), "{other:?}");
}

/// A card that could not be removed in time is removed later, by whoever has the row's last epoch.
pub(super) async fn a_card_left_over_can_be_removed(bench: Bench) {
    let id = bench.create("carded").await;
    let claim = bench.claim(id).await;
    let agent = bench.snap(id).await.agent;
    let card = card::build(&agent.name, &agent.owner, &agent.spec, agent.generation, "");
    bench.write(&claim, Mutation::Card(Box::new(card))).await;
    bench.release(&claim).await.expect("released");
    bench.archive("carded", id, None).await;
    assert!(bench.card(id).await.unwrap().is_some());
    let epoch = bench.snap(id).await.work.lease_epoch;
    let claim = Claim {
        agent_id: id,
        epoch,
    };
    bench.write(&claim, Mutation::CardGone).await;
    assert!(bench.card(id).await.unwrap().is_none());
}
