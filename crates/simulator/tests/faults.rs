//! Faults, standing conditions, the quota, the log and the steering endpoints, over real HTTP.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::{Cloud, metadata, secret, send};
use talon_simulator::{
    CallClass, CallRecord, Deployed, Fault, FaultRule, Quota, Runner, SimConfig, WorkerEdit,
};

/// Long enough for any answer that comes.
const PATIENT: Duration = Duration::from_secs(20);
/// How long a caller waits for an answer that never comes.
const HASTY: Duration = Duration::from_millis(300);

async fn create(cloud: &Cloud, name: &str, timeout: Duration) -> Option<u16> {
    cloud
        .request(Method::POST, "r2/buckets")
        .json(&json!({"name": name}))
        .timeout(timeout)
        .send()
        .await
        .ok()
        .map(|r| r.status().as_u16())
}

/// Waits until something is so; what happens behind a lost answer has no other sign.
async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, wait).await.unwrap();
}

fn rule(kind: Fault) -> Vec<FaultRule> {
    vec![FaultRule::on("r2.bucket.create", kind).times(1)]
}

/// What the caller gets, and whether the bucket is there afterwards.
#[tokio::test]
async fn each_fault_does_what_it_says() {
    let status = |html, after_commit| Fault::Status {
        status: 503,
        html,
        code: None,
        after_commit,
    };
    let never = Fault::TimeoutAfter {
        answer_after_ms: None,
    };
    let late = Fault::TimeoutAfter {
        answer_after_ms: Some(1),
    };
    let table = [
        (status(false, false), Some(503), false),
        (status(true, false), Some(503), false),
        (status(false, true), Some(503), true),
        (Fault::ResetBefore, None, false),
        (Fault::ResetAfter, None, true),
        (Fault::TimeoutBefore, None, false),
        (never, None, true),
        (late, Some(200), true),
        (
            Fault::Throttle {
                retry_after: Some(7),
            },
            Some(429),
            false,
        ),
        (Fault::Latency { ms: 1 }, Some(200), true),
        (Fault::Duplicate, Some(409), true),
    ];
    for (kind, answered, there) in table {
        let cloud = Cloud::start().await;
        cloud.sim.faults().add(rule(kind.clone())).unwrap();
        let timeout = if answered.is_some() { PATIENT } else { HASTY };
        let got = create(&cloud, "bucket", timeout).await;
        assert_eq!(got, answered, "{kind:?}");
        until(|| !cloud.sim.calls().is_empty()).await;
        assert_eq!(cloud.sim.buckets().len(), usize::from(there), "{kind:?}");
        assert_eq!(cloud.sim.faults().fired(), 1);
        let call: &CallRecord = &cloud.sim.calls()[0];
        assert_eq!(call.fault.as_deref(), Some(kind.name()));
        let quiet = kind == late_kind(&kind);
        assert_eq!(call.status, if quiet { None } else { answered }, "{kind:?}");
        let took = call.took_effect() || matches!(kind, Fault::Duplicate);
        assert_eq!(took, there, "{kind:?}");
        // The next call is not hit any more.
        assert_eq!(
            create(&cloud, "second", PATIENT).await,
            Some(200),
            "{kind:?}"
        );
        cloud.sim.shutdown().await;
    }
}

/// Calls that are logged when they are carried out, before it is known whether anybody hears the answer.
fn late_kind(kind: &Fault) -> Fault {
    match kind {
        Fault::TimeoutAfter { .. } => kind.clone(),
        Fault::Status { .. }
        | Fault::ResetBefore
        | Fault::ResetAfter
        | Fault::TimeoutBefore
        | Fault::LandLate { .. }
        | Fault::Throttle { .. }
        | Fault::Latency { .. }
        | Fault::Duplicate => Fault::TimeoutBefore,
    }
}

