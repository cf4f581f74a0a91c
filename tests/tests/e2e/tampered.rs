//! Rows that somebody wrote by hand into the file behind SQLite, where no grants stand in the way: things of others that
//! a row names are never touched.

use std::sync::Arc;

use sqlx::Connection;
use talon_core::cloud::{CallClass, CallCx, Cloud, NewBucket, NewToken};
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::spec::Jurisdiction;
use talon_simulator::CallRecord;
use talon_store_sqlite::SqliteStore;
use talon_tests::stage::{Running, Stage, spec, wait_for};
use tempfile::TempDir;

const AGENT: &str = "research-pro";
const THEIR_WORKER: &str = "their-shop";
const THEIR_BUCKET: &str = "their-photos";

/// An agent that is live, beside things of somebody else.
struct Site {
    stage: Stage,
    daemon: Running,
    url: String,
    their_token: String,
    _folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("talon.db").display());
        SqliteStore::migrate(&url).await.expect("a schema");
        let store = SqliteStore::open(&url).await.expect("a database");
        let stage = Stage::on(Arc::new(store), talon_simulator::SimConfig::default()).await;
        let daemon = stage.daemon();
        stage.apply(AGENT, &spec()).await;
        stage.deployed(AGENT).await;
        let made = stage.sim.put_foreign_worker(THEIR_WORKER, None);
        made.expect("a Worker");
        let cloud = stage.client(Arc::new(talon_controller::budget::CallBudget::in_process(
            Arc::new(talon_controller::clock::SystemClock::default()),
            1_000,
        )));
        let cx = CallCx {
            class: CallClass::UserChange,
            remaining: None,
        };
        let bucket = NewBucket {
            name: THEIR_BUCKET.to_owned(),
            jurisdiction: Jurisdiction::Default,
            location_hint: None,
            storage_class: talon_core::spec::StorageClass::Standard,
        };
        cloud.create_bucket(cx, &bucket).await.expect("a bucket");
        let token = NewToken {
            name: "their backup job".to_owned(),
            bucket: THEIR_BUCKET.to_owned(),
            jurisdiction: Jurisdiction::Default,
        };
        let their_token = cloud.create_token(cx, &token).await.expect("a token").id;
        assert!(
            stage
                .sim
                .fill_bucket(Jurisdiction::Default, THEIR_BUCKET, 3)
        );
        let site = Self {
            stage,
            daemon,
            url,
            their_token,
            _folder: folder,
        };
        site.resync().await;
        site
    }

    /// Lists, compares and sweeps; the third look begins only after the sweep that followed the second.
    async fn resync(&self) {
        let lists = || {
            let calls = self.stage.sim.calls();
            let listed = |c: &&CallRecord| c.operation == "r2.bucket.list";
            calls.iter().filter(listed).count()
        };
        let before = lists();
        let looked = wait_for(|| async {
            self.daemon.daemon.resync_now();
            (lists() >= before + 3).then_some(())
        });
        looked.await.expect("resyncs go on");
    }

    async fn by_hand(&self, sql: &str) {
        let mut connection = sqlx::SqliteConnection::connect(&self.url)
            .await
            .expect("the file opens");
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql)
            .execute(&mut connection)
            .await
            .expect("SQLite has no grants");
    }

    fn assert_theirs_untouched(&self) {
        let sim = &self.stage.sim;
        assert!(sim.worker(THEIR_WORKER).is_some());
        let bucket = sim.buckets().into_iter().find(|b| b.name == THEIR_BUCKET);
        assert_eq!(bucket.map(|b| b.objects), Some(3));
        assert!(sim.tokens().iter().any(|t| t.id == self.their_token));
        for call in self.stage.sim.calls() {
            let touched = call.class == talon_simulator::CallClass::Write
                && [THEIR_WORKER, THEIR_BUCKET, &self.their_token]
                    .iter()
                    .any(|thing| call.path.contains(*thing));
            let made_here = call.method == "POST";
            assert!(!touched || made_here, "{call:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_ids_written_into_a_row_lead_to_nothing_of_others() {
    let site = Site::new().await;
    site.by_hand(&format!(
        "UPDATE agent_source SET worker_name = '{THEIR_WORKER}', r2_bucket = '{THEIR_BUCKET}', r2_token_id = '{id}';
         UPDATE agent_resource SET name = '{THEIR_WORKER}' WHERE kind = 'worker';
         UPDATE agent_resource SET name = '{THEIR_BUCKET}', intent_at = '2020-01-01T00:00:00.000Z'
         WHERE kind IN ('r2_bucket', 'r2_objects');
         UPDATE agent_resource SET external_id = '{id}' WHERE kind = 'r2_token';",
        id = site.their_token
    ))
    .await;
    site.stage.delete(AGENT).await;
    let agent = site.stage.archived(AGENT).await;
    for record in &agent.resources {
        assert_ne!(
            record.cleanup_result,
            Some(CleanupResult::Failed),
            "{record:?}"
        );
    }
    site.assert_theirs_untouched();
    let sim = &site.stage.sim;
    assert!(sim.workers().iter().all(|w| w.name == THEIR_WORKER));
    assert!(sim.buckets().iter().all(|b| b.name == THEIR_BUCKET));
    let tokens = sim.tokens();
    assert!(!tokens.iter().any(|t| t.name.starts_with("openclaw/")));
    site.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_believes_no_leftover_that_names_a_bucket_of_others() {
    let site = Site::new().await;
    site.stage.delete(AGENT).await;
    site.stage.archived(AGENT).await;
    site.by_hand(&format!(
        "UPDATE agent_resource SET name = '{THEIR_BUCKET}', cleanup_result = 'failed' WHERE kind = 'r2_bucket';"
    ))
    .await;
    let left = site.stage.store.leftovers().await.expect("an answer");
    assert_eq!(left[0].kind, ResourceKind::R2Bucket);
    site.resync().await;
    site.assert_theirs_untouched();
    site.daemon.stop().await;
}
