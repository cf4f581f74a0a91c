use chrono::TimeDelta;
use talon_core::agent::Agent;
use talon_core::cloud::WorkerInfo;
use talon_core::mutation::{Mutation, ResourceWrite};
use talon_core::name::WorkerMarks;
use talon_core::resource::ResourceRecord;
use talon_core::{AgentName, AgentSpec, Generation, Owner, TryId};
use talon_store::{ApplyOptions, Claim, MemoryStore};

use super::*;
use crate::clock::SystemClock;

fn install() -> InstallId {
    InstallId::from_random(*b"0123456789")
}

fn name(n: usize) -> AgentName {
    AgentName::parse(&format!("agent-{n}")).unwrap()
}

fn spec() -> AgentSpec {
    serde_json::from_value(serde_json::json!({
        "persona": "You are careful.", "instructions": "Cite.", "model": "dev/echo",
    }))
    .unwrap()
}

/// Agents whose Workers `worker-0`, `worker-1` … are recorded, and a brake that has learnt of them.
struct Fleet {
    store: Arc<dyn Store>,
    brake: Brake,
    claims: Vec<Claim>,
}

impl Fleet {
    async fn of(size: usize) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock::default())));
        for n in 0..size {
            store
                .apply(
                    &name(n),
                    &Owner::default(),
                    &spec(),
                    ApplyOptions::default(),
                )
                .await
                .unwrap();
        }
        let lease = Duration::from_secs(60);
        let claims = store.claim_due("test", lease, size).await.unwrap();
        let config = BrakeConfig {
            deletions: 2,
            ..BrakeConfig::default()
        };
        let brake = Brake::new(store.clone(), install(), config, Duration::ZERO);
        let fleet = Self {
            store,
            brake,
            claims,
        };
        fleet.record(ResourceState::Present).await;
        fleet.brake.learn().await.unwrap();
        // What was confirmed in this very millisecond need not be listed yet.
        while fleet.fresh().await {}
        fleet
    }

    async fn fresh(&self) -> bool {
        let all = self.store.list(&Default::default()).await.unwrap();
        let missed = |s: &Snapshot| self.brake.is_missed(s);
        !all.iter().all(missed)
    }

    async fn record(&self, state: ResourceState) {
        for (n, claim) in self.claims.iter().enumerate() {
            let worker = ResourceWrite {
                confirmed: true,
                ..ResourceWrite::new(ResourceKind::Worker, format!("worker-{n}"), state)
            };
            let latch = Mutation::Latch {
                generation: Generation(1),
            };
            let mutations = [Mutation::Resource(worker), latch];
            self.store.commit(claim, &mutations).await.unwrap();
        }
    }

    /// An inventory that shows all Workers but the first so many.
    async fn lose(&self, lost: usize) -> bool {
        let names = (lost..self.claims.len()).map(|n| format!("worker-{n}"));
        let workers = names.map(|n| (n.clone(), listed(&n, None))).collect();
        self.look(workers).await
    }

    /// Whether a hold is in force after such an inventory.
    async fn look(&self, workers: BTreeMap<String, WorkerInfo>) -> bool {
        let inventory = Inventory {
            workers,
            ..Inventory::default()
        };
        self.brake.compare(None, &inventory).await.unwrap();
        self.held().await
    }

    async fn held(&self) -> bool {
        self.store.hold().await.unwrap().is_some()
    }
}

fn listed(name: &str, tags: Option<Vec<String>>) -> WorkerInfo {
    WorkerInfo {
        name: name.to_owned(),
        script_tag: None,
        etag: None,
        tags,
        created_on: None,
        modified_on: None,
        migration_tag: None,
    }
}

#[tokio::test]
async fn what_was_released_is_not_held_again_but_the_next_disaster_is() {
    let fleet = Fleet::of(6).await;
    assert!(fleet.lose(6).await);
    fleet.store.release_hold().await.unwrap();
    assert!(!fleet.lose(6).await);
    assert!(!fleet.lose(6).await, "what was accepted is known no more");
    for claim in &fleet.claims {
        fleet.brake.uploaded(claim.agent_id, "worker");
    }
    assert!(fleet.lose(6).await);
}

#[tokio::test]
async fn workers_that_calls_found_gone_before_any_list_did_are_missed_too() {
    let fleet = Fleet::of(6).await;
    fleet.record(ResourceState::Absent).await;
    assert!(fleet.lose(6).await);
}

#[tokio::test]
async fn as_many_as_the_limit_may_vanish_and_are_known_no_more() {
    let fleet = Fleet::of(7).await;
    assert!(!fleet.lose(5).await, "five of seven: the smallest limit");
    assert!(
        !fleet.lose(7).await,
        "two more, as the first five are no news"
    );
    let fleet = Fleet::of(7).await;
    assert!(fleet.lose(6).await);
}

