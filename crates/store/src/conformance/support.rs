//! What the cases are written with.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use talon_core::mutation::{Finish, Mutation, Progress, ResourceWrite};
use talon_core::resource::{ResourceKind, ResourceState};
use talon_core::secret::{Provider, SecretRef};
use talon_core::{AgentId, AgentName, AgentSpec, Owner, Snapshot, TryId};

use crate::{Applied, ApplyOptions, Claim, Committed, StoreError, StoreResult, WholeStore};

/// A lease that outlives every case.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A spec like the contract's first example.
pub fn spec() -> AgentSpec {
    AgentSpec {
        display_name: None,
        description: None,
        display_description: None,
        persona: "You are a careful research analyst.".to_owned(),
        instructions: "Cite every claim.".to_owned(),
        model: "anthropic/claude-sonnet-4-6".to_owned(),
        keep_alive: false,
        visibility: Default::default(),
        api_key_refs: [(
            Provider("anthropic".to_owned()),
            SecretRef("env:TALON_SECRET_ANTHROPIC".to_owned()),
        )]
        .into(),
        secrets_version: 1,
        skills: Vec::new(),
        wallet_address: None,
        theme: None,
        avatar_url: None,
        cover_url: None,
        r2: Default::default(),
        suspend: false,
        deletion_policy: Default::default(),
        deletion_protected: false,
    }
}

pub(crate) fn name(text: &str) -> AgentName {
    AgentName::parse(text).expect("a name")
}

pub(crate) fn try_id(n: u128) -> TryId {
    TryId::new(1_700_000_000_000, n)
}

/// The end of a pass that has nothing to say.
pub(crate) fn quiet(loaded: &Snapshot) -> Finish {
    Finish {
        mutations: Vec::new(),
        loaded_generation: loaded.agent.generation,
        loaded_reconcile_requested_at: loaded.agent.reconcile_requested_at,
        loaded_hold: None,
        next_due_in: None,
        progress: Progress::Ok,
        plan_report: None,
    }
}

/// Asserts a refusal by its code, and that the text behind it says something.
#[track_caller]
pub(crate) fn assert_code<T: std::fmt::Debug>(result: StoreResult<T>, expected: &str) {
    match result {
        Err(StoreError::Rejected { code, message }) => {
            assert_eq!(code, expected);
            assert!(!message.is_empty());
        }
        other => panic!("expected {expected}, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_stale<T: std::fmt::Debug>(result: StoreResult<T>) {
    assert!(
        matches!(result, Err(StoreError::StaleEpoch)),
        "expected StaleEpoch, got {result:?}"
    );
}

/// A store and shorthands.
#[derive(Clone)]
pub(crate) struct Bench(Arc<dyn WholeStore>);

impl Deref for Bench {
    type Target = dyn WholeStore;
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Bench {
    pub(crate) fn new(store: Arc<dyn WholeStore>) -> Self {
        Self(store)
    }

    pub(crate) async fn put(&self, agent: &str, spec: &AgentSpec) -> StoreResult<Applied> {
        self.apply(
            &name(agent),
            &Owner::default(),
            spec,
            ApplyOptions::default(),
        )
        .await
    }

    pub(crate) async fn create(&self, agent: &str) -> AgentId {
        self.put(agent, &spec()).await.expect("created").id
    }

    pub(crate) async fn snap(&self, id: AgentId) -> Snapshot {
        self.load(id).await.expect("loaded").expect("a row")
    }

    /// Claims this agent, and everything else that is due.
    pub(crate) async fn claim(&self, id: AgentId) -> Claim {
        self.claim_for(id, LONG).await
    }

    pub(crate) async fn claim_for(&self, id: AgentId, lease: Duration) -> Claim {
        let claims = self.claim_due("bench", lease, 1000).await.expect("claims");
        claims
            .into_iter()
            .find(|c| c.agent_id == id)
            .expect("the agent is due and not leased")
    }

    pub(crate) async fn write(&self, claim: &Claim, mutation: Mutation) -> Committed {
        self.commit(claim, &[mutation]).await.expect("committed")
    }

    /// Writes one resource row and returns how it reads back.
    pub(crate) async fn resource(
        &self,
        claim: &Claim,
        write: ResourceWrite,
    ) -> talon_core::resource::ResourceRecord {
        let kind = write.kind;
        self.write(claim, Mutation::Resource(write)).await;
        self.snap(claim.agent_id)
            .await
            .resource(kind)
            .expect("the row just written")
            .clone()
    }

    /// Creates an agent, deploys it in name and finishes the pass: latched, nothing due.
    pub(crate) async fn deployed(&self, agent: &str) -> AgentId {
        let id = self.create(agent).await;
        let claim = self.claim(id).await;
        let loaded = self.snap(id).await;
        let latch = Mutation::Latch {
            generation: loaded.agent.generation,
        };
        assert!(self.write(&claim, latch).await.latched);
        self.finish(&claim, &quiet(&loaded))
            .await
            .expect("finished");
        id
    }

    /// Creates, deletes and archives an agent, with one resource that `write` describes.
    pub(crate) async fn archived(&self, agent: &str, write: Option<ResourceWrite>) -> AgentId {
        let id = self.create(agent).await;
        self.archive(agent, id, write).await;
        id
    }

    /// Deletes and archives an agent that nobody has claimed, with one resource that `write` describes.
    pub(crate) async fn archive(&self, agent: &str, id: AgentId, write: Option<ResourceWrite>) {
        self.request_deletion(&name(agent), false)
            .await
            .expect("deletion requested");
        let claim = self.claim(id).await;
        let loaded = self.snap(id).await;
        let mut mutations: Vec<_> = write.into_iter().map(Mutation::Resource).collect();
        mutations.push(Mutation::Archive);
        let finish = Finish {
            mutations,
            ..quiet(&loaded)
        };
        self.finish(&claim, &finish).await.expect("finished");
    }

    /// Returns when the store's clock has moved on by more than two milliseconds.
    pub(crate) async fn tick(&self, id: AgentId) {
        let start = self.snap(id).await.now;
        while (self.snap(id).await.now - start).num_milliseconds() <= 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(crate) fn bucket(state: ResourceState) -> ResourceWrite {
    ResourceWrite::new(ResourceKind::R2Bucket, "openclaw-x", state)
}

pub(crate) fn worker(state: ResourceState) -> ResourceWrite {
    ResourceWrite::new(ResourceKind::Worker, "some-worker", state)
}
