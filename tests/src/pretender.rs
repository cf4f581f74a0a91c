//! Stands in for code that runs: Workers that hear `/wake` and answer `/status` as the runtime does, without a runtime.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, HOST, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use talon_core::secret::{SecretValue, names};
use talon_simulator::{Deployed, NotRunning, Reached, Runner};
use tokio::net::TcpListener;

/// How Workers behave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Manner {
    /// As the runtime does.
    #[default]
    Honest,
    /// Their addresses lead nowhere.
    Away,
    /// This secret has another value than was pushed, until something is pushed again.
    Without(String),
    /// Status 200 and this body.
    Saying(String),
    /// Elsewhere, says every answer.
    Elsewhere(String),
}

#[derive(Default)]
struct Table {
    workers: BTreeMap<String, Deployed>,
    manner: Manner,
    /// Who was woken, in order.
    woken: Vec<String>,
}

/// Runs nothing, and answers for all.
pub struct Pretender {
    address: SocketAddr,
    table: Arc<Mutex<Table>>,
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pretender {
    /// Listens.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let table = Arc::new(Mutex::new(Table::default()));
        let routes = Router::new()
            .route("/wake", post(wake))
            .route("/status", get(status))
            .with_state(table.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, table }
    }

    /// How Workers behave from now on.
    pub fn be(&self, manner: Manner) {
        locked(&self.table).manner = manner;
    }

    /// Who was woken so far, in order.
    pub fn woken(&self) -> Vec<String> {
        locked(&self.table).woken.clone()
    }
}

#[async_trait]
impl Runner for Pretender {
    fn deployed(&self, worker: &str, version: &Deployed) {
        let mut table = locked(&self.table);
        table.workers.insert(worker.to_owned(), version.clone());
        if matches!(table.manner, Manner::Without(_)) {
            table.manner = Manner::Honest;
        }
    }

    fn deleted(&self, worker: &str) {
        locked(&self.table).workers.remove(worker);
    }

    async fn reach(&self, worker: &str) -> Result<Reached, NotRunning> {
        let table = locked(&self.table);
        let there = table.manner != Manner::Away && table.workers.contains_key(worker);
        there
            .then(|| Reached {
                address: self.address,
                in_use: Arc::new(()),
            })
            .ok_or(NotRunning::Gone)
    }
}

/// The Worker that is asked, if it accepts who asks.
fn asked(table: &Table, headers: &HeaderMap) -> Option<(String, Deployed)> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let name = text(HOST)?.split('.').next()?.to_owned();
    let worker = table.workers.get(&name)?;
    let control = worker
        .bindings
        .iter()
        .find(|b| b.name == names::CONTROL_TOKEN);
    let control = control.and_then(|b| b.secret.as_ref())?;
    let accepted = text(AUTHORIZATION) == Some(&format!("Bearer {}", control.expose()));
    accepted.then(|| (name, worker.clone()))
}

/// What a Worker of this manner says whatever it is asked.
fn odd(manner: &Manner) -> Option<Response> {
    match manner {
        Manner::Saying(body) => Some(body.clone().into_response()),
        Manner::Elsewhere(url) => {
            Some((StatusCode::FOUND, [(LOCATION, url.clone())]).into_response())
        }
        Manner::Honest | Manner::Away | Manner::Without(_) => None,
    }
}

async fn wake(State(table): State<Arc<Mutex<Table>>>, headers: HeaderMap) -> Response {
    let mut table = locked(&table);
    let Some((name, _)) = asked(&table, &headers) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    table.woken.push(name);
    odd(&table.manner).unwrap_or_else(|| axum::Json(json!({"state": "asleep"})).into_response())
}

async fn status(State(table): State<Arc<Mutex<Table>>>, headers: HeaderMap) -> Response {
    let table = locked(&table);
    let Some((_, worker)) = asked(&table, &headers) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    if let Some(odd) = odd(&table.manner) {
        return odd;
    }
    let plain = |name: &str| {
        let binding = worker.bindings.iter().find(|b| b.name == name);
        binding.and_then(|b| b.fields.get("text").cloned())
    };
    let secret = |name: &str| {
        let binding = worker.bindings.iter().find(|b| b.name == name);
        binding.and_then(|b| b.secret.clone())
    };
    let Some(control) = secret(names::CONTROL_TOKEN) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let other = SecretValue::new("another value".to_owned());
    let fingerprints: BTreeMap<&String, String> = (worker.bindings.iter())
        .filter(|b| b.name != names::SECRETS_REV)
        .filter_map(|b| {
            let wrong = table.manner == Manner::Without(b.name.clone());
            let value = b.secret.as_deref()?;
            let value = if wrong { &other } else { value };
            Some((&b.name, value.fingerprint(&control, &b.name)))
        })
        .collect();
    axum::Json(json!({
        "try": plain("TALON_TRY"),
        "secrets_rev": secret(names::SECRETS_REV).map(|s| s.expose().to_owned()),
        "runtime": {"engine": "none", "bundle": plain("TALON_RUNTIME")},
        "fingerprints": fingerprints,
    }))
    .into_response()
}
