//! What the tests are written with: a database with agents, and people who look for them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use talon_core::card::{self, AgentCard};
use talon_core::clock::Clock;
use talon_core::mutation::{Mutation, StatusWrite};
use talon_core::registry::Registry;
use talon_core::search::{AgentSearch, Asker, FoundAgent};
use talon_core::spec::{Skill, Visibility};
use talon_core::status::DeploymentStatus;
use talon_core::{AgentId, AgentName, AgentSpec, Epoch, Generation, Owner};
use talon_router::{EmbeddedRegistry, Router};
use talon_store::conformance::support::spec;
use talon_store::network::HostedConnection;
use talon_store::{ApplyOptions, Claim, MemoryStore, WholeStore};

/// The clock of this machine.
pub struct System;

impl Clock for System {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::Utc::now()
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A database with agents.
pub struct World {
    pub store: Arc<dyn WholeStore>,
    pub registry: EmbeddedRegistry,
}

/// Somebody of the owner `ann`, or the one given.
pub fn person(owner: &str) -> Asker {
    Asker {
        agent: None,
        owner: owner.to_owned(),
    }
}

pub fn skill(id: &str, name: &str, description: &str) -> Skill {
    Skill {
        id: id.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        pricing_model: Default::default(),
        price_usd: None,
        tags: Vec::new(),
        examples: Vec::new(),
    }
}

pub fn public(skills: Vec<Skill>) -> AgentSpec {
    AgentSpec {
        visibility: Visibility::Public,
        skills,
        ..spec()
    }
}

pub fn names(found: &[FoundAgent]) -> Vec<&str> {
    found.iter().map(|agent| agent.name.as_str()).collect()
}

impl World {
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new(Arc::new(System))))
    }

    pub fn on(store: Arc<dyn WholeStore>) -> Self {
        Self {
            registry: EmbeddedRegistry::new(store.clone()),
            store,
        }
    }

    pub fn router(&self) -> Router {
        Router::new(self.store.clone(), None)
    }

    /// An agent of `ann` with a registered card, deployed.
    pub async fn agent(&self, name: &str, spec: &AgentSpec) -> AgentId {
        let id = self.row(name, "ann", spec).await;
        self.register(name, id, spec).await;
        self.deployed(id).await;
        id
    }

    pub async fn row(&self, name: &str, owner: &str, spec: &AgentSpec) -> AgentId {
        let name = AgentName::parse(name).unwrap();
        let owner = Owner::parse(owner).unwrap();
        let options = ApplyOptions::default();
        let applied = self
            .store
            .apply(&name, &owner, spec, options)
            .await
            .unwrap();
        applied.id
    }

    pub async fn register(&self, name: &str, id: AgentId, spec: &AgentSpec) -> AgentCard {
        let epoch = self.claim(id).await.epoch;
        let card = card_of(name, spec);
        self.registry.register(id, epoch, &card).await.unwrap();
        card
    }

    pub async fn epoch(&self, id: AgentId) -> Epoch {
        self.store.load(id).await.unwrap().unwrap().work.lease_epoch
    }

    /// The claim in force, or a new one.
    pub async fn claim(&self, id: AgentId) -> Claim {
        let lease = Duration::from_secs(600);
        self.store.claim_due("tests", lease, 1000).await.unwrap();
        let epoch = self.epoch(id).await;
        Claim {
            agent_id: id,
            epoch,
        }
    }

    pub async fn deployed(&self, id: AgentId) {
        let status = StatusWrite {
            deployment_status: Some(DeploymentStatus::Deployed),
            ..Default::default()
        };
        let claim = self.claim(id).await;
        let mutations = [Mutation::Status(status)];
        self.store.commit(&claim, &mutations).await.unwrap();
    }

    pub async fn delete(&self, name: &str) {
        let name = AgentName::parse(name).unwrap();
        self.store.request_deletion(&name, false).await.unwrap();
    }

    pub async fn host(&self, name: &str, owner: &str, public: bool, card: Option<Value>) {
        let connection = HostedConnection {
            connection_id: "c1".to_owned(),
            hub: "hub".to_owned(),
        };
        let stored = self
            .store
            .hosted_connected(name, owner, public, card.as_ref(), &connection)
            .await;
        stored.unwrap().unwrap();
    }
}

pub fn card_of(name: &str, spec: &AgentSpec) -> AgentCard {
    let name = AgentName::parse(name).unwrap();
    card::build(
        &name,
        &Owner::parse("ann").unwrap(),
        spec,
        Generation(1),
        "aa",
    )
}

/// The names that a person of this owner finds.
pub async fn finds(router: &Router, owner: &str, query: &str) -> Vec<String> {
    let found = router.search(&person(owner), query, 10).await.unwrap();
    found.into_iter().map(|agent| agent.name).collect()
}