#[tokio::test]
async fn of_a_large_fleet_a_tenth_may_vanish() {
    let fleet = Fleet::of(80).await;
    assert!(!fleet.lose(8).await);
    let fleet = Fleet::of(80).await;
    assert!(fleet.lose(9).await);
}

#[tokio::test]
async fn workers_that_a_list_shows_with_our_marks_are_known_from_then_on() {
    let fleet = Fleet::of(6).await;
    for claim in &fleet.claims {
        fleet.brake.deleted(claim.agent_id);
    }
    assert!(!fleet.lose(6).await, "nothing is known, nothing is missed");
    let marked = |n: usize| {
        let marks = WorkerMarks {
            install: install(),
            agent: fleet.claims[n].agent_id,
            code: "0".repeat(16),
            try_id: TryId::new(1, 1),
        };
        let name = format!("worker-{n}");
        (name.clone(), listed(&name, Some(marks.to_tags())))
    };
    assert!(!fleet.look((0..6).map(marked).collect()).await);
    assert!(fleet.lose(6).await);
}

#[tokio::test]
async fn agents_that_go_are_neither_learnt_nor_missed() {
    for learn_again in [true, false] {
        let fleet = Fleet::of(6).await;
        for n in 0..6 {
            fleet.store.request_deletion(&name(n), false).await.unwrap();
        }
        if learn_again {
            fleet.brake.learn().await.unwrap();
        }
        assert!(!fleet.lose(6).await, "learn again: {learn_again}");
    }
}

#[tokio::test]
async fn one_more_deletion_than_the_limit_holds() {
    let fleet = Fleet::of(4).await;
    for (n, holds) in [(0, false), (1, false), (2, true)] {
        fleet.store.request_deletion(&name(n), false).await.unwrap();
        fleet.brake.check_deletions().await.unwrap();
        assert_eq!(fleet.held().await, holds, "{n}");
    }
}

#[tokio::test]
async fn a_worker_too_young_to_be_listed_is_not_missed_and_stays_known() {
    let mut fleet = Fleet::of(6).await;
    fleet.brake.list_lag = Duration::from_secs(3600);
    assert!(!fleet.lose(6).await);
    fleet.brake.list_lag = Duration::ZERO;
    assert!(fleet.lose(6).await);
}

#[tokio::test]
async fn who_is_missed() {
    let fleet = Fleet::of(0).await;
    let now = Utc::now();
    let long_ago = Some(now - TimeDelta::seconds(1));
    let worker = |state, confirmed_at| ResourceRecord {
        kind: ResourceKind::Worker,
        name: "worker".to_owned(),
        external_id: None,
        try_id: None,
        state,
        desired_hash: None,
        observed_hash: None,
        version_id: None,
        attempts: 0,
        last_error: None,
        intent_at: None,
        settle_until: None,
        confirmed_at,
        cleanup_result: None,
        cleanup_error: None,
        cleaned_at: None,
    };
    let snapshot = |record: Option<ResourceRecord>| {
        let id = AgentId(uuid::Uuid::from_u128(1));
        let agent = Agent::new(id, name(0), Owner::default(), spec(), now);
        let mut snapshot = Snapshot::new(agent, now);
        snapshot.agent.status.first_deployed_at = Some(now);
        snapshot.resources.extend(record);
        snapshot
    };
    let missed = |s: &Snapshot| fleet.brake.is_missed(s);
    assert!(!missed(&snapshot(None)));
    let there = snapshot(Some(worker(ResourceState::Present, long_ago)));
    assert!(missed(&there));
    assert!(missed(&snapshot(Some(worker(
        ResourceState::ValueUnplaced,
        long_ago
    )))));
    assert!(!missed(&snapshot(Some(worker(
        ResourceState::Present,
        Some(now)
    )))));
    assert!(!missed(&snapshot(Some(worker(
        ResourceState::Present,
        None
    )))));
    assert!(!missed(&snapshot(Some(worker(
        ResourceState::Unknown,
        long_ago
    )))));
    let mut gone = snapshot(Some(worker(ResourceState::Absent, None)));
    assert!(missed(&gone));
    gone.agent.status.first_deployed_at = None;
    assert!(!missed(&gone), "it never was there");
    let mut deleting = there.clone();
    deleting.agent.deletion_requested_at = Some(now);
    assert!(!missed(&deleting));
    let mut archived = there;
    archived.agent.status.deleted_at = Some(now);
    assert!(!missed(&archived));
}
