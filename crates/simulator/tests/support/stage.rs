//! A simulator that runs Workers, and a visitor of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::HOST;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use talon_simulator::{SystemClock, WorkerdOptions, WorkerdRunner};

use super::{Answer, Cloud, send};

pub struct Stage {
    pub cloud: Cloud,
    pub runner: Arc<WorkerdRunner>,
}

impl Stage {
    pub async fn set() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut WorkerdOptions)) -> Self {
        let mut options = WorkerdOptions::default();
        change(&mut options);
        let runner = Arc::new(WorkerdRunner::new(options).unwrap());
        runner.prepare().await.unwrap();
        let cloud = Cloud::with(|config| {
            config.runner = runner.clone();
            config.clock = Arc::new(SystemClock::new());
            config.front_door = Some(([127, 0, 0, 1], 0).into());
        })
        .await;
        Self { cloud, runner }
    }

    pub async fn deploy(&self, worker: &str, code: &str, metadata: Value) -> Answer {
        let path = format!("workers/scripts/{worker}?bindings_inherit=strict");
        let upload = self.cloud.request(Method::PUT, &path);
        send(upload.multipart(form(code, metadata))).await
    }

    pub async fn enable(&self, worker: &str, enabled: bool) {
        let path = format!("workers/scripts/{worker}/subdomain");
        let body = json!({"enabled": enabled});
        self.cloud.json(Method::POST, &path, body).await.result();
    }

    pub fn request(&self, method: Method, worker: &str, path: &str) -> reqwest::RequestBuilder {
        let door = self.cloud.sim.front_door().unwrap();
        self.cloud
            .http
            .request(method, format!("http://{door}{path}"))
            .header(HOST, format!("{worker}.dev.workers.dev"))
    }

    /// Asks until it holds, for half a minute at most.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self).await {
            assert!(began.elapsed() < Duration::from_secs(30), "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn get(&self, worker: &str, path: &str) -> (u16, String) {
        let answer = self
            .request(Method::GET, worker, path)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

pub fn form(code: &str, metadata: Value) -> Form {
    let module = |text: String, name: &str, kind: &str| {
        Part::text(text)
            .file_name(name.to_owned())
            .mime_str(kind)
            .unwrap()
    };
    let main = module(
        code.to_owned(),
        "worker.js",
        "application/javascript+module",
    );
    let identity = module(
        "# me: é\n\"quoted\" \\ \u{1}\n".to_owned(),
        "IDENTITY.md",
        "text/plain",
    );
    Form::new()
        .text("metadata", metadata.to_string())
        .part("worker.js", main)
        .part("IDENTITY.md", identity)
}

pub fn metadata(bindings: Value, migrate: bool) -> Value {
    let mut metadata = json!({
        "main_module": "worker.js",
        "compatibility_date": "2026-11-01",
        "compatibility_flags": ["nodejs_compat"],
        "bindings": bindings,
    });
    if migrate {
        metadata["migrations"] = json!({"new_tag": "v1", "new_sqlite_classes": ["Counter"]});
    }
    metadata
}

/// Whether there is such a process, and it is no zombie.
pub fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

pub fn kill(pid: u32) {
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}