#[tokio::test]
async fn a_call_can_land_after_its_caller_has_gone() {
    let cloud = Cloud::start().await;
    cloud
        .sim
        .faults()
        .add(rule(Fault::LandLate { after_ms: 2_000 }))
        .unwrap();
    assert_eq!(create(&cloud, "bucket", HASTY).await, None);
    assert!(cloud.sim.buckets().is_empty());
    until(|| !cloud.sim.buckets().is_empty()).await;
    let late = || {
        let mut calls = cloud.sim.calls().into_iter();
        calls.find(|c| c.fault.as_deref() == Some("landed_late"))
    };
    until(|| late().is_some()).await;
    let late = late().unwrap();
    assert!(late.took_effect() && late.status.is_none());
}

#[tokio::test]
async fn the_same_seed_gives_the_same_history() {
    async fn history(seed: u64) -> Vec<u16> {
        let cloud = Cloud::with(|c: &mut SimConfig| c.seed = seed).await;
        let broken = Fault::Status {
            status: 500,
            html: false,
            code: None,
            after_commit: false,
        };
        let rule = FaultRule::on_class(CallClass::Read, broken).probability(0.4);
        cloud.sim.faults().add(vec![rule]).unwrap();
        let mut seen = Vec::new();
        for _ in 0..40 {
            seen.push(cloud.get("workers/scripts").await.status);
        }
        seen
    }
    let first = history(11).await;
    assert_eq!(first, history(11).await);
    assert_ne!(first, history(12).await);
    assert!(first.contains(&200) && first.contains(&500));
}

#[tokio::test]
async fn lists_and_gets_can_show_the_past() {
    let cloud = Cloud::start().await;
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.stale_lists_ms = 30_000);
    cloud.upload("a", metadata(json!([]))).await.result();
    let listed = || async {
        let answer = cloud.get("workers/scripts").await;
        answer.result().as_array().unwrap().len()
    };
    assert_eq!(listed().await, 0);
    cloud.get("workers/scripts/a/settings").await.result();
    cloud.clock.advance(Duration::from_secs(31));
    assert_eq!(listed().await, 1);
    cloud.delete("workers/scripts/a?force=true").await.result();
    assert_eq!(listed().await, 1);
    assert_eq!(cloud.get("workers/scripts/a/settings").await.code(), 10007);
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.stale_gets_ms = 30_000);
    cloud.get("workers/scripts/a/settings").await.result();
    cloud.clock.advance(Duration::from_secs(31));
    assert_eq!(listed().await, 0);
    assert_eq!(cloud.get("workers/scripts/a/settings").await.code(), 10007);
    let fired = cloud.sim.faults().conditions().fired;
    assert_eq!((fired.stale_lists, fired.stale_gets), (2, 1));
}

#[tokio::test]
async fn fresh_workers_hide_their_tags_and_lists_can_be_empty() {
    let cloud = Cloud::start().await;
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.null_tags_ms = 5_000);
    cloud.upload("a", metadata(json!([]))).await.result();
    let settings = cloud.get("workers/scripts/a/settings").await;
    assert_eq!(settings.result()["tags"], Value::Null);
    assert_eq!(
        cloud.get("workers/scripts").await.result()[0]["tags"],
        Value::Null
    );
    cloud.clock.advance(Duration::from_secs(5));
    assert_eq!(
        cloud.get("workers/scripts").await.result()[0]["tags"][0],
        "talon"
    );
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.empty_worker_list = true);
    assert_eq!(cloud.get("workers/scripts").await.result(), &json!([]));
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.refuse_bucket_delete = Some(String::new()));
    cloud.bucket("kept").await;
    assert_eq!(
        cloud.delete("r2/buckets/kept").await.refused(),
        (403, 10000)
    );
}

#[tokio::test]
async fn a_spent_quota_refuses_the_rest_of_the_window() {
    let window = Duration::from_secs(300);
    let cloud = Cloud::with(|c| c.quota = Some(Quota { limit: 3, window })).await;
    let first = cloud.get("workers/scripts").await;
    assert_eq!(first.headers["ratelimit"], "\"default\";r=2;t=300");
    assert_eq!(first.headers["ratelimit-policy"], "\"default\";q=3;w=300");
    cloud.get("workers/scripts").await.result();
    cloud.get("workers/scripts").await.result();
    cloud.clock.advance(Duration::from_secs(100));
    let refused = cloud
        .json(Method::POST, "r2/buckets", json!({"name": "bucket"}))
        .await;
    assert_eq!(refused.refused(), (429, 971));
    assert_eq!(refused.headers["retry-after"], "200");
    assert!(cloud.sim.buckets().is_empty());
    cloud.clock.advance(Duration::from_secs(200));
    cloud.bucket("bucket").await;
}

