//! Several replicas and people's own transactions at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use talon_core::mutation::{Finish, Mutation, Progress, StatusWrite};
use talon_core::status::DeploymentStatus;
use talon_core::{Owner, Snapshot};
use talon_store::conformance::support::spec;
use talon_store::{ApplyOptions, ApplyOutcome, BudgetAsk, Store, StoreError};
use talon_store_postgres::PostgresStore;

use crate::harness::{Role, TestPostgres};
use crate::support::{claim, create, name, run, snap};

const LONG: Duration = Duration::from_secs(600);

pub(crate) fn quiet(loaded: &Snapshot) -> Finish {
    Finish {
        mutations: Vec::new(),
        loaded_generation: loaded.agent.generation,
        loaded_reconcile_requested_at: loaded.agent.reconcile_requested_at,
        loaded_hold: None,
        next_due_in: None,
        progress: Progress::Ok,
        plan_report: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_never_share_an_agent() {
    const AGENTS: usize = 60;
    let database = TestPostgres::shared().await.database().await;
    let stores = [
        Arc::new(database.store().await),
        Arc::new(database.store().await),
    ];
    for i in 0..AGENTS {
        create(&stores[0], &format!("agent-{i}")).await;
    }
    let mut racers = tokio::task::JoinSet::new();
    for r in 0..6 {
        let store = stores[r % 2].clone();
        racers.spawn(async move {
            let mut mine = Vec::new();
            // Rows that another racer has locked are passed over, so an empty answer is not the end.
            while store
                .next_due_in()
                .await
                .unwrap()
                .is_some_and(|d| d.is_zero())
            {
                let some = store
                    .claim_due(&format!("racer-{r}"), LONG, 4)
                    .await
                    .unwrap();
                mine.extend(some.into_iter().map(|c| c.agent_id));
            }
            mine
        });
    }
    let all: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(all.len(), AGENTS);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), AGENTS);
}

#[tokio::test]
async fn a_write_between_load_and_finish_is_not_lost_even_if_it_commits_last() {
    let database = TestPostgres::shared().await.database().await;
    let store = Arc::new(database.store().await);
    let id = create(&store, "research-pro").await;
    let held = claim(&store, id).await;
    let loaded = snap(&store, id).await;
    let mut writer = database.connect(Role::Writer).await;
    let mut transaction = writer.begin().await.unwrap();
    run(&mut transaction, "UPDATE agent_source SET model = 'a/b'")
        .await
        .unwrap();
    // The pass ends while the writer has not committed: it waits for the row and then sees the new generation.
    let finishing = {
        let (store, held, finish) = (store.clone(), held.clone(), quiet(&loaded));
        tokio::spawn(async move { store.finish(&held, &finish).await })
    };
    let mut admin = database.connect(Role::Admin).await;
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted
                 AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))";
    while !sqlx::query_scalar::<_, bool>(waits)
        .fetch_one(&mut admin)
        .await
        .unwrap()
    {
        tokio::task::yield_now().await;
    }
    transaction.commit().await.unwrap();
    finishing.await.unwrap().unwrap();
    let after = snap(&store, id).await;
    assert!(after.work.next_due_at.is_some_and(|due| due <= after.now));
    claim(&store, id).await;
}

