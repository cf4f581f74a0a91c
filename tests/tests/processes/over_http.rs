//! Everything that people ask for over HTTP, of a daemon on PostgreSQL whose login has what README tells people to give it.

#![allow(clippy::disallowed_methods)] // Opens a token of its own making, to send it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use data_encoding::BASE64;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::AgentId;
use talon_core::secret::keyed_bytes;
use talon_secrets::InstallKey;
use talon_simulator::SimConfig;
use talon_tests::postgres::Role;
use talon_tests::site::{Engine, Site, unsettled};

const PATIENCE: Duration = Duration::from_secs(120);
const AGENTS: &str = "/api/v1/openclaw/agents";
const BOT: &str = "/api/v1/openclaw/agents/research-pro";

struct Asker {
    client: reqwest::Client,
    server: String,
    token: String,
}

impl Asker {
    /// Sends a deployment callback, signed for the agent.
    async fn call_back(&self, key: &InstallKey, agent: AgentId, wanted: StatusCode) -> Result<()> {
        let secret = key.callback_secret(agent);
        let secret = secret.expose().strip_prefix("whsec_").context("its form")?;
        let (id, body) = ("msg_1", json!({"worker_name": "research-pro"}).to_string());
        let at = chrono::Utc::now().timestamp().to_string();
        let parts = [id, ".", &at, ".", &body].map(str::as_bytes);
        let hash = keyed_bytes(&BASE64.decode(secret.as_bytes())?, &parts);
        let answer = self
            .client
            .post(format!("{}{BOT}/deployment-callback", self.server))
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", &at)
            .header("webhook-signature", format!("v1,{}", BASE64.encode(&hash)))
            .body(body)
            .send()
            .await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status == wanted, "the callback: {status} {text}");
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        wanted: StatusCode,
    ) -> Result<Value> {
        let url = format!("{}{path}", self.server);
        let mut request = self.client.request(method.clone(), url);
        request = request.bearer_auth(&self.token).header("if-match", "*");
        if let Some(body) = body {
            let kind = if method == Method::PATCH {
                "application/merge-patch+json"
            } else {
                "application/json"
            };
            let text = body.to_string();
            request = request.header("content-type", kind).body(text);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status == wanted, "{method} {path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controllers_login_serves_everything_on_postgres() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let site = Site::on(Engine::Postgres, SimConfig::default()).await?;
    let key = std::fs::read_to_string(site.folder().join("install.key"))?;
    let install = InstallKey::from_hex(key.trim())?;
    let token = install.operator_token();
    let daemon = site.daemon("daemon")?;
    let asker = Asker {
        client: reqwest::Client::builder().build()?,
        server: site.address("daemon").await?,
        token: token.expose().to_owned(),
    };
    let spec = json!({"persona": "p", "instructions": "i", "model": "anthropic/a",
        "api_key_refs": {"anthropic": "env:TALON_SECRET_ANTHROPIC"}});
    let mut other = spec.clone();
    other["model"] = json!("anthropic/b");
    let made = Some(json!({"name": "research-pro", "spec": spec}));
    let agent = asker
        .ask(Method::POST, AGENTS, made, StatusCode::CREATED)
        .await?;
    let agent = agent["id"].as_str().context("an id")?;
    let agent = AgentId(agent.parse()?);
    site.row("research-pro", "deployed", PATIENCE, |row| {
        unsettled(row).is_none()
    })
    .await?;
    let replaced = Some(json!({"spec": other}));
    asker
        .ask(Method::PUT, BOT, replaced, StatusCode::OK)
        .await?;
    let patched = Some(json!({"spec": {"description": "d"}}));
    asker
        .ask(Method::PATCH, BOT, patched, StatusCode::OK)
        .await?;
    let path = |end: &str| format!("{BOT}/{end}");
    for (end, status) in [
        ("suspend", StatusCode::OK),
        ("resume", StatusCode::OK),
        ("reconcile", StatusCode::ACCEPTED),
    ] {
        asker.ask(Method::POST, &path(end), None, status).await?;
    }
    asker
        .call_back(&install, agent, StatusCode::ACCEPTED)
        .await?;
    let key = Some(json!({"value": "made-up-openai-key-7b21"}));
    let secret = path("secrets/OPENAI_API_KEY");
    asker
        .ask(Method::PUT, &secret, key, StatusCode::NO_CONTENT)
        .await?;
    let hold = Some(json!({"reason": "a look"}));
    asker
        .ask(Method::PUT, "/api/v1/hold", hold, StatusCode::OK)
        .await?;
    asker
        .ask(Method::DELETE, "/api/v1/hold", None, StatusCode::OK)
        .await?;
    let new = Some(json!({"label": "ann", "role": "viewer", "owner": "ann"}));
    let made = asker
        .ask(Method::POST, "/api/v1/tokens", new, StatusCode::CREATED)
        .await?;
    let id = made["id"].as_str().context("an id")?.to_owned();
    let token = format!("/api/v1/tokens/{id}");
    asker
        .ask(Method::DELETE, &token, None, StatusCode::NO_CONTENT)
        .await?;
    asker
        .ask(Method::DELETE, BOT, None, StatusCode::ACCEPTED)
        .await?;
    let log = asker
        .ask(Method::GET, "/api/v1/audit", None, StatusCode::OK)
        .await?;
    let entries = log["items"].as_array().context("entries")?;
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    // Newest first. Whoever has no token is named by what they are.
    let written: Vec<(String, String)> = entries
        .iter()
        .rev()
        .map(|entry| (text(entry, "action"), text(entry, "actor")))
        .collect();
    let wanted: Vec<(String, String)> = [
        ("insert", "operator"),
        ("update", "operator"),
        ("update", "operator"),
        ("update", "operator"),
        ("update", "operator"),
        ("reconcile", "operator"),
        ("reconcile", "callback"),
        ("set_secret", "operator"),
        ("hold", "operator"),
        ("release_hold", "operator"),
        ("token_create", "operator"),
        ("token_revoke", "operator"),
        ("delete", "operator"),
    ]
    .map(|(action, actor)| (action.to_owned(), actor.to_owned()))
    .into();
    ensure!(written == wanted, "{written:?}");
    ensure!(
        entries.iter().all(|entry| entry["source"] == "127.0.0.1"),
        "{log}"
    );
    let said = site.launch.run(&["doctor"])?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(said.contains("changes over HTTP can be written"), "{said}");
    // By itself, the daemon's role is no writer.
    let database = site.database.as_ref().context("a database")?;
    let output = database.psql(Role::Controller, "DELETE FROM agent_source");
    let refused = String::from_utf8_lossy(&output.stderr);
    ensure!(refused.contains("permission denied"), "{refused}");
    daemon.terminate(PATIENCE).await?;
    Ok(())
}
