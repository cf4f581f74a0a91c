//! One agent from its row to its end.

use talon_core::condition::{ConditionType, Truth};
use talon_core::resource::CleanupResult;
use talon_core::status::DeploymentStatus;
use talon_tests::stage::{Stage, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_becomes_an_agent_with_four_writes_and_no_read_of_its_own() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    let agent = stage.deployed("research-pro").await;

    assert_eq!(
        stage.write_names(),
        [
            "r2.bucket.create",
            "tokens.create",
            "workers.upload",
            "workers.subdomain.set"
        ],
        "{:#?}",
        stage.sim.calls()
    );
    let own = |c: &talon_simulator::CallRecord| c.path.contains("research-pro");
    let own_reads: Vec<_> = stage
        .sim
        .calls()
        .into_iter()
        .filter(|c| own(c) && !stage.writes().contains(c))
        .collect();
    assert!(own_reads.is_empty(), "{own_reads:#?}");

    let status = &agent.agent.status;
    assert!(status.first_deployed_at.is_some());
    assert!(status.has_anthropic_key && !status.has_openai_key);
    let worker = status.worker_name.as_deref().expect("a Worker name");
    assert_eq!(
        status.worker_url.as_deref(),
        Some(format!("https://{worker}.dev.workers.dev").as_str())
    );
    let ready = agent
        .conditions
        .iter()
        .find(|c| c.condition.kind == ConditionType::Ready)
        .expect("Ready");
    assert_eq!(ready.condition.status, Truth::True);

    let auth = stage
        .sim
        .secret_value(worker, "SOCIETY_AI_AUTH_TOKEN")
        .expect("an auth token");
    assert_eq!(status.auth_token_hash, Some(auth.sha256_hex()));
    let card = stage
        .store
        .card(agent.agent.id)
        .await
        .expect("the store answers")
        .expect("a card");
    assert_eq!(card.url, "ws-agent://research-pro");
    assert_eq!(
        card.authentication.map(|a| a.credentials),
        status.auth_token_hash
    );

    let token_id = status.r2_token_id.as_deref().expect("an R2 token");
    let value = stage.sim.token_value(token_id).expect("the token is there");
    let pushed = stage
        .sim
        .secret_value(worker, "R2_SECRET_ACCESS_KEY")
        .expect("an R2 secret");
    assert_eq!(pushed.expose(), value.sha256_hex());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_cleans_up_every_resource_and_keeps_the_row() {
    let stage = Stage::in_memory().await;
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    stage.deployed("research-pro").await;
    stage.delete("research-pro").await;
    let agent = stage.archived("research-pro").await;

    assert_eq!(
        agent.agent.status.deployment_status,
        DeploymentStatus::Deleting
    );
    for record in &agent.resources {
        assert_eq!(
            record.cleanup_result,
            Some(CleanupResult::Deleted),
            "{record:?}"
        );
        assert!(record.cleaned_at.is_some());
    }
    assert!(stage.sim.workers().is_empty());
    assert!(stage.sim.buckets().is_empty());
    assert_eq!(
        stage.sim.tokens().len(),
        1,
        "only the controller's own token is left"
    );
    assert!(
        stage
            .store
            .card(agent.agent.id)
            .await
            .expect("the store answers")
            .is_none()
    );
    daemon.stop().await;
}