#[tokio::test]
async fn a_transaction_left_open_holds_up_one_agent_only() {
    let database = TestPostgres::shared().await.database().await;
    let store = database.store().await;
    let one = create(&store, "agent-one").await;
    let two = create(&store, "agent-two").await;
    let claims = store.claim_due("tests", LONG, 10).await.unwrap();
    let mut shell = database.connect(Role::Writer).await;
    let mut transaction = shell.begin().await.unwrap();
    run(
        &mut transaction,
        "UPDATE agent_source SET suspend = true WHERE name = 'agent-one'",
    )
    .await
    .unwrap();

    // Both leases are prolonged, or their pass is told to stop; never both waited for.
    let lost = store.renew(&claims, LONG).await.unwrap();
    assert_eq!(lost, [one], "nobody can say how long this lease will hold");
    let of_two = claims.iter().find(|c| c.agent_id == two).unwrap();
    let status = Mutation::Status(StatusWrite {
        deployment_status: Some(DeploymentStatus::Deploying),
        ..StatusWrite::default()
    });
    store.commit(of_two, &[status]).await.unwrap();
    store.release(of_two).await.unwrap();
    assert_eq!(claim(&store, two).await.agent_id, two);
    transaction.rollback().await.unwrap();
    let of_one = claims.iter().find(|c| c.agent_id == one).unwrap().clone();
    assert!(store.renew(&[of_one], LONG).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_controllers_do_not_deadlock() {
    let database = TestPostgres::shared().await.database().await;
    let store = Arc::new(database.store().await);
    let mut ids = Vec::new();
    for i in 0..10 {
        ids.push(create(&store, &format!("agent-{i}")).await);
    }
    let mut all = tokio::task::JoinSet::new();
    for w in 0..2 {
        let mut writer = database.connect(Role::Writer).await;
        all.spawn(async move {
            for r in 0..20 {
                let sql = format!(
                    "UPDATE agent_source SET display_name = '{w}-{r}' WHERE name = 'agent-{}'; \
                     UPDATE agent_source SET reconcile_requested_at = now()",
                    r % 10
                );
                // Two people who write in different orders may be told so by the server; a controller is not.
                if let Err((code, message)) = run(&mut writer, &sql).await {
                    assert_eq!(code, "40P01", "{message}");
                }
            }
        });
    }
    for c in 0..3 {
        let (store, ids) = (store.clone(), ids.clone());
        all.spawn(async move {
            for round in 0..15 {
                for held in store
                    .claim_due(&format!("controller-{c}"), LONG, 3)
                    .await
                    .unwrap()
                {
                    let loaded = store.load(held.agent_id).await.unwrap().unwrap();
                    let observed = Mutation::Status(StatusWrite {
                        observed_generation: Some(loaded.agent.generation),
                        ..StatusWrite::default()
                    });
                    assert!(
                        store
                            .renew(std::slice::from_ref(&held), LONG)
                            .await
                            .unwrap()
                            .is_empty()
                    );
                    store.commit(&held, &[observed]).await.unwrap();
                    store.finish(&held, &quiet(&loaded)).await.unwrap();
                }
                if round % 3 == 0 {
                    store.enqueue(&ids).await.unwrap();
                }
            }
        });
    }
    all.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_create_the_same_name_make_one_agent() {
    let database = TestPostgres::shared().await.database().await;
    let store = Arc::new(database.store().await);
    for round in 0..10 {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let store = store.clone();
            all.spawn(async move {
                store
                    .apply(
                        &name(&format!("agent-{round}")),
                        &Owner::default(),
                        &spec(),
                        ApplyOptions::default(),
                    )
                    .await
                    .unwrap()
            });
        }
        let applied = all.join_all().await;
        assert_eq!(
            applied.iter().map(|a| a.id).collect::<BTreeSet<_>>().len(),
            1
        );
        assert_eq!(
            applied
                .iter()
                .filter(|a| a.outcome == ApplyOutcome::Created)
                .count(),
            1
        );
    }
}

#[tokio::test]
async fn a_controller_role_does_a_whole_pass() {
    let database = TestPostgres::shared().await.database().await;
    let id = create(&database.store().await, "research-pro").await;
    let store = PostgresStore::open(&database.url(Role::Controller))
        .await
        .unwrap();
    let held = claim(&store, id).await;
    let loaded = snap(&store, id).await;
    let deployed = Mutation::Status(StatusWrite {
        deployment_status: Some(DeploymentStatus::Deployed),
        ..StatusWrite::default()
    });
    let latch = Mutation::Latch {
        generation: loaded.agent.generation,
    };
    assert!(
        store
            .commit(&held, &[deployed, latch])
            .await
            .unwrap()
            .latched
    );
    store.finish(&held, &quiet(&loaded)).await.unwrap();
    assert_eq!(store.enqueue(&[id]).await.unwrap(), 1);
    store.prune(Duration::from_secs(60)).await.unwrap();
    let ask = BudgetAsk {
        want: 1,
        reserve: 0,
        ceiling: 10,
        window: LONG,
    };
    store.take_budget("acc", ask).await.unwrap();
    assert!(store.try_lease("sweep", "a", LONG).await.unwrap());
    store.release_lease("sweep", "a").await.unwrap();
    let refused = store.set_suspend(&name("research-pro"), true).await;
    assert!(
        matches!(&refused, Err(StoreError::Rejected { message, .. }) if message.contains("role")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_writer_role_may_do_what_people_do() {
    let database = TestPostgres::shared().await.database().await;
    let store = PostgresStore::open(&database.url(Role::Writer))
        .await
        .unwrap();
    create(&store, "research-pro").await;
    let agent = name("research-pro");
    assert!(store.set_suspend(&agent, true).await.unwrap());
    store.request_reconcile(&agent).await.unwrap();
    store.request_deletion(&agent, false).await.unwrap();
    let seen = store.get("research-pro", false).await.unwrap().unwrap();
    assert!(seen.agent.is_deleting() && seen.agent.spec.suspend);
    assert!(seen.auth_tokens.is_empty(), "it may not see token hashes");
}
