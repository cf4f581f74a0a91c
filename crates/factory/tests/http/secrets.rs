//! Keys over HTTP: who may set them, what is said of a failure, and that no answer repeats one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::AgentId;
use talon_core::secret::SecretValue;
use talon_core::secret_writer::{KeyName, SecretWriteError, SecretWriter, StoredKey};

use crate::world::{World, read};

const VALUE: &str = "made-up-key-over-http-51c0";
const PATH: &str = "/api/v1/openclaw/agents/research-pro/secrets/ANTHROPIC_API_KEY";

/// Takes keys, or answers what it was told to.
#[derive(Default)]
pub struct TestWriter {
    taken: Mutex<BTreeMap<String, String>>,
    next: Mutex<Option<SecretWriteError>>,
    /// Held by a test that wants requests to take a while.
    gate: tokio::sync::Mutex<()>,
    /// How many requests came to the gate.
    came: tokio::sync::watch::Sender<usize>,
}

impl TestWriter {
    fn fails_with(&self, error: SecretWriteError) {
        *self.next.lock().expect("unpoisoned") = Some(error);
    }

    fn failure(&self) -> Result<(), SecretWriteError> {
        match self.next.lock().expect("unpoisoned").take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn has(&self, key: &str) -> Option<String> {
        self.taken.lock().expect("unpoisoned").get(key).cloned()
    }
}

#[async_trait]
impl SecretWriter for TestWriter {
    async fn set_keys(
        &self,
        agent: AgentId,
        keys: Vec<(KeyName, SecretValue)>,
    ) -> Result<Vec<StoredKey>, SecretWriteError> {
        self.came.send_modify(|n| *n += 1);
        drop(self.gate.lock().await);
        self.failure()?;
        let mut taken = self.taken.lock().expect("unpoisoned");
        Ok(keys
            .into_iter()
            .map(|(name, value)| {
                taken.insert(format!("{agent}/{name}"), value.expose().to_owned());
                StoredKey {
                    fingerprint: value.sha256_hex(),
                    name,
                }
            })
            .collect())
    }

    async fn unset_key(&self, agent: AgentId, key: &KeyName) -> Result<bool, SecretWriteError> {
        self.failure()?;
        let mut taken = self.taken.lock().expect("unpoisoned");
        Ok(taken.remove(&format!("{agent}/{key}")).is_some())
    }

