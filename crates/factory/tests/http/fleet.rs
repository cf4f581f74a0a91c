//! What the command line asks from afar: the full view, events of the whole fleet, leftovers, history, keys.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::event::{EventReason, NewEvent, Severity};
use talon_core::{AgentId, AgentName, Snapshot};
use talon_factory::wire;
use talon_store::Store;

use crate::world::{World, read};

const AGENTS: &str = "/api/v1/openclaw/agents";

async fn token(world: &World, role: &str, owner: &str) -> String {
    let wanted = json!({"label": role, "role": role, "owner": owner, "expires_in_seconds": 3600});
    let (status, made) = world.post("/api/v1/tokens", &wanted).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["token"].as_str().expect("a token").to_owned()
}

async fn loaded(world: &World, id: AgentId) -> Snapshot {
    world
        .store
        .load(id)
        .await
        .expect("a read")
        .expect("the agent")
}

/// As one who may not see hashes of tokens knows it.
fn seen(mut s: Snapshot) -> Snapshot {
    s.auth_tokens.clear();
    s.agent.status.auth_token_hash = None;
    s
}

/// The same moment: when it was read is another each time.
fn at_once(mut a: Snapshot, b: &Snapshot) -> Snapshot {
    a.now = b.now;
    a
}

/// The next agent of a watch, whatever else it says.
async fn next_agent(stream: &mut reqwest::Response, buffer: &mut String) -> Snapshot {
    loop {
        while let Some((line, rest)) = buffer.split_once('\n') {
            let event: Value = serde_json::from_str(line).expect("a line of JSON");
            *buffer = rest.to_owned();
            if event["type"] != "BOOKMARK" {
                return wire::decode(event["object"].clone()).expect("a snapshot");
            }
        }
        let piece = stream.chunk().await.expect("a piece").expect("no end");
        buffer.push_str(std::str::from_utf8(&piece).expect("text"));
    }
}

#[tokio::test]
async fn the_full_view_is_the_whole_agent_for_those_who_see_it() {
    let world = World::new().await;
    let id = world.agent("ann-agent", "ann").await;
    world.agent("bob-agent", "bob").await;
    let ann = token(&world, "viewer", "ann").await;
    let bob = token(&world, "viewer", "bob").await;
    let ask = |who: &str, path: &str| world.bare(Method::GET, path).bearer_auth(who);
    let expected = seen(loaded(&world, id).await);
    let path = format!("{AGENTS}/ann-agent?view=full");
    for who in [&ann, &world.operator] {
        let (status, full) = read(ask(who, &path)).await;
        assert_eq!(status, StatusCode::OK, "{full}");
        let read = wire::decode(full).expect("a snapshot");
        assert_eq!(at_once(read, &expected), expected);
    }
    assert_eq!(read(ask(&bob, &path)).await.0, StatusCode::NOT_FOUND);
    let by_id = format!("{path}&id={id}");
    assert_eq!(read(ask(&ann, &by_id)).await.0, StatusCode::OK);
    assert_eq!(read(ask(&bob, &by_id)).await.0, StatusCode::NOT_FOUND);
    let of_another = format!("{AGENTS}/bob-agent?view=full&id={id}");
    assert_eq!(
        read(ask(&world.operator, &of_another)).await.0,
        StatusCode::NOT_FOUND
    );
    let nonsense = format!("{path}&id=nonsense");
    assert_eq!(read(ask(&ann, &nonsense)).await.0, StatusCode::BAD_REQUEST);

    let (_, page) = read(ask(&bob, &format!("{AGENTS}?view=full"))).await;
    let names: Vec<_> = page["items"].as_array().into_iter().flatten().collect();
    assert_eq!(names.len(), 1, "{page}");
    assert_eq!(names[0]["agent"]["name"], "bob-agent");
    assert!(page["resource_version"].is_i64());

    let watch =
        ask(&ann, &format!("{AGENTS}?watch=1&view=full")).header("accept", "application/jsonl");
    let mut stream = watch.send().await.expect("a stream");
    let mut buffer = String::new();
    let first = next_agent(&mut stream, &mut buffer).await;
    assert_eq!(at_once(first, &expected), expected);
    let name = AgentName::parse("ann-agent").expect("a name");
    world
        .store
        .set_suspend(&name, true)
        .await
        .expect("suspended");
    let read = next_agent(&mut stream, &mut buffer).await;
    assert!(read.agent.spec.suspend);
}

