//! Tokens, roles, owners, rates, the audit log.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::mutation::Mutation;
use talon_factory::{FactoryConfig, Rate};
use talon_store::network::{CredentialStore, HostedConnection};
use talon_store::{ApplyOptions, Store};

use crate::agent::Agent;
use crate::world::{World, read};

const AGENTS: &str = "/api/v1/openclaw/agents";
const TOKENS: &str = "/api/v1/tokens";

/// A token of this role and owner: what is sent, and its id.
pub async fn token(world: &World, role: &str, owner: Option<&str>) -> (String, String) {
    let mut wanted = json!({"label": role, "role": role, "expires_in_days": 1});
    if let Some(owner) = owner {
        wanted["owner"] = json!(owner);
    }
    let (status, made) = world.post(TOKENS, &wanted).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let text = |field: &str| made[field].as_str().expect("text").to_owned();
    (text("token"), text("id"))
}

fn spec() -> Value {
    json!({"persona": "p", "instructions": "i", "model": "a/b"})
}

#[tokio::test]
async fn a_token_is_shown_once_and_works_until_it_is_revoked() {
    let world = World::new().await;
    let (secret, id) = token(&world, "viewer", None).await;
    assert!(secret.starts_with(talon_factory::TOKEN_PREFIX) && secret.len() == 9 + 64 + 6);
    let look = || read(world.bare(Method::GET, AGENTS).bearer_auth(&secret));
    assert_eq!(look().await.0, StatusCode::OK);
    let (_, list) = world.get(TOKENS).await;
    assert_eq!(list["items"][0]["id"], id.as_str());
    assert!(!list.to_string().contains(&secret[9..]));
    let path = format!("{TOKENS}/{id}");
    assert_eq!(
        read(world.ask(Method::DELETE, &path)).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(look().await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        read(world.ask(Method::DELETE, &path)).await.0,
        StatusCode::NOT_FOUND
    );
    let wrong =
        json!({"label": "a\nb", "role": "operator", "owner": "No Canary", "expires_in_days": 0});
    let (status, problem) = world.post(TOKENS, &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        problem["errors"].as_array().map(Vec::len),
        Some(3),
        "{problem}"
    );
}

#[tokio::test]
async fn an_owner_sees_and_changes_its_own_agents_only() {
    let world = World::new().await;
    let (ann, _) = token(&world, "admin", Some("ann")).await;
    let (bob, _) = token(&world, "admin", Some("bob")).await;
    let ask = |who: &str, method: Method, path: &str| world.bare(method, path).bearer_auth(who);
    let body = json!({"name": "ann-agent", "spec": spec()});
    let made = read(ask(&ann, Method::POST, AGENTS).json(&body)).await;
    assert_eq!(
        (made.0, &made.1["owner"]),
        (StatusCode::CREATED, &json!("ann"))
    );
    let path = format!("{AGENTS}/ann-agent");
    let patch = |request: RequestBuilder| {
        request
            .header("content-type", "application/merge-patch+json")
            .body(r#"{"spec":{"keep_alive":true}}"#)
    };
    let requests = |who: &str| {
        vec![
            ask(who, Method::GET, &path),
            ask(who, Method::PUT, &path)
                .header("if-match", "*")
                .json(&json!({"spec": spec()})),
            patch(ask(who, Method::PATCH, &path)),
            ask(who, Method::GET, &format!("{path}/events")),
            ask(who, Method::GET, &format!("{path}/resources")),
            ask(who, Method::GET, &format!("{path}/plan")),
            ask(who, Method::POST, &format!("{path}/plan")).json(&json!({"spec": spec()})),
            ask(who, Method::POST, &format!("{path}/reconcile")),
            ask(who, Method::POST, &format!("{path}/suspend")),
            ask(who, Method::POST, &format!("{path}/resume")),
            ask(who, Method::DELETE, &path),
        ]
    };
    for request in requests(&bob) {
        assert_eq!(read(request).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        read(ask(&bob, Method::GET, AGENTS)).await.1["items"],
        json!([])
    );
    let (status, _) = read(ask(&bob, Method::GET, &format!("{AGENTS}?owner=ann"))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let theirs = json!({"name": "bob-agent", "owner": "ann", "spec": spec()});
    let (status, _) = read(ask(&bob, Method::POST, AGENTS).json(&theirs)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // Tokens, too, are each owner's own; what concerns everybody is nobody's.
    let (_, tokens) = read(ask(&bob, Method::GET, TOKENS)).await;
    assert_eq!(tokens["items"].as_array().map(Vec::len), Some(1));
    let grab = json!({"label": "x", "role": "viewer", "owner": "ann"});
    assert_eq!(
        read(ask(&bob, Method::POST, TOKENS).json(&grab)).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    for (method, path) in [
        (Method::DELETE, "/api/v1/hold"),
        (Method::GET, "/api/v1/audit"),
        (Method::GET, "/metrics"),
    ] {
        assert_eq!(
            read(ask(&bob, method, path)).await.0,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    for request in requests(&ann) {
        let (status, answer) = read(request).await;
        assert!(status.is_success(), "{answer}");
    }
}

#[tokio::test]
async fn who_is_online_is_told_as_far_as_the_caller_may_see_it() {
    let world = World::new().await;
    let mut connected = Vec::new();
    for (name, owner) in [("ann-agent", "ann"), ("bob-agent", "bob")] {
        world.agent(name, owner).await;
        let token = format!("{name}-token");
        connected.push(Agent::connect(&world.address, name, &token).await);
    }
    let connection = HostedConnection {
        connection_id: "c-1".to_owned(),
        hub: "hub".to_owned(),
    };
    for (name, public) in [("bob.open", true), ("bob.closed", false)] {
        world
            .store
            .hosted_connected(name, "bob", public, None, &connection)
            .await
            .expect("a connection");
    }
    let (ann, _) = token(&world, "viewer", Some("ann")).await;
    let (status, online) = read(
        world
            .bare(Method::GET, "/api/v1/router/online")
            .bearer_auth(&ann),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let items = online["items"].as_array().expect("agents");
    let names: Vec<_> = items.iter().map(|item| &item["name"]).collect();
    assert_eq!(names, ["ann-agent", "bob.open"]);
    let (_, online) = world.get("/api/v1/router/online").await;
    assert_eq!(online["items"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn tasks_and_conversations_are_each_owners_own() {
    let world = World::new().await;
    world.agent("writer", "ann").await;
    let mut agent = Agent::connect(&world.address, "writer", "writer-token").await;
    let (ann, _) = token(&world, "operator", Some("ann")).await;
    let (bob, _) = token(&world, "operator", Some("bob")).await;
    let tasks = "/api/v1/router/tasks";
    let body = json!({"agent": "writer", "text": "Hello", "id": "t-1", "session": "s-1"});
    let give = |who: &str| read(world.bare(Method::POST, tasks).bearer_auth(who).json(&body));
    assert_eq!(
        give(&bob).await.0,
        StatusCode::NOT_FOUND,
        "a private agent is nobody's business"
    );
    let ((status, task), heard) = tokio::join!(give(&ann), agent.answer("", "Hello you"));
    assert_eq!(
        (status, &task["id"], &task["session"]),
        (StatusCode::OK, &json!("t-1"), &json!("s-1")),
        "{task}"
    );
    assert_eq!(
        (&heard["id"], &heard["sessionId"]),
        (&json!("ann:t-1"), &json!("ann:s-1"))
    );
    let look = |who: &str| {
        read(
            world
                .bare(Method::GET, &format!("{tasks}/t-1"))
                .bearer_auth(who),
        )
    };
    assert_eq!(look(&ann).await, (StatusCode::OK, task));
    assert_eq!(look(&bob).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        world.get(&format!("{tasks}/ann:t-1")).await.0,
        StatusCode::OK
    );
    // Whoever has no owner sees all of them, and is in none of their conversations by naming it.
    let theirs = json!({"agent": "writer", "text": "Hello", "id": "ann:t-1", "session": "ann:s-1"});
    let (given, heard) = tokio::join!(world.post(tasks, &theirs), agent.answer("", "And you"));
    assert_eq!(
        (given.0, &given.1["id"], &given.1["session"]),
        (StatusCode::OK, &json!("ann:t-1"), &json!("ann:s-1"))
    );
    assert_eq!(
        (&heard["id"], &heard["sessionId"]),
        (&json!(":ann:t-1"), &json!(":ann:s-1"))
    );
    let stood = look(&ann).await;
    // What has ended stays answered when its agent goes.
    let name = talon_core::AgentName::parse("writer").expect("a name");
    let leaves = world.store.request_deletion(&name, false).await;
    leaves.expect("a deletion");
    assert_eq!(give(&ann).await, (StatusCode::OK, stood.1));
    let other = json!({"agent": "writer", "text": "Another", "id": "t-1", "session": "s-1"});
    let refused = world
        .bare(Method::POST, tasks)
        .bearer_auth(&ann)
        .json(&other);
    assert_eq!(read(refused).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let config = FactoryConfig {
        rate: Rate {
            per_second: 1,
            burst: 5,
        },
        ..FactoryConfig::default()
    };
    let world = World::with(config).await;
    let mut last = None;
    for _ in 0..50 {
        let response = world
            .ask(Method::GET, AGENTS)
            .send()
            .await
            .expect("an answer");
        if response.status() != StatusCode::OK {
            last = Some(response);
            break;
        }
    }
    let response = last.expect("a limit");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(
        response.headers()["ratelimit-policy"],
        "\"default\";q=5;w=5"
    );
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["retryable"], true);
    // Health has no caller, and no limit.
    assert_eq!(
        read(world.bare(Method::GET, "/livez")).await.0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_audit_log_knows_who_from_where_and_what() {
    let world = World::new().await;
    let (ann, id) = token(&world, "operator", Some("ann")).await;
    let body = json!({"name": "ann-agent", "spec": spec()});
    read(
        world
            .bare(Method::POST, AGENTS)
            .bearer_auth(&ann)
            .json(&body),
    )
    .await;
    let change = r#"{"spec":{"model":"canary/model","display_name":"canary"}}"#;
    let patch = world
        .bare(Method::PATCH, &format!("{AGENTS}/ann-agent"))
        .bearer_auth(&ann)
        .header("content-type", "application/merge-patch+json")
        .body(change);
    assert_eq!(read(patch).await.0, StatusCode::OK);
    let (status, log) = world.get("/api/v1/audit?limit=3").await;
    assert_eq!(status, StatusCode::OK);
    let said: Vec<_> = log["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|e| {
            (
                e["actor"].as_str(),
                e["source"].as_str(),
                e["action"].as_str(),
                e["object"].as_str(),
                &e["fields"],
            )
        })
        .collect();
    let actor = format!("token:{id}");
    let here = Some("127.0.0.1");
    assert_eq!(
        said,
        [
            (
                Some(actor.as_str()),
                here,
                Some("update"),
                Some("ann-agent"),
                &json!(["display_name", "model"])
            ),
            (
                Some(actor.as_str()),
                here,
                Some("insert"),
                Some("ann-agent"),
                &json!([])
            ),
            (
                Some("operator"),
                here,
                Some("token_create"),
                Some(id.as_str()),
                &json!([])
            ),
        ]
    );
    assert!(!log.to_string().contains("canary"));
}

#[tokio::test]
async fn what_became_of_an_earlier_agent_of_the_name_is_told_to_nobody_else() {
    let world = World::new().await;
    let name = talon_core::AgentName::parse("shared").expect("a name");
    let spec: talon_core::AgentSpec = serde_json::from_value(spec()).expect("a spec");
    let make = async |owner: &str| {
        let owner = talon_core::Owner(owner.to_owned());
        let made = world
            .store
            .apply(&name, &owner, &spec, ApplyOptions::default());
        made.await.expect("made").id
    };
    let old = make("ann").await;
    let leaves = world.store.request_deletion(&name, false).await;
    leaves.expect("a deletion");
    let claims = world
        .store
        .claim_due("test", Duration::from_secs(600), 10)
        .await;
    let claims = claims.expect("claims");
    let gone = world.store.commit(&claims[0], &[Mutation::Archive]).await;
    gone.expect("archived");
    let new = make("bob").await;
    assert_ne!(old, new);
    for (id, message) in [(old, "of ann"), (new, "of bob")] {
        let event = NewEvent {
            severity: Severity::Warning,
            reason: EventReason::Deployed,
            object: "worker/x".to_owned(),
            message: message.to_owned(),
        };
        let told = world.store.record_event(Some(id), &event).await;
        told.expect("told");
    }
    let (bob, _) = token(&world, "viewer", Some("bob")).await;
    let look = world.bare(Method::GET, &format!("{AGENTS}/shared/events?limit=1000"));
    let (status, events) = read(look.bearer_auth(&bob)).await;
    assert_eq!(status, StatusCode::OK);
    let text = events.to_string();
    assert!(
        text.contains("of bob") && !text.contains("of ann"),
        "{text}"
    );
}