#[tokio::test]
async fn the_log_tells_what_happened_and_no_secret() {
    let cloud = Cloud::start().await;
    cloud
        .upload("a", metadata(json!([secret("KEY", "sk-very-secret")])))
        .await
        .result();
    let put = json!({"name": "KEY", "text": "sk-very-secret", "type": "secret_text"});
    cloud
        .json(Method::PUT, "workers/scripts/a/secrets", put)
        .await
        .result();
    cloud.get("r2/buckets/none").await;
    let calls = cloud.sim.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|c| {
            (
                c.seq,
                c.operation.as_str(),
                c.status,
                c.class,
                c.code,
                c.took_effect(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, "workers.upload", Some(200), CallClass::Write, None, true),
            (
                2,
                "workers.secrets.put",
                Some(200),
                CallClass::Write,
                None,
                true
            ),
            (
                3,
                "r2.bucket.get",
                Some(404),
                CallClass::Read,
                Some(10006),
                false
            ),
        ]
    );
    assert_eq!(
        calls[0].resource(),
        "workers/scripts/a?bindings_inherit=strict"
    );
    assert!(
        calls
            .iter()
            .all(|c| c.token_id.as_ref() == Some(&cloud.sim.tokens()[0].id))
    );
    assert!(!format!("{calls:?}").contains("sk-very-secret"));
    cloud.sim.clear_calls();
    assert!(cloud.sim.calls().is_empty());
}

