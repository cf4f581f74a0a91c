//! A Cloudflare that fails a lot: everything converges without a human.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use talon_core::status::DeploymentStatus;
use talon_simulator::{CallClass, Fault, FaultRule, SimConfig};
use talon_store_sqlite::SqliteStore;
use talon_tests::stage::{Stage, spec};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_agents_converge_through_errors_timeouts_and_throttling() {
    let mut stage = Stage::in_memory().await;
    stage.config.request_timeout_seconds = 1.0;
    stage.config.settle_grace_seconds = 0.5;
    stage.config.brake.deletions = 1000;
    let on = |class, fault, p| FaultRule {
        probability: p,
        ..FaultRule::on_class(class, fault)
    };
    let error = || Fault::Status {
        status: 503,
        html: true,
        code: None,
        after_commit: false,
    };
    let rules = vec![
        on(CallClass::Write, error(), 0.2),
        on(CallClass::Read, error(), 0.2),
        on(
            CallClass::Write,
            Fault::TimeoutAfter {
                answer_after_ms: None,
            },
            0.05,
        ),
        on(
            CallClass::Write,
            Fault::Throttle {
                retry_after: Some(1),
            },
            0.02,
        ),
    ];
    stage.sim.faults().add(rules).expect("valid rules");
    let daemon = stage.daemon();
    for n in 0..50 {
        stage.apply(&format!("agent-{n}"), &spec()).await;
    }
    for n in 0..50 {
        let agent = stage
            .until(&format!("agent-{n}"), "deployed", |s| {
                assert_ne!(
                    s.agent.status.deployment_status,
                    DeploymentStatus::Failed,
                    "failed for a transient cause"
                );
                s.agent.status.deployment_status == DeploymentStatus::Deployed
            })
            .await;
        assert!(agent.agent.status.deployment_error.is_none());
    }
    assert!(stage.sim.faults().fired() > 50, "the faults fired");
    stage.sim.faults().clear();
    for n in 0..50 {
        stage.deployed(&format!("agent-{n}")).await;
    }
    assert_eq!(stage.sim.workers().len(), 50);
    assert_eq!(stage.sim.buckets().len(), 50);
    daemon.daemon.resync_now();
    let one_each =
        talon_tests::stage::wait_for(|| async { (stage.sim.tokens().len() == 51).then_some(()) })
            .await;
    assert!(
        one_each.is_some(),
        "one token for each agent and the controller's own: {}",
        stage.sim.tokens().len()
    );
    for n in 0..50 {
        let agent = stage.deployed(&format!("agent-{n}")).await;
        let status = &agent.agent.status;
        let worker = status.worker_name.as_deref().expect("a Worker");
        let auth = stage
            .sim
            .secret_value(worker, "SOCIETY_AI_AUTH_TOKEN")
            .map(|v| v.sha256_hex());
        assert_eq!(auth, status.auth_token_hash);
        let value = stage
            .sim
            .token_value(status.r2_token_id.as_deref().expect("a token"))
            .map(|v| v.sha256_hex());
        let pushed = stage
            .sim
            .secret_value(worker, "R2_SECRET_ACCESS_KEY")
            .map(|v| v.expose().to_owned());
        assert_eq!(pushed, value, "R2 credentials of {worker}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_changes_when_and_never_the_failure_count() {
    let stage = Stage::in_memory().await;
    let rule = FaultRule::on(
        "r2.bucket.create",
        Fault::Throttle {
            retry_after: Some(1),
        },
    )
    .times(2);
    stage.sim.faults().add(vec![rule]).expect("a valid rule");
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    let throttled = stage
        .until("research-pro", "throttled", |s| {
            s.conditions.iter().any(|c| {
                c.condition.kind == talon_core::condition::ConditionType::Throttled
                    && c.condition.status == talon_core::condition::Truth::True
            })
        })
        .await;
    assert_eq!(throttled.work.failure_count, 0);
    let agent = stage.deployed("research-pro").await;
    assert_eq!(agent.work.failure_count, 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_lag_create_nothing_twice_and_take_nothing_for_gone() {
    let mut stage = Stage::in_memory().await;
    stage.config.list_lag_seconds = 3.0;
    stage.sim.faults().set_conditions(|c| {
        c.stale_lists_ms = 2_000;
        c.null_tags_ms = 2_000;
    });
    let daemon = stage.daemon();
    for n in 0..5 {
        stage.apply(&format!("agent-{n}"), &spec()).await;
    }
    for _ in 0..4 {
        daemon.daemon.resync_now();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for n in 0..5 {
        stage.deployed(&format!("agent-{n}")).await;
    }
    let made = stage.write_names();
    for operation in ["r2.bucket.create", "tokens.create", "workers.upload"] {
        assert_eq!(
            made.iter().filter(|m| *m == operation).count(),
            5,
            "{operation}: {made:?}"
        );
    }
    for n in 0..5 {
        stage.delete(&format!("agent-{n}")).await;
    }
    for n in 0..5 {
        stage.archived(&format!("agent-{n}")).await;
    }
    assert!(stage.sim.workers().is_empty() && stage.sim.buckets().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("talon.db");
    let path = path.to_str().expect("a path");
    SqliteStore::migrate(path).await.expect("a database");
    let store = Arc::new(SqliteStore::open(path).await.expect("a store"));
    let stage = Stage::on(store, SimConfig::default()).await;
    let poisoned = stage.config.concurrency;
    for n in 0..poisoned {
        stage.apply(&format!("poisoned-{n}"), &spec()).await;
    }
    // As a newer program may write it.
    let mut sql = sqlx::SqliteConnection::connect(&format!("sqlite://{path}"))
        .await
        .expect("a connection");
    sqlx::query(
        "INSERT INTO agent_resource (agent_id, kind, name, state) SELECT id, 'moon', 'm', 'present' FROM agent_source",
    )
    .execute(&mut sql)
    .await
    .expect("the file takes it");
    let daemon = stage.daemon();
    stage.apply("research-pro", &spec()).await;
    stage.deployed("research-pro").await;
    let most: i64 = sqlx::query_scalar("SELECT max(lease_epoch) FROM agent_work w JOIN agent_source s ON s.id = w.agent_id WHERE s.name LIKE 'poisoned-%'")
        .fetch_one(&mut sql)
        .await
        .expect("an answer");
    assert!(most <= 2, "claimed {most} times");
    daemon.stop().await;
}
