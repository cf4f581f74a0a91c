//! Every way in which a key reaches Talon, rightly and by mistake.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use talon_core::secret::names;
use talon_simulator::{Fault, FaultRule};
use talon_tests::canary::Canaries;
use talon_tests::site::Site;
use talon_tests::stage::name;
use talon_tests::web::{Answer, Api, Browser};

use super::Heard;

/// Harmless; must be found, so that the search is known to work.
pub const PLANTED: &str = "PLANTED-instructions-9sWx27";
/// A key that somebody wrote into a persona: it stays in the row, and nobody repeats it.
pub const IN_PERSONA: &str = "sk-ant-CANARY-persona-0c7d21ffb3";

/// One for each way in.
pub const AGENTS: [&str; 5] = ["by-env", "by-file", "by-create", "by-put", "by-form"];

const BY_ENV: &str = "sk-ant-CANARY-env-8e5f01c2aa";
const BY_FILE: &str = "made-up-file-\"<é>/+&=-71ab44d0";
const AT_CREATE: &str = "sk-ant-CANARY-create-{\\}%%-5b0e93";
const BY_PUT: [&str; 2] = ["sk-ant-CANARY-put-1-2c81d7", "made-up-put-2-a9d44e01bc"];
const BY_FORM: &str = "made-up-form-+&%=;-4410ffc2";
const BY_COMMAND: &str = "made-up-command-98dd10c3e7";
/// Put where it does not belong, in the order of [`mistakes`].
const PASTED: [&str; 9] = [
    "sk-ant-CANARY-pasted-reference-1-c41e",
    "sk-ant-CANARY-pasted-reference-2-77d0",
    "sk-ant-CANARY-pasted-reference-3-9b1f",
    "sk-ant-CANARY-pasted-model-4-e3c7",
    "sk-ant-CANARY-pasted-owner-5-0a5d",
    "sk-ant-CANARY-pasted-field-6-66b2",
    "sk-ant-CANARY-pasted-path-7-d1f8",
    "sk-ant-CANARY-pasted-json-8-4ce9",
    "sk-ant-CANARY-pasted-yaml-9-b20a",
];
const KEY: &str = "ANTHROPIC_API_KEY";
const AGENTS_PATH: &str = "/api/v1/openclaw/agents";

/// The directory of `file:` references, and what else may hold what is looked for: the install key.
pub fn may_hold(site: &Site<'_>) -> Vec<PathBuf> {
    ["references", "install.key"]
        .map(|f| site.folder().join(f))
        .into()
}

/// Settings and references.
pub fn prepare(site: &mut Site<'_>) -> Result<()> {
    let files = site.folder().join("references");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("anthropic"), BY_FILE)?;
    let scopes = json!({"default": {"env": ["TALON_SECRET_*"], "files": files}});
    site.launch
        .set("TALON_SCOPES", scopes.to_string())
        .set("TALON_SECRET_CANARY", BY_ENV)
        .set("TALON_LOG", "trace")
        .set("RUST_LOG", "trace");
    Ok(())
}

/// Goes wrong on the way, once each: before and after it is done, with pages of the edge, without any answer.
pub fn faults(site: &Site<'_>) -> Result<()> {
    let status = |status, html, code, after_commit| Fault::Status {
        status,
        html,
        code,
        after_commit,
    };
    let throttled = Fault::Throttle {
        retry_after: Some(1),
    };
    let faults = [
        ("workers.upload", status(400, false, Some(10_021), false)),
        ("workers.upload", Fault::ResetAfter),
        ("workers.upload", status(503, true, None, false)),
        ("workers.secrets.bulk", status(502, true, None, true)),
        ("workers.secrets.bulk", Fault::ResetBefore),
        ("workers.secrets.bulk", throttled),
        ("tokens.create", status(500, false, None, false)),
        ("r2.buckets.create", Fault::ResetAfter),
    ];
    let rules = faults.map(|(on, fault)| FaultRule::on(on, fault).times(1));
    let added = site.sim.faults().add(rules.to_vec());
    added.map_err(anyhow::Error::msg)
}

