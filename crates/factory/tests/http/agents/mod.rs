//! Agents as resources.

mod acting;
mod creating;
mod deleting;
mod listing;
mod once;
mod patching;
mod planning;
mod replacing;
mod waiting;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use talon_core::mutation::{Finish, Mutation, Progress, StatusWrite};
use talon_core::status::DeploymentStatus;
use talon_store::{Claim, Store};

use crate::world::World;

const AGENTS: &str = "/api/v1/openclaw/agents";

fn spec() -> Value {
    json!({
        "persona": "You are a careful research analyst.",
        "instructions": "Cite every claim.",
        "model": "anthropic/claude-sonnet-4-6",
        "api_key_refs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"},
    })
}

fn with(change: Value) -> Value {
    let mut spec = spec();
    for (key, value) in change.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    spec
}

async fn create(world: &World, name: &str, spec: Value) -> Value {
    let (status, agent) = world
        .post(AGENTS, &json!({"name": name, "spec": spec}))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{agent}");
    agent
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("errors");
    errors
        .iter()
        .map(|e| e["pointer"].as_str().expect("text"))
        .collect()
}

/// What the controller would write.
async fn controller(world: &World, name: &str, mutations: Vec<Mutation>) {
    let store: &dyn Store = &*world.store;
    let snapshot = store.get(name, false).await.expect("read").expect("there");
    let id = snapshot.agent.id;
    store.enqueue(&[id]).await.expect("enqueued");
    let lease = Duration::from_secs(60);
    let claims = store.claim_due("test", lease, 100).await.expect("claims");
    let claim: Claim = claims.into_iter().find(|c| c.agent_id == id).expect("due");
    let finish = Finish {
        mutations,
        loaded_generation: snapshot.agent.generation,
        loaded_reconcile_requested_at: snapshot.agent.reconcile_requested_at,
        loaded_hold: None,
        next_due_in: None,
        progress: Progress::Ok,
        plan_report: None,
    };
    store.finish(&claim, &finish).await.expect("finished");
}

fn deployed(generation: i64) -> Vec<Mutation> {
    vec![
        Mutation::Status(StatusWrite {
            deployment_status: Some(DeploymentStatus::Deployed),
            observed_generation: Some(talon_core::Generation(generation)),
            ..StatusWrite::default()
        }),
        Mutation::Latch {
            generation: talon_core::Generation(generation),
        },
    ]
}