    async fn rotate_auth(&self, _: AgentId) -> Result<(), SecretWriteError> {
        self.failure()
    }
}

async fn put(world: &World, body: &Value) -> (StatusCode, Value) {
    read(world.ask(Method::PUT, PATH).json(body)).await
}

#[tokio::test]
async fn a_key_is_handed_through_and_no_answer_keeps_it() {
    let world = World::new().await;
    let id = world.agent("research-pro", "default").await;
    let answer = world
        .ask(Method::PUT, PATH)
        .json(&json!({"value": VALUE}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.text().await.expect("a body"), "");
    let key = format!("{id}/ANTHROPIC_API_KEY");
    assert_eq!(world.writer.has(&key).as_deref(), Some(VALUE));
    let list = "/api/v1/openclaw/agents/research-pro/secrets";
    let listed = world.ask(Method::GET, list).send().await.expect("listed");
    assert_eq!(listed.headers()["cache-control"], "no-store");
    assert_eq!(listed.status(), StatusCode::OK);
    let nowhere = world
        .ask(Method::GET, PATH)
        .send()
        .await
        .expect("an answer");
    assert_eq!(nowhere.status(), StatusCode::METHOD_NOT_ALLOWED);

    let (status, _) = read(world.ask(Method::DELETE, PATH)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(world.writer.has(&key), None);
    let (status, _) = read(world.ask(Method::DELETE, PATH)).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let rotate = "/api/v1/openclaw/agents/research-pro/rotate-auth";
    let (status, _) = read(world.ask(Method::POST, rotate)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let log = talon_store::access::AccessStore::audit_log(&*world.store, 10).await;
    let log = format!("{:?}", log.expect("the log"));
    for action in ["set_secret", "unset_secret", "rotate_auth"] {
        assert!(log.contains(action), "{log}");
    }
    assert!(
        log.contains("ANTHROPIC_API_KEY") && !log.contains(VALUE),
        "{log}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_failure_says_whether_the_value_is_stored_and_when_to_try_again() {
    let world = World::new().await;
    world.agent("research-pro", "default").await;
    let soon = Some(Duration::from_secs(3));
    let cases = [
        (
            SecretWriteError::Busy {
                message: "at work".to_owned(),
                retry_after: Duration::from_secs(2),
            },
            409,
            json!(false),
            true,
        ),
        (
            SecretWriteError::Conflict("held".to_owned()),
            409,
            json!(false),
            false,
        ),
        (
            SecretWriteError::Failed {
                message: "not now".to_owned(),
                retry_after: soon,
            },
            503,
            json!(false),
            true,
        ),
        (
            SecretWriteError::Failed {
                message: "never".to_owned(),
                retry_after: None,
            },
            409,
            json!(false),
            false,
        ),
        (
            SecretWriteError::Unknown("lost".to_owned()),
            503,
            json!("unknown"),
            true,
        ),
        (
            SecretWriteError::Invalid("is empty".to_owned()),
            422,
            json!(false),
            false,
        ),
    ];
    for (error, status, stored, retryable) in cases {
        world.writer.fails_with(error.clone());
        let (answered, problem) = put(&world, &json!({"value": VALUE})).await;
        assert_eq!(answered.as_u16(), status, "{error:?}");
        assert_eq!(problem["value_stored"], stored, "{error:?}");
        assert_eq!(problem["retryable"], retryable, "{error:?}");
        assert!(!problem.to_string().contains(VALUE));
    }
    world.stop().await;
}

#[tokio::test]
async fn what_is_no_key_or_nobodys_is_refused_without_repeating_it() {
    let world = World::new().await;
    world.agent("research-pro", "default").await;
    for body in [
        json!({"value": VALUE, "note": VALUE}),
        json!({"value": [VALUE]}),
        json!({"val": VALUE}),
        json!(VALUE),
    ] {
        let (status, problem) = put(&world, &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(!problem.to_string().contains(VALUE), "{problem}");
    }
    let agents = "/api/v1/openclaw/agents";
    for (path, expected) in [
        (
            format!("{agents}/nobody-here/secrets/ANTHROPIC_API_KEY"),
            404,
        ),
        (format!("{agents}/research-pro/secrets/CONTROL_TOKEN"), 422),
        (format!("{agents}/research-pro/secrets/{VALUE}"), 422),
    ] {
        let request = world.ask(Method::PUT, &path).json(&json!({"value": VALUE}));
        let (status, problem) = read(request).await;
        assert_eq!(status.as_u16(), expected, "{problem}");
        assert!(!problem.to_string().contains(VALUE), "{problem}");
    }
    let nobody = world.bare(Method::PUT, PATH).json(&json!({"value": VALUE}));
    assert_eq!(read(nobody).await.0, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

#[tokio::test]
async fn keys_come_with_a_new_agent_and_a_lost_one_leaves_the_agent() {
    let world = World::new().await;
    let agents = "/api/v1/openclaw/agents";
    let body = |name: &str, keys: Value| {
        json!({"name": name, "api_keys": keys, "spec": {"persona": "You are careful.",
            "instructions": "Cite.", "model": "anthropic/claude-sonnet-4-6"}})
    };
    let (status, made) = world
        .post(agents, &body("with-key", json!({"anthropic": VALUE})))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert!(!made.to_string().contains(VALUE));
    let id = made["id"].as_str().expect("an id");
    let has = world.writer.has(&format!("{id}/ANTHROPIC_API_KEY"));
    assert_eq!(has.as_deref(), Some(VALUE));

    for keys in [
        json!({"anthropic": ""}),
        json!({"anthropic": 7}),
        json!({VALUE: VALUE}),
        json!({"anthropic": "env:TALON_SECRET_X"}),
    ] {
        let (status, problem) = world.post(agents, &body("not-made", keys)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(!problem.to_string().contains(VALUE), "{problem}");
        assert_eq!(
            world.get(&format!("{agents}/not-made")).await.0,
            StatusCode::NOT_FOUND
        );
    }

    world
        .writer
        .fails_with(SecretWriteError::Unknown("lost".to_owned()));
    let (status, problem) = world
        .post(agents, &body("lost-key", json!({"anthropic": VALUE})))
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["value_stored"], "unknown");
    assert_eq!(
        problem["retryable"], false,
        "the name is taken from now on: {problem}"
    );
    assert!(problem.get("retry_after_ms").is_none(), "{problem}");
    let (status, _) = world.get(&format!("{agents}/lost-key")).await;
    assert_eq!(status, StatusCode::OK, "the row comes first");
    world.stop().await;
}

#[tokio::test]
async fn while_one_request_is_at_the_keys_of_an_agent_another_is_told_to_wait() {
    let world = World::new().await;
    world.agent("research-pro", "default").await;
    let body = json!({"value": VALUE});
    let gate = world.writer.gate.lock().await;
    let mut came = world.writer.came.subscribe();
    let first = world.ask(Method::PUT, PATH).json(&body).send();
    let first = tokio::spawn(first);
    let entered = came.wait_for(|n| *n == 1);
    let entered = tokio::time::timeout(Duration::from_secs(30), entered).await;
    drop(entered.expect("it gets there").expect("a writer"));
    let (status, answer) = put(&world, &body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(answer["value_stored"], false);
    drop(gate);
    let first = first.await.expect("no panic").expect("an answer");
    assert_eq!(first.status(), StatusCode::NO_CONTENT);
    assert_eq!(put(&world, &body).await.0, StatusCode::NO_CONTENT);
}
