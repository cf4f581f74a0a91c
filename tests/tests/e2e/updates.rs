//! Every update class makes exactly the calls it is allowed.

use talon_core::secret::{Provider, SecretRef};
use talon_core::snapshot::AuthTokenState;
use talon_core::spec::Visibility;
use talon_core::{Owner, Snapshot};
use talon_store::{ApplyOptions, StoreError};
use talon_tests::stage::{ANTHROPIC, Running, Stage, name, spec};
use talon_worker::Bundle;

const AGENT: &str = "research-pro";
const NO_CALLS: [&str; 0] = [];

async fn live() -> (Stage, Running, Snapshot) {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    stage.apply(AGENT, &spec()).await;
    let agent = stage.deployed(AGENT).await;
    stage.sim.clear_calls();
    (stage, daemon, agent)
}

fn worker(agent: &Snapshot) -> String {
    agent
        .agent
        .status
        .worker_name
        .clone()
        .expect("a Worker name")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_router_shows_costs_no_cloudflare_write() {
    let (stage, daemon, agent) = live().await;
    let mut changed = spec();
    changed.display_name = Some("Research Pro".to_owned());
    changed.description = Some("Finds things out.".to_owned());
    changed.skills[0].description = "Researches any topic with sources.".to_owned();
    changed.visibility = Visibility::Public;
    changed.wallet_address = Some(format!("0x{}", "ab".repeat(20)));
    stage.apply(AGENT, &changed).await;
    stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), NO_CALLS);
    let card = stage
        .store
        .card(agent.agent.id)
        .await
        .expect("the store answers")
        .expect("a card");
    assert_eq!(
        card.skills[0].description,
        "Researches any topic with sources."
    );
    let identity = stage
        .sim
        .module_text(&worker(&agent), "IDENTITY.md")
        .expect("the module");
    assert!(
        identity.contains("Researches any topic."),
        "the Worker keeps what it was deployed with"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_keys_and_keep_alive_are_one_secrets_call() {
    let (stage, daemon, agent) = live().await;
    let openai = "env:TALON_SECRET_OPENAI";
    stage.secrets.set(openai, "sk-openai-canary-value");
    let mut changed = spec();
    changed.model = "openai/gpt-5".to_owned();
    changed.keep_alive = true;
    changed
        .api_key_refs
        .insert(Provider("openai".to_owned()), SecretRef(openai.to_owned()));
    stage.apply(AGENT, &changed).await;
    let agent_now = stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.secrets.bulk"]);
    let value = |n: &str| {
        stage
            .sim
            .secret_value(&worker(&agent), n)
            .map(|v| v.expose().to_owned())
    };
    assert_eq!(value("OPENCLAW_MODEL").as_deref(), Some("openai/gpt-5"));
    assert_eq!(value("KEEP_ALIVE").as_deref(), Some("true"));
    assert_eq!(
        value("OPENAI_API_KEY").as_deref(),
        Some("sk-openai-canary-value")
    );
    assert!(agent_now.agent.status.has_openai_key);

    stage.sim.clear_calls();
    changed.model = "anthropic/claude-sonnet-4-6".to_owned();
    changed.api_key_refs.remove(&Provider("openai".to_owned()));
    stage.apply(AGENT, &changed).await;
    let agent_now = stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.secrets.bulk"]);
    assert!(
        stage
            .sim
            .secret_value(&worker(&agent), "OPENAI_API_KEY")
            .is_none(),
        "a reference taken away goes"
    );
    assert!(!agent_now.agent.status.has_openai_key);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_behind_a_reference_is_pushed_once_asked_for() {
    let (stage, daemon, agent) = live().await;
    stage.secrets.set(ANTHROPIC, "sk-ant-rotated-value");
    stage
        .store
        .request_reconcile(&name(AGENT))
        .await
        .expect("accepted");
    stage
        .until(AGENT, "reconciled", |_| stage.write_names().len() == 1)
        .await;
    stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.secrets.bulk"]);
    let value = stage
        .sim
        .secret_value(&worker(&agent), "ANTHROPIC_API_KEY")
        .expect("the key");
    assert_eq!(value.expose(), "sk-ant-rotated-value");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_is_one_upload_that_inherits_every_secret() {
    let (mut stage, daemon, agent) = live().await;
    daemon.stop().await;
    let names = [
        "ANTHROPIC_API_KEY",
        "SOCIETY_AI_AUTH_TOKEN",
        "R2_SECRET_ACCESS_KEY",
        "OPENCLAW_MODEL",
        "CONTROL_TOKEN",
    ];
    let values = |stage: &Stage| -> Vec<Option<String>> {
        let worker = worker(&agent);
        names
            .iter()
            .map(|n| {
                stage
                    .sim
                    .secret_value(&worker, n)
                    .map(|v| v.expose().to_owned())
            })
            .collect()
    };
    let before = values(&stage);
    assert!(before.iter().all(Option::is_some));
    stage.bundle = Bundle::from_source(
        "next",
        "export class OpenClawAgent {}\nexport default {};\n",
    );
    stage.sim.clear_calls();
    let daemon = stage.daemon();
    daemon.daemon.resync_now();
    stage
        .until(AGENT, "upgraded", |_| stage.write_names().len() == 1)
        .await;
    let after = stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.upload"]);
    assert_eq!(values(&stage), before);
    let current: Vec<_> = after
        .auth_tokens
        .iter()
        .filter(|t| t.state == AuthTokenState::Current)
        .collect();
    assert_eq!(current.len(), 1);
    assert_eq!(
        after.agent.status.auth_token_hash,
        agent.agent.status.auth_token_hash
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn persona_and_instructions_are_refused_once_deployed_and_the_same_value_passes() {
    let (stage, daemon, _) = live().await;
    let (mut persona, mut instructions) = (spec(), spec());
    persona.persona.push('!');
    instructions.instructions.push('!');
    for changed in [persona, instructions] {
        let refused = stage
            .store
            .apply(
                &name(AGENT),
                &Owner::default(),
                &changed,
                ApplyOptions::default(),
            )
            .await;
        assert!(
            matches!(&refused, Err(StoreError::Rejected { code, .. }) if code == "TALON-OC002"),
            "{refused:?}"
        );
    }
    stage.apply(AGENT, &spec()).await;
    assert_eq!(stage.write_names(), NO_CALLS);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agent_is_left_alone_and_catches_up_when_resumed() {
    let (stage, daemon, _) = live().await;
    assert!(
        stage
            .store
            .set_suspend(&name(AGENT), true)
            .await
            .expect("accepted")
    );
    let mut changed = spec();
    changed.suspend = true;
    changed.keep_alive = true;
    stage.apply(AGENT, &changed).await;
    stage
        .until(AGENT, "suspended", |s| {
            talon_tests::stage::idle(s)
                && s.conditions
                    .iter()
                    .any(|c| c.condition.reason == talon_core::condition::Reason::Suspended)
        })
        .await;
    assert_eq!(stage.write_names(), NO_CALLS);
    stage
        .store
        .set_suspend(&name(AGENT), false)
        .await
        .expect("accepted");
    stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.secrets.bulk"]);
    daemon.stop().await;
}