#[tokio::test]
async fn everything_can_be_steered_over_http() {
    let cloud = Cloud::start().await;
    let admin = cloud.sim.admin();
    let call = |method: Method, path: &str, body: Value| {
        send(
            cloud
                .http
                .request(method, format!("{admin}/{path}"))
                .json(&body),
        )
    };
    let rules = json!([{
        "match": {"operation": "r2.*", "method": "POST", "path": "buckets$"},
        "kind": {"type": "status", "status": 502, "html": true}, "times": 1,
    }]);
    assert_eq!(call(Method::POST, "faults", rules).await.status, 200);
    assert_eq!(create(&cloud, "memory", PATIENT).await, Some(502));
    assert_eq!(create(&cloud, "memory", PATIENT).await, Some(200));
    let report = call(Method::GET, "faults", Value::Null).await;
    assert_eq!(
        (&report.body[0]["matched"], &report.body[0]["fired"]),
        (&json!(2), &json!(1))
    );
    let bad = json!([{"kind": {"type": "no_such"}}]);
    assert_eq!(call(Method::POST, "faults", bad).await.status, 400);
    assert_eq!(
        call(Method::DELETE, "faults", Value::Null).await.status,
        200
    );

    let fill = json!({"bucket": "memory", "count": 2500, "pending_uploads": 2});
    assert_eq!(call(Method::POST, "objects", fill).await.status, 200);
    assert_eq!(
        call(Method::PUT, "workers/foreign", json!({"tags": ["x"]}))
            .await
            .status,
        200
    );
    let edit = json!({"code": "export default {}", "tags": ["y"]});
    assert_eq!(
        call(Method::POST, "workers/foreign/edit", edit)
            .await
            .status,
        200
    );
    let state = call(Method::GET, "state", Value::Null).await.body;
    assert_eq!(state["buckets"][0]["objects"], 2500);
    assert_eq!(state["buckets"][0]["pending_uploads"], 2);
    assert_eq!(state["workers"][0]["tags"], json!(["y"]));
    assert_eq!(state["workers"][0]["versions"], 2);
    for path in ["workers/foreign", "buckets/memory"] {
        assert_eq!(call(Method::DELETE, path, Value::Null).await.status, 200);
        assert_eq!(call(Method::DELETE, path, Value::Null).await.status, 404);
    }
    let conditions = json!({"stale_lists_ms": 5, "refuse_token_delete": ""});
    let now = call(Method::PUT, "conditions", conditions).await.body;
    assert_eq!(
        (&now["stale_lists_ms"], &now["null_tags_ms"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(
        call(Method::PUT, "conditions", json!({"typo": 1}))
            .await
            .status,
        400
    );
    let calls = call(Method::GET, "calls?operation=r2.bucket.create", Value::Null).await;
    assert_eq!(calls.body.as_array().unwrap().len(), 2);
    assert_eq!(
        call(Method::PUT, "quota", json!({"limit": 0, "window_s": 60}))
            .await
            .status,
        200
    );
    assert_eq!(cloud.get("workers/scripts").await.code(), 971);
    let names = call(Method::GET, "operations", Value::Null).await.body;
    assert!(
        names
            .as_array()
            .unwrap()
            .contains(&json!("s3.delete_objects"))
    );
}

#[tokio::test]
async fn edits_behind_talons_back() {
    let cloud = Cloud::start().await;
    cloud
        .upload("a", metadata(json!([secret("A", "1"), secret("B", "2")])))
        .await
        .result();
    let before = cloud.sim.worker("a").unwrap();
    let edit = WorkerEdit {
        drop_secrets: vec!["A".into()],
        enabled: Some(true),
        ..WorkerEdit::default()
    };
    assert!(cloud.sim.edit_worker("a", &edit));
    let after = cloud.sim.worker("a").unwrap();
    assert_eq!(
        (after.secrets, after.enabled, after.etag),
        (vec!["B".to_owned()], true, before.etag)
    );
    let edit = WorkerEdit {
        leave_undeployed: true,
        ..WorkerEdit::default()
    };
    assert!(cloud.sim.edit_worker("a", &edit));
    let put = json!({"name": "C", "text": "3", "type": "secret_text"});
    let blocked = cloud
        .json(Method::PUT, "workers/scripts/a/secrets", put)
        .await;
    assert_eq!(blocked.refused(), (400, 10215));
    assert!(!cloud.sim.edit_worker("none", &edit));
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Runner for Heard {
    fn deployed(&self, worker: &str, version: &Deployed) {
        let secrets = version
            .bindings
            .iter()
            .filter(|b| b.secret.is_some())
            .count();
        self.0
            .lock()
            .unwrap()
            .push(format!("{worker} {} {secrets}", version.main_module));
    }

    fn deleted(&self, worker: &str) {
        self.0.lock().unwrap().push(format!("-{worker}"));
    }
}

#[tokio::test]
async fn a_runner_hears_of_every_change_of_what_is_live() {
    let heard = Arc::new(Heard::default());
    let runner = heard.clone();
    let cloud = Cloud::with(|c| c.runner = runner).await;
    cloud
        .upload("a", metadata(json!([secret("A", "1")])))
        .await
        .result();
    let put = json!({"name": "B", "text": "2", "type": "secret_text"});
    cloud
        .json(Method::PUT, "workers/scripts/a/secrets", put)
        .await
        .result();
    cloud
        .upload("a", metadata(json!([{"type": "nope", "name": "x"}])))
        .await
        .code();
    cloud.delete("workers/scripts/a?force=true").await.result();
    assert_eq!(
        *heard.0.lock().unwrap(),
        ["a worker.js 1", "a worker.js 2", "-a"]
    );
}

#[tokio::test]
async fn shutting_down_lets_go_of_hanging_calls() {
    let cloud = Cloud::start().await;
    cloud.sim.faults().add(rule(Fault::TimeoutBefore)).unwrap();
    let request = cloud
        .request(Method::POST, "r2/buckets")
        .json(&json!({"name": "bucket"}));
    let hanging = tokio::spawn(request.send());
    until(|| !cloud.sim.calls().is_empty()).await;
    cloud.sim.shutdown().await;
    assert!(hanging.await.unwrap().is_err());
}