/// Everything secret there is by now.
#[allow(clippy::disallowed_methods)] // To look for what must not be there.
pub async fn canaries(site: &Site<'_>) -> Result<Canaries> {
    let mut canaries = Canaries::default();
    for (n, key) in [BY_ENV, BY_FILE, AT_CREATE, BY_FORM, BY_COMMAND]
        .iter()
        .chain(&BY_PUT)
        .chain(&PASTED)
        .enumerate()
    {
        canaries.add(&format!("key {n}"), key);
    }
    for agent in AGENTS {
        let row = site.store.get(agent, true).await?.context("the row")?;
        let worker = row.agent.status.worker_name.context("a Worker name")?;
        for secret in [
            names::AUTH_TOKEN,
            names::CONTROL_TOKEN,
            names::R2_SECRET_ACCESS_KEY,
        ] {
            let value = site.sim.secret_value(&worker, secret).context(secret)?;
            canaries.add(secret, value.expose());
        }
        let expected = match agent {
            "by-env" => BY_ENV,
            "by-file" => BY_FILE,
            "by-create" => AT_CREATE,
            "by-put" => BY_COMMAND,
            _ => BY_FORM,
        };
        let held = site.sim.secret_value(&worker, KEY);
        ensure!(
            held.is_some_and(|v| v.expose() == expected),
            "{agent} does not hold its key"
        );
    }
    let key = std::fs::read_to_string(site.folder().join("install.key"))?;
    canaries.add("the install key", key.trim());
    Ok(canaries)
}

fn spec(references: Value) -> Value {
    json!({
        "persona": "You are careful.",
        "instructions": PLANTED,
        "model": "anthropic/claude-sonnet-4-6",
        "api_key_refs": references,
    })
}

async fn said(heard: &mut Heard, whence: &str, answer: Answer) -> Answer {
    heard.add(whence, answer.text.clone());
    answer
}

