//! A simulator and a plain HTTP client that speaks to it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod references;
pub mod stage;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use talon_core::clock::Clock;
use talon_core::secret::SecretValue;
use talon_simulator::{SimConfig, SimHandle, Simulator};

/// Time that stands still until told.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(0)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap()
            + chrono::Duration::milliseconds(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst) as u64)
    }
}

pub struct Cloud {
    pub sim: SimHandle,
    pub clock: Arc<HandClock>,
    pub http: reqwest::Client,
    pub token: String,
}

/// An answer of the REST API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn result(&self) -> &Value {
        assert!(
            self.status < 300 && self.body["success"] == true,
            "{self:?}"
        );
        &self.body["result"]
    }

    pub fn code(&self) -> i64 {
        assert_eq!(self.body["success"], false, "{self:?}");
        self.body["errors"][0]["code"].as_i64().unwrap_or(0)
    }

    pub fn refused(&self) -> (u16, i64) {
        (self.status, self.code())
    }
}

pub fn client() -> reqwest::Client {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

impl Cloud {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut SimConfig)) -> Self {
        let clock = HandClock::new();
        let mut config = SimConfig {
            clock: clock.clone(),
            ..SimConfig::default()
        };
        change(&mut config);
        Self {
            token: config.api_token.clone(),
            sim: Simulator::start(config).await.unwrap(),
            clock,
            http: client(),
        }
    }

    /// A request below the account.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!(
            "{}/accounts/{}/{path}",
            self.sim.api_base(),
            self.sim.account_id()
        );
        self.http.request(method, url).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    pub async fn json(&self, method: Method, path: &str, body: Value) -> Answer {
        send(self.request(method, path).json(&body)).await
    }

    pub async fn upload(&self, worker: &str, metadata: Value) -> Answer {
        let path = format!("workers/scripts/{worker}?bindings_inherit=strict");
        send(self.request(Method::PUT, &path).multipart(form(metadata))).await
    }

    pub async fn bucket(&self, name: &str) {
        self.json(Method::POST, "r2/buckets", json!({"name": name}))
            .await
            .result();
    }

    pub async fn secrets(&self, worker: &str) -> Vec<String> {
        let answer = self.get(&format!("workers/scripts/{worker}/secrets")).await;
        let mut names: Vec<String> = answer
            .result()
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// A token with the given permission group on the given resource.
    pub async fn new_token(&self, group: &str, resource: &str) -> (String, String) {
        let path = format!(
            "tokens/permission_groups?name={}",
            group.replace(' ', "%20")
        );
        let groups = self.get(&path).await;
        let id = groups.result()[0]["id"].clone();
        let policy = json!({"effect": "allow", "resources": {resource: "*"}, "permission_groups": [{"id": id}]});
        let made = self
            .json(
                Method::POST,
                "tokens",
                json!({"name": group, "policies": [policy]}),
            )
            .await;
        let text = |key: &str| made.result()[key].as_str().unwrap().to_owned();
        (text("id"), text("value"))
    }

    pub fn account_resource(&self) -> String {
        format!("com.cloudflare.api.account.{}", self.sim.account_id())
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

/// An upload with a main module and a text module.
pub fn form(metadata: Value) -> Form {
    let module = |text: &'static str, name: &'static str, kind: &str| {
        Part::text(text).file_name(name).mime_str(kind).unwrap()
    };
    Form::new()
        .text("metadata", metadata.to_string())
        .part(
            "worker.js",
            module(
                "export default { fetch() {} }",
                "worker.js",
                "application/javascript+module",
            ),
        )
        .part("IDENTITY.md", module("# me\n", "IDENTITY.md", "text/plain"))
}

pub fn metadata(bindings: Value) -> Value {
    json!({"main_module": "worker.js", "compatibility_date": "2026-11-01", "bindings": bindings, "tags": ["talon", "agent-1"]})
}

pub fn secret(name: &str, text: &str) -> Value {
    json!({"type": "secret_text", "name": name, "text": text})
}

/// Whether a secret is this text, without opening it.
pub fn same(secret: &SecretValue, text: &str) -> bool {
    secret.sha256_hex() == SecretValue::new(text.to_owned()).sha256_hex()
}
