//! References into a real OpenBao: read in scope, polled, rotated, and patient with a server that is down.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use talon_core::Owner;
use talon_core::condition::{ConditionType, Reason};
use talon_core::secret::{Provider, SecretRef, SecretValue};
use talon_core::spec::AgentSpec;
use talon_secrets::scope::Scope;
use talon_secrets::{ScopedReader, Scopes, SecretReadError, SecretReader, Vault, VaultConfig};
use talon_tests::openbao::OpenBao;
use talon_tests::stage::{Stage, spec, wait_for};
use url::Url;

const AGENT: &str = "research-pro";
const REFERENCE: &str = "vault:secret/agents/rp#anthropic";

fn reader(bao: &OpenBao, token: String) -> Arc<ScopedReader> {
    let vault = Vault::new(VaultConfig {
        address: Url::parse(&bao.address).expect("a URL"),
        token: Box::new(move || Ok(SecretValue::new(token.clone()))),
        namespace: None,
        mount: None,
        ca_file: None,
        timeout: Duration::from_secs(5),
    });
    let scope = Scope {
        vault: vec!["secret/agents/*".to_owned()],
        ..Scope::default()
    };
    let scopes = Scopes([(Owner::default(), scope)].into());
    Arc::new(ScopedReader::new(scopes).with_vault(Some(vault.expect("a client"))))
}

async fn read(reader: &ScopedReader, reference: &str) -> Result<String, SecretReadError> {
    let reference = SecretRef(reference.to_owned());
    let value = reader.read(&Owner::default(), &reference).await?;
    Ok(value.expose().to_owned())
}

fn by_reference(reference: &str) -> AgentSpec {
    let mut spec = spec();
    let (provider, reference) = (
        Provider("anthropic".to_owned()),
        SecretRef(reference.to_owned()),
    );
    spec.api_key_refs = [(provider, reference)].into();
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_openbao_says_is_understood() {
    let bao = OpenBao::start("made-up-root-token").await.expect("OpenBao");
    let fields = json!({"anthropic": "sk-1", "nested": {"a": "b"}});
    bao.put("agents/rp", fields).await.expect("written");
    bao.put("others/x", json!({"anthropic": "sk-2"}))
        .await
        .expect("written");
    let token = bao.reader("agents").await.expect("a token");
    let scoped = reader(&bao, token);
    assert_eq!(read(&scoped, REFERENCE).await, Ok("sk-1".to_owned()));
    let missing = [
        "vault:secret/agents/rp#openai",
        "vault:secret/agents/nobody#anthropic",
    ];
    for reference in missing {
        let error = read(&scoped, reference).await.expect_err(reference);
        assert!(matches!(error, SecretReadError::Missing(_)), "{error:?}");
    }
    let text = read(&scoped, "vault:secret/agents/rp#nested").await;
    assert!(matches!(text, Err(SecretReadError::Empty(_))), "{text:?}");
    let outside = read(&scoped, "vault:secret/others/x#anthropic").await;
    assert!(
        matches!(outside, Err(SecretReadError::OutOfScope(_))),
        "{outside:?}"
    );
    bao.delete("agents/rp").await.expect("deleted");
    let gone = read(&scoped, REFERENCE).await;
    assert!(matches!(gone, Err(SecretReadError::Missing(_))), "{gone:?}");
    let stranger = reader(&bao, "made-up-and-unknown".to_owned());
    let refused = read(&stranger, REFERENCE).await;
    assert!(
        matches!(refused, Err(SecretReadError::Missing(_))),
        "{refused:?}"
    );
    bao.seal().await.expect("sealed");
    let sealed = read(&scoped, REFERENCE).await;
    assert!(
        matches!(sealed, Err(SecretReadError::Unavailable(_))),
        "{sealed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_entry_reaches_the_worker_at_the_next_resync_and_an_unchanged_one_costs_nothing()
{
    let bao = OpenBao::start("made-up-root-token").await.expect("OpenBao");
    bao.put("agents/rp", json!({"anthropic": "sk-1"}))
        .await
        .expect("written");
    let stage = Stage::in_memory().await;
    let token = bao.token.clone();
    let daemon = stage.daemon_reading(reader(&bao, token));
    stage.apply(AGENT, &by_reference(REFERENCE)).await;
    let agent = stage.deployed(AGENT).await;
    let worker = agent.agent.status.worker_name.expect("a Worker");
    let on_worker = || {
        let value = stage.sim.secret_value(&worker, "ANTHROPIC_API_KEY");
        value.map(|v| v.expose().to_owned())
    };
    assert_eq!(on_worker().as_deref(), Some("sk-1"));
    stage.sim.clear_calls();
    daemon.daemon.resync_now();
    let looked = wait_for(|| async {
        let calls = stage.sim.calls();
        calls
            .iter()
            .any(|c| c.operation == "tokens.list")
            .then_some(())
    });
    looked.await.expect("a resync");
    stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), [""; 0]);

    bao.put("agents/rp", json!({"anthropic": "sk-2"}))
        .await
        .expect("rotated");
    let rotated = wait_for(|| async {
        daemon.daemon.resync_now();
        (on_worker().as_deref() == Some("sk-2")).then_some(())
    });
    rotated.await.expect("the new value arrives");
    stage.deployed(AGENT).await;
    assert_eq!(stage.write_names(), ["workers.secrets.bulk"]);

    // A server that is down takes nothing away.
    bao.seal().await.expect("sealed");
    stage.sim.clear_calls();
    stage
        .store
        .request_reconcile(&talon_tests::stage::name(AGENT))
        .await
        .expect("asked");
    let told = stage
        .until(AGENT, "told of the seal", |s| {
            let ready = s
                .conditions
                .iter()
                .find(|c| c.condition.kind == ConditionType::SecretsReady);
            ready.is_some_and(|c| c.condition.reason == Reason::SecretValueMissing)
        })
        .await;
    assert_eq!(stage.write_names(), [""; 0]);
    assert_eq!(on_worker().as_deref(), Some("sk-2"));
    assert_eq!(told.agent.status.deployment_status.to_string(), "deployed");
    daemon.stop().await;
}