#[tokio::test]
async fn events_and_history_are_of_the_agents_that_the_caller_sees() {
    let world = World::new().await;
    let ids = [
        world.agent("ann-agent", "ann").await,
        world.agent("bob-agent", "bob").await,
    ];
    let event = |message: &str| NewEvent {
        severity: Severity::Warning,
        reason: EventReason::StepFailed,
        object: "worker/w".to_owned(),
        message: message.to_owned(),
    };
    for (id, message) in ids.into_iter().zip(["of ann", "of bob"]) {
        world
            .store
            .record_event(Some(id), &event(message))
            .await
            .expect("an event");
    }
    world
        .store
        .record_event(None, &event("of all"))
        .await
        .expect("an event");
    let ann = token(&world, "operator", "ann").await;
    let messages = async |who: &str, query: &str| {
        let path = format!("/api/v1/events{query}");
        let (status, list) = read(world.bare(Method::GET, &path).bearer_auth(who)).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let items = list["items"].as_array().expect("events").iter();
        let said = items.map(|e| e["message"].as_str().expect("a message").to_owned());
        said.filter(|said| said.starts_with("of "))
            .collect::<Vec<_>>()
    };
    let operator = world.operator.clone();
    assert_eq!(
        messages(&operator, "").await,
        ["of ann", "of bob", "of all"]
    );
    assert_eq!(messages(&operator, "?agent=talon").await, ["of all"]);
    assert_eq!(messages(&operator, "?owner=bob").await, ["of bob"]);
    assert_eq!(messages(&operator, "?severity=Normal").await, [""; 0]);
    assert_eq!(messages(&operator, "?limit=1").await, ["of all"]);
    let later = "?after=2999-01-01T00:00:00Z";
    assert_eq!(messages(&operator, later).await, [""; 0]);
    assert_eq!(messages(&ann, "").await, ["of ann"]);
    assert_eq!(messages(&ann, "?agent=ann-agent").await, ["of ann"]);
    assert_eq!(messages(&ann, "?agent=bob-agent").await, [""; 0]);
    assert_eq!(messages(&ann, "?agent=talon").await, [""; 0]);
    assert_eq!(messages(&ann, later).await, [""; 0]);
    for (query, refused) in [
        ("?owner=bob", StatusCode::FORBIDDEN),
        ("?owner=No%20owner", StatusCode::BAD_REQUEST),
        ("?agent=", StatusCode::BAD_REQUEST),
        ("?agent=a%00b", StatusCode::BAD_REQUEST),
        ("?limit=10001", StatusCode::BAD_REQUEST),
        ("?after=yesterday", StatusCode::BAD_REQUEST),
    ] {
        let path = format!("/api/v1/events{query}");
        let (status, _) = read(world.bare(Method::GET, &path).bearer_auth(&ann)).await;
        assert_eq!(status, refused, "{query}");
    }

    let suspend = format!("{AGENTS}/ann-agent/suspend");
    read(world.bare(Method::POST, &suspend).bearer_auth(&ann)).await;
    let of = |name: &str| {
        let path = format!("{AGENTS}/{name}/history");
        read(world.bare(Method::GET, &path).bearer_auth(&ann))
    };
    let (_, history) = of("ann-agent").await;
    assert_eq!(history["items"][0]["action"], "insert");
    assert_eq!(history["items"][1]["fields"], json!(["suspend"]));
    assert_eq!(history["items"][1]["generation"], 2);
    let by = history["items"][1]["actor"].as_str().expect("an actor");
    assert!(by.starts_with("token:"), "{by}");
    assert_eq!(of("bob-agent").await.0, StatusCode::NOT_FOUND);
    let (_, me) = read(world.bare(Method::GET, "/api/v1/whoami").bearer_auth(&ann)).await;
    assert_eq!(me, json!({"name": by, "role": "operator", "owner": "ann"}));
}

#[tokio::test]
async fn keys_are_made_and_revoked_for_their_owner() {
    let world = World::new().await;
    let ann = token(&world, "admin", "ann").await;
    let bob = token(&world, "admin", "bob").await;
    let ask = |who: &str, method: Method, path: &str| world.bare(method, path).bearer_auth(who);
    let wanted = json!({"label": "laptop", "expires_in_seconds": 60});
    let (status, made) = read(ask(&ann, Method::POST, "/api/v1/keys").json(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let key = made["key"].as_str().expect("a key");
    assert!(
        key.starts_with(talon_hub::API_KEY_PREFIX) && key.len() == 4 + 48,
        "{key}"
    );
    assert_eq!(made["owner"], "ann");
    let (_, list) = read(ask(&ann, Method::GET, "/api/v1/keys")).await;
    assert_eq!(list["items"][0]["id"], made["id"]);
    assert!(!list.to_string().contains(&key[4..]));
    let (_, none) = read(ask(&bob, Method::GET, "/api/v1/keys")).await;
    assert_eq!(none["items"], json!([]));
    let path = format!("/api/v1/keys/{}", made["id"].as_str().expect("an id"));
    assert_eq!(
        read(ask(&bob, Method::DELETE, &path)).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        read(ask(&ann, Method::DELETE, &path)).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        read(ask(&ann, Method::DELETE, &path)).await.0,
        StatusCode::NOT_FOUND
    );
    let wrong = json!({"label": "a\nb", "owner": "bob", "expires_in_seconds": 0});
    let (status, problem) = read(ask(&ann, Method::POST, "/api/v1/keys").json(&wrong)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        problem["errors"].as_array().map(Vec::len),
        Some(3),
        "{problem}"
    );
    let (_, log) = world.get("/api/v1/audit?limit=1000").await;
    let log = log.to_string();
    assert!(log.contains("key_create") && log.contains("key_revoke") && !log.contains(&key[4..]));
    let twice =
        json!({"label": "x", "role": "viewer", "expires_in_days": 1, "expires_in_seconds": 1});
    let (status, _) = world.post("/api/v1/tokens", &twice).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // Nothing was ever left behind here.
    let (_, left) = world.get("/api/v1/leftovers").await;
    assert_eq!(left, json!({"items": []}));
}