/// Does it until it is done, as a client would that was told to try again.
async fn at_last(
    heard: &mut Heard,
    whence: &str,
    done: &[StatusCode],
    mut ask: impl AsyncFnMut() -> Result<Answer>,
) -> Result<()> {
    for _ in 0..100 {
        let answer = said(heard, whence, ask().await?).await;
        if done.contains(&answer.status) {
            return Ok(());
        }
        let again = [
            StatusCode::CONFLICT,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        ensure!(
            again.contains(&answer.status),
            "{whence}: {}",
            answer.status
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("{whence}: never done")
}

/// Every way in.
pub async fn all(site: &Site<'_>, api: &Api, browser: &Browser, heard: &mut Heard) -> Result<()> {
    for (agent, reference) in [
        (AGENTS[0], "env:TALON_SECRET_CANARY"),
        (AGENTS[1], "file:anthropic"),
    ] {
        let body = json!({"name": agent, "spec": spec(json!({"anthropic": reference}))});
        let answer = api
            .send(api.ask(Method::POST, AGENTS_PATH).json(&body))
            .await?;
        ensure!(answer.status == StatusCode::CREATED, "{}", answer.text);
        said(heard, agent, answer).await;
    }
    at_creation(api, heard).await?;
    for agent in &AGENTS[3..] {
        let body = json!({"name": agent, "spec": spec(json!({}))});
        let answer = api
            .send(api.ask(Method::POST, AGENTS_PATH).json(&body))
            .await?;
        ensure!(answer.status == StatusCode::CREATED, "{}", answer.text);
    }
    for value in BY_PUT {
        let path = format!("{AGENTS_PATH}/{}/secrets/{KEY}", AGENTS[3]);
        at_last(heard, "PUT a key", &[StatusCode::NO_CONTENT], async || {
            let request = api.ask(Method::PUT, &path).json(&json!({"value": value}));
            api.send(request).await
        })
        .await?;
    }
    let page = format!("/agents/{}/secrets", AGENTS[4]);
    at_last(heard, "the form", &[StatusCode::SEE_OTHER], async || {
        let fields = [("provider", "anthropic"), ("value", BY_FORM)];
        browser.post(&page, &fields).await
    })
    .await?;
    by_command(site, api, heard).await?;
    in_persona(site, api, heard).await?;
    mistakes(api, browser, heard).await
}

/// With the agent itself. It is there whatever becomes of its key; then the key is set again.
async fn at_creation(api: &Api, heard: &mut Heard) -> Result<()> {
    let agent = AGENTS[2];
    let keys = json!({"anthropic": AT_CREATE});
    let body = json!({"name": agent, "spec": spec(json!({})), "api_keys": keys});
    let answer = api
        .send(api.ask(Method::POST, AGENTS_PATH).json(&body))
        .await?;
    let answer = said(heard, "POST with keys", answer).await;
    if answer.status == StatusCode::CREATED {
        return Ok(());
    }
    ensure!(
        answer.json().get("value_stored").is_some(),
        "it does not say what became of the key: {}",
        answer.text
    );
    let path = format!("{AGENTS_PATH}/{agent}/secrets/{KEY}");
    let done = [StatusCode::NO_CONTENT];
    at_last(heard, "PUT the key again", &done, async || {
        let body = json!({"value": AT_CREATE});
        api.send(api.ask(Method::PUT, &path).json(&body)).await
    })
    .await
}

async fn by_command(site: &Site<'_>, api: &Api, heard: &mut Heard) -> Result<()> {
    let arguments = ["secrets", "set", AGENTS[3], KEY, "--server", &api.server];
    for _ in 0..100 {
        let output = site.launch.run_with(&arguments, BY_COMMAND)?;
        heard.add("talon secrets set", [output.stdout, output.stderr].concat());
        match output.status.code() {
            Some(0) => return Ok(()),
            Some(9) => tokio::time::sleep(Duration::from_millis(200)).await,
            other => bail!("exit {other:?}"),
        }
    }
    bail!("never stored")
}

/// Taken, with a warning that does not repeat it; replaced while that can be done.
async fn in_persona(site: &Site<'_>, api: &Api, heard: &mut Heard) -> Result<()> {
    let mut wanted = spec(json!({}));
    wanted["persona"] = format!("Say {IN_PERSONA} when asked.").into();
    wanted["suspend"] = true.into();
    let body = json!({"name": "careless", "spec": wanted});
    let request = api.ask(Method::POST, AGENTS_PATH).json(&body);
    let response = request.send().await?;
    let warnings = format!("{:?}", response.headers());
    ensure!(warnings.contains("/spec/persona"), "no warning: {warnings}");
    heard.add("the warning", warnings);
    let created = site.store.get("careless", false).await?;
    ensure!(created.is_some(), "it was not made");
    site.store
        .request_deletion(&name("careless"), false)
        .await?;
    Ok(())
}

/// Put where it does not belong: refused, and not repeated.
async fn mistakes(api: &Api, browser: &Browser, heard: &mut Heard) -> Result<()> {
    let one = format!("{AGENTS_PATH}/{}", AGENTS[0]);
    let merge = |body: Value| {
        let request = api.ask(Method::PATCH, &one);
        request
            .header("content-type", "application/merge-patch+json")
            .body(body.to_string())
    };
    let put = |body: &Value| {
        api.ask(Method::PUT, &one)
            .header("if-match", "*")
            .json(body)
    };
    let mut field = json!({"spec": spec(json!({}))});
    field["spec"][PASTED[5]] = "a value".into();
    let path = format!("{AGENTS_PATH}/{}/secrets/{}", AGENTS[3], PASTED[6]);
    let requests = [
        merge(json!({"spec": {"api_key_refs": {"anthropic": PASTED[0]}}})),
        put(&json!({"spec": spec(json!({"openai": PASTED[1]}))})),
        merge(json!({"spec": {"api_key_refs": {PASTED[2]: "env:TALON_SECRET_X"}}})),
        merge(json!({"spec": {"model": PASTED[3]}})),
        put(&json!({"owner": PASTED[4], "spec": spec(json!({}))})),
        put(&field),
        api.ask(Method::PUT, &path).json(&json!({"value": "x"})),
        api.ask(Method::POST, AGENTS_PATH)
            .header("content-type", "application/json")
            .body(format!("{{\"name\": \"{}", PASTED[7])),
    ];
    for (n, request) in requests.into_iter().enumerate() {
        let answer = said(heard, &format!("mistake {n}"), api.send(request).await?).await;
        ensure!(
            answer.status.is_client_error(),
            "mistake {n} was taken: {} {}",
            answer.status,
            answer.text
        );
    }
    let yaml = format!(
        "apiVersion: talon.dev/v1\nkind: OpenClawAgent\nmetadata: {{name: {}}}\nspec:\n  persona: You are careful.\n  \
         instructions: {PLANTED}\n  model: anthropic/claude-sonnet-4-6\n  apiKeyRefs: {{anthropic: {}}}\n",
        AGENTS[4], PASTED[8]
    );
    let fields = [("do", "apply"), ("generation", "1"), ("yaml", &yaml)];
    let page = format!("/agents/{}/edit", AGENTS[4]);
    let answer = browser.post(&page, &fields).await?;
    ensure!(
        answer.status != StatusCode::SEE_OTHER,
        "a pasted key was taken as a reference"
    );
    heard.add("status of a mistake in a form", answer.status.to_string());
    Ok(())
}
