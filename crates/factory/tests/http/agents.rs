//! Agents as resources.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::mutation::{Finish, Mutation, Progress, StatusWrite};
use talon_core::status::DeploymentStatus;
use talon_store::{Claim, Store};

use crate::world::{World, read};

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

#[tokio::test]
async fn an_agent_is_created_and_shown_with_the_documented_fields() {
    let world = World::new().await;
    let body =
        json!({"name": "research-pro", "spec": with(json!({"display_name": "Research Pro"}))});
    let response = world
        .ask(Method::POST, AGENTS)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(
        response.headers()["location"],
        format!("{AGENTS}/research-pro")
    );
    let etag = response.headers()["etag"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(etag.starts_with("\"g1-"), "{etag}");
    let made: Value = response.json().await.expect("JSON");
    let (status, agent) = world.get(&format!("{AGENTS}/research-pro")).await;
    assert_eq!((status, &agent), (StatusCode::OK, &made));
    for (field, value) in [
        ("name", json!("research-pro")),
        ("deployment_status", json!("pending")),
        ("deployment_error", Value::Null),
        ("worker_url", Value::Null),
        ("has_anthropic_key", json!(false)),
        ("has_openai_key", json!(false)),
        ("owner", json!("default")),
        ("generation", json!(1)),
    ] {
        assert_eq!(agent[field], value, "{field}");
    }
    assert_eq!(agent["spec"]["display_name"], "Research Pro");
    assert_eq!(
        agent["spec"]["api_key_refs"],
        json!({"anthropic": "env:TALON_SECRET_ANTHROPIC"})
    );
    let request = world
        .ask(Method::GET, &format!("{AGENTS}/research-pro"))
        .header("if-none-match", &etag);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.text().await.expect("text"), "");
    let (status, problem) = world.post(AGENTS, &body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once_and_nothing_is_repeated() {
    let world = World::new().await;
    let spec = with(json!({
        "model": "sk-canary", "secrets_version": 0, "theme": {"primary_color": "canary"},
        "skills": [{"id": "canary id", "name": "n", "description": "d"}], "avatar_url": "http://canary",
        "api_key_refs": {"anthropic": "sk-ant-canary-0123456789"},
    }));
    let (status, problem) = world
        .post(AGENTS, &json!({"name": "No Canary", "spec": spec}))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let found = pointers(&problem);
    for expected in [
        "/name",
        "/spec/model",
        "/spec/secrets_version",
        "/spec/theme/primary_color",
        "/spec/skills/0/id",
        "/spec/avatar_url",
        "/spec/api_key_refs/anthropic",
    ] {
        assert!(found.contains(&expected), "{expected} of {found:?}");
    }
    let body = json!({"name": "x", "status": {}, "spec": with(json!({"keep_alive": "canary", "canary": 1}))});
    let (status, problem) = world.post(AGENTS, &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    for expected in ["/name", "/status", "/spec/keep_alive"] {
        assert!(pointers(&problem).contains(&expected), "{problem}");
    }
    let keys = json!({"name": "with-keys", "spec": with(json!({})), "api_keys": {"anthropic": "sk-canary\n of two lines"}});
    let (status, problem) = world.post(AGENTS, &keys).await;
    assert_eq!(
        (status, pointers(&problem)),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["/api_keys"])
    );
    assert!(!problem.to_string().contains("sk-canary"));
    let (_, list) = world.get(AGENTS).await;
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn unknown_fields_may_be_left_out_with_a_warning() {
    let world = World::new().await;
    let body = json!({"name": "research-pro", "spec": with(json!({"colour": "red"}))});
    let (status, problem) = world.post(AGENTS, &body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(pointers(&problem), ["/spec/colour"]);
    let request = world
        .ask(Method::POST, &format!("{AGENTS}?fieldValidation=Warn"))
        .json(&body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let warning = response.headers()["warning"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(
        warning,
        "299 - \"1 unknown field(s) in /spec were left out\""
    );
}

#[tokio::test]
async fn a_put_says_what_it_builds_upon() {
    let world = World::new().await;
    let path = format!("{AGENTS}/research-pro");
    let put = |headers: &[(&'static str, &str)], spec: Value| {
        let mut request = world.ask(Method::PUT, &path).json(&json!({"spec": spec}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request)
    };
    let (status, problem) = put(&[], spec()).await;
    assert_eq!(status, StatusCode::PRECONDITION_REQUIRED, "{problem}");
    assert_eq!(
        put(&[("if-match", "*")], spec()).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        put(&[("if-none-match", "*")], spec()).await.0,
        StatusCode::CREATED
    );
    assert_eq!(
        put(&[("if-none-match", "*")], spec()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        put(&[("if-generation", "0")], spec()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        put(&[("if-match", "\"g1-stale\"")], spec()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    assert_eq!(
        put(&[("if-match", "nonsense")], spec()).await.0,
        StatusCode::BAD_REQUEST
    );
    let etag =
        |headers: &reqwest::header::HeaderMap| headers["etag"].to_str().expect("text").to_owned();
    let shown = world
        .ask(Method::GET, &path)
        .send()
        .await
        .expect("an answer");
    let tag = etag(shown.headers());
    let wanted = with(json!({"display_name": "N"}));
    let (status, agent) = put(
        &[("if-match", &format!("\"other\", {tag}"))],
        wanted.clone(),
    )
    .await;
    assert_eq!(
        (status, &agent["generation"]),
        (StatusCode::OK, &json!(2)),
        "{agent}"
    );
    assert_eq!(
        put(&[("if-match", &tag)], wanted.clone()).await.0,
        StatusCode::PRECONDITION_FAILED
    );
    // A status that changes makes another tag; the generation stays.
    controller(&world, "research-pro", deployed(2)).await;
    let (status, agent) = put(
        &[("if-generation", "2")],
        with(json!({"model": "openai/gpt-5"})),
    )
    .await;
    assert_eq!(
        (status, &agent["generation"]),
        (StatusCode::OK, &json!(3)),
        "{agent}"
    );
    // What is fixed since the deployment is refused, what is as it was is not.
    let (status, problem) = put(&[("if-match", "*")], with(json!({"persona": "canary"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(pointers(&problem), ["/spec/persona", "/spec/instructions"]);
    assert!(
        problem["detail"]
            .as_str()
            .expect("text")
            .starts_with("TALON-OC002"),
        "{problem}"
    );
    assert!(!problem.to_string().contains("canary"));
    // Another name, another owner.
    let moved = json!({"name": "other-name", "owner": "bob", "spec": spec()});
    let request = world
        .ask(Method::PUT, &path)
        .header("if-match", "*")
        .json(&moved);
    let (status, problem) = read(request).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(pointers(&problem), ["/name"]);
}

#[tokio::test]
async fn a_merge_patch_changes_what_it_names() {
    let world = World::new().await;
    create(
        &world,
        "research-pro",
        with(json!({"display_name": "N", "description": "D"})),
    )
    .await;
    let path = format!("{AGENTS}/research-pro");
    let patch = |media: &'static str, body: Value| {
        read(
            world
                .ask(Method::PATCH, &path)
                .header("content-type", media)
                .body(body.to_string()),
        )
    };
    let merge = "application/merge-patch+json";
    let response = world
        .ask(Method::PATCH, &path)
        .json(&json!({}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(response.headers()["accept-patch"], merge);
    let change = json!({"spec": {"display_name": null, "model": "openai/gpt-5", "api_key_refs": {"openai": "env:TALON_SECRET_OPENAI"}}});
    let (status, agent) = patch(merge, change).await;
    assert_eq!(status, StatusCode::OK, "{agent}");
    assert_eq!(agent["spec"].get("display_name"), None);
    assert_eq!(
        (&agent["spec"]["description"], &agent["spec"]["model"]),
        (&json!("D"), &json!("openai/gpt-5"))
    );
    let refs =
        json!({"anthropic": "env:TALON_SECRET_ANTHROPIC", "openai": "env:TALON_SECRET_OPENAI"});
    assert_eq!(agent["spec"]["api_key_refs"], refs);
    // What it is already changes nothing, even where it could not be changed.
    controller(&world, "research-pro", deployed(2)).await;
    let same = json!({"spec": {"persona": spec()["persona"]}});
    let (status, agent) = patch(merge, same).await;
    assert_eq!((status, &agent["generation"]), (StatusCode::OK, &json!(2)));
    for (body, pointer) in [
        (json!({"status": {"x": 1}}), "/status"),
        (json!({"spec": {"persona": null}}), "/spec"),
        (json!({"spec": null}), ""),
        (json!([1]), ""),
    ] {
        let (status, problem) = patch(merge, body.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(pointers(&problem), [pointer], "{body}");
    }
}

#[tokio::test]
async fn a_dry_run_and_a_plan_write_nothing() {
    let world = World::new().await;
    let body = json!({"name": "research-pro", "spec": spec()});
    let (status, plan) = world.post(&format!("{AGENTS}?dryRun=server"), &body).await;
    assert_eq!(
        (status, &plan["outcome"]),
        (StatusCode::OK, &json!("created"))
    );
    let path = format!("{AGENTS}/research-pro");
    assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND);
    create(&world, "research-pro", spec()).await;
    controller(&world, "research-pro", deployed(1)).await;
    let wanted = json!({"spec": with(json!({"model": "openai/gpt-5", "persona": "Another."}))});
    let (status, plan) = world.post(&format!("{path}/plan"), &wanted).await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    let changes = plan["changes"].as_array().expect("changes");
    let said: Vec<_> = changes
        .iter()
        .map(|c| (&c["field"], &c["effect"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("spec.persona"), &json!("immutable")),
            (&json!("spec.model"), &json!("secret_push")),
        ]
    );
    assert_eq!(world.get(&path).await.1["generation"], 1);
    let (status, last) = world.get(&format!("{path}/plan")).await;
    assert_eq!((status, &last["generation"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn a_deletion_is_asked_for_and_followed() {
    let world = World::new().await;
    create(
        &world,
        "research-pro",
        with(json!({"deletion_protected": true})),
    )
    .await;
    let path = format!("{AGENTS}/research-pro");
    let (status, problem) = read(world.ask(Method::DELETE, &path)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let merge = "application/merge-patch+json";
    let unprotect = json!({"spec": {"deletion_protected": false}}).to_string();
    let request = world
        .ask(Method::PATCH, &path)
        .header("content-type", merge)
        .body(unprotect);
    assert_eq!(read(request).await.0, StatusCode::OK);
    let stale = world
        .ask(Method::DELETE, &path)
        .header("if-generation", "1");
    assert_eq!(read(stale).await.0, StatusCode::PRECONDITION_FAILED);
    let (status, cleanup) = read(world.ask(Method::DELETE, &path)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(!cleanup["deletion_requested_at"].is_null() && cleanup["deleted_at"].is_null());
    assert_eq!(
        read(world.ask(Method::DELETE, &path)).await.0,
        StatusCode::ACCEPTED
    );
    let put = world
        .ask(Method::PUT, &path)
        .header("if-match", "*")
        .json(&json!({"spec": spec()}));
    assert_eq!(read(put).await.0, StatusCode::CONFLICT);
    assert_eq!(
        world.post(&format!("{path}/suspend"), &json!({})).await.0,
        StatusCode::CONFLICT
    );
    controller(&world, "research-pro", vec![Mutation::Archive]).await;
    assert_eq!(world.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        read(world.ask(Method::DELETE, &path)).await.0,
        StatusCode::NOT_FOUND
    );
    let (status, agent) = world.get(&format!("{path}?include=deleted")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!agent["deleted_at"].is_null());
    create(&world, "research-pro", spec()).await;
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let world = World::new().await;
    for name in ["agent-c", "agent-a", "agent-b", "zebra"] {
        create(&world, name, spec()).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|a| a["name"].as_str().expect("text").to_owned())
            .collect()
    };
    let (_, first) = world.get(&format!("{AGENTS}?page_size=2&q=AGENT")).await;
    assert_eq!(names(&first), ["agent-a", "agent-b"]);
    assert_eq!(first["total_estimate"], 3);
    let token = first["next_page_token"].as_str().expect("more");
    let (_, second) = world
        .get(&format!("{AGENTS}?page_size=2&q=AGENT&page_token={token}"))
        .await;
    assert_eq!(names(&second), ["agent-c"]);
    assert_eq!(second["next_page_token"], Value::Null);
    for bad in [
        format!("q=zebra&page_token={token}"),
        "page_token=canary".to_owned(),
        "page_size=501".to_owned(),
        "page_size=0".to_owned(),
        "status=canary".to_owned(),
        "q=%00".to_owned(),
    ] {
        let (status, problem) = world.get(&format!("{AGENTS}?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(!problem.to_string().contains("canary"), "{problem}");
    }
    let response = world
        .ask(Method::GET, AGENTS)
        .send()
        .await
        .expect("an answer");
    let etag = response.headers()["etag"]
        .to_str()
        .expect("text")
        .to_owned();
    let again = world
        .ask(Method::GET, AGENTS)
        .header("if-none-match", &etag);
    assert_eq!(
        again.send().await.expect("an answer").status(),
        StatusCode::NOT_MODIFIED
    );
    create(&world, "agent-d", spec()).await;
    let again = world
        .ask(Method::GET, AGENTS)
        .header("if-none-match", &etag);
    assert_eq!(
        again.send().await.expect("an answer").status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_creation_with_a_key_is_done_once() {
    let world = World::new().await;
    let ask = |key: &'static str, name: &str| {
        let body = json!({"name": name, "spec": spec()});
        read(
            world
                .ask(Method::POST, AGENTS)
                .header("idempotency-key", key)
                .json(&body),
        )
    };
    let (status, made) = ask("key-1", "research-pro").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        ask("key-1", "research-pro").await,
        (StatusCode::CREATED, made)
    );
    assert_eq!(
        ask("key-1", "another-one").await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(ask("key-2", "research-pro").await.0, StatusCode::CONFLICT);
    // A refusal is not remembered: it may come again with the same key.
    assert_eq!(ask("key-2", "research-pro").await.0, StatusCode::CONFLICT);
    assert_eq!(ask("key-3", "another-one").await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_creation_whose_asker_hung_up_can_be_asked_for_again() {
    let world = World::new().await;
    let ask = || {
        world
            .ask(Method::POST, &format!("{AGENTS}?wait=ready&timeout=300s"))
            .header("idempotency-key", "key-1")
            .json(&json!({"name": "research-pro", "spec": spec()}))
    };
    let made = async {
        let path = format!("{AGENTS}/research-pro");
        while world.get(&path).await.0 != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    // Nothing deploys it: the first one waits, and is given up.
    tokio::select! {
        _ = ask().send() => panic!("it answered"),
        () = made => {}
    }
    let again = async {
        loop {
            match read(ask()).await {
                (StatusCode::CONFLICT, _) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    let (status, agent) = tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .expect("what became of the first");
    assert_eq!(
        (status, &agent["name"]),
        (StatusCode::CREATED, &json!("research-pro"))
    );
}

#[tokio::test]
async fn a_request_can_wait_for_an_agent() {
    let world = World::new().await;
    let waiting = world
        .ask(Method::POST, &format!("{AGENTS}?wait=ready&timeout=50s"))
        .json(&json!({"name": "research-pro", "spec": spec()}));
    let waiting = tokio::spawn(waiting.send());
    while world.get(&format!("{AGENTS}/research-pro")).await.0 != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    let ready = talon_core::condition::Condition {
        kind: talon_core::condition::ConditionType::Ready,
        status: talon_core::condition::Truth::True,
        reason: talon_core::condition::Reason::Deployed,
        message: "generation 1".to_owned(),
        observed_generation: talon_core::Generation(1),
    };
    let mut mutations = deployed(1);
    mutations.push(Mutation::Condition(ready));
    controller(&world, "research-pro", mutations).await;
    let response = waiting.await.expect("joined").expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["talon-wait"], "reached");
    let agent: Value = response.json().await.expect("JSON");
    assert_eq!(agent["deployment_status"], "deployed");
    let request = world.ask(
        Method::GET,
        &format!("{AGENTS}/research-pro?wait=connected&timeout=0s"),
    );
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["talon-wait"], "timeout");
    let (status, _) = world
        .get(&format!("{AGENTS}/research-pro?wait=ready&timeout=1h"))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn agents_are_suspended_resumed_reconciled_and_everything_is_held() {
    let world = World::new().await;
    create(&world, "research-pro", spec()).await;
    let path = format!("{AGENTS}/research-pro");
    let nothing = json!({});
    let (status, agent) = world.post(&format!("{path}/suspend"), &nothing).await;
    assert_eq!(
        (status, &agent["spec"]["suspend"]),
        (StatusCode::OK, &json!(true))
    );
    let (status, agent) = world.post(&format!("{path}/resume"), &nothing).await;
    assert_eq!(
        (status, agent["spec"].get("suspend")),
        (StatusCode::OK, None)
    );
    assert_eq!(
        world.post(&format!("{path}/reconcile"), &nothing).await.0,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        world
            .post(&format!("{AGENTS}/nobody/reconcile"), &nothing)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(world.get("/api/v1/hold").await.1["held"], false);
    let put = |body: Value| read(world.ask(Method::PUT, "/api/v1/hold").json(&body));
    assert_eq!(
        put(json!({"reason": ""})).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let (status, hold) = put(json!({"reason": "maintenance"})).await;
    assert_eq!(
        (status, &hold["kind"], &hold["reason"]),
        (StatusCode::OK, &json!("operator"), &json!("maintenance"))
    );
    let (status, hold) = read(world.ask(Method::DELETE, "/api/v1/hold")).await;
    assert_eq!((status, &hold["held"]), (StatusCode::OK, &json!(false)));
    let (status, events) = world.get(&format!("{path}/events")).await;
    assert_eq!((status, &events["items"]), (StatusCode::OK, &json!([])));
    let (status, resources) = world.get(&format!("{path}/resources")).await;
    assert_eq!((status, &resources["items"]), (StatusCode::OK, &json!([])));
}
