//! `verify_account` against a Cloudflare that refuses, and one that loses answers: a report always comes, and whatever
//! may exist is cleaned up.

mod common;

use std::time::Duration;

use common::{Recorder, failure, respond, success};
use serde_json::json;
use talon_cloudflare::verify::{Patience, Verdict, Wanted, verify_account};
use talon_core::cloud::{Module, WorkerUpload};

fn bundle(wanted: Wanted) -> WorkerUpload {
    WorkerUpload {
        main_module: "w.js".into(),
        modules: vec![Module {
            name: "w.js".into(),
            content_type: "application/javascript+module",
            body: b"export default {}".to_vec(),
        }],
        bindings: wanted.bindings,
        compatibility_date: "2026-01-01".into(),
        compatibility_flags: vec![],
        migration: None,
        tags: wanted.tags,
    }
}

const HASTY: Patience = Patience {
    pause: Duration::from_millis(5),
    most: Duration::from_millis(20),
};

#[tokio::test]
async fn an_account_that_refuses_everything_gets_a_report() {
    let server = Recorder::start(|_| failure(403, 10000, "Authentication error")).await;
    let report = verify_account(&server.client(), &bundle, "test", HASTY).await;
    assert!(
        report.iter().all(|(_, v)| *v != Verdict::Holds),
        "{report:#?}"
    );
    assert!(report.iter().any(|(n, _)| *n == "token-is-active"));
    // Nothing was made, so nothing is deleted but what was asked for as absent.
    let deletes = server
        .seen()
        .iter()
        .filter(|s| s.method == "DELETE")
        .count();
    assert_eq!(deletes, 3);
}

#[tokio::test]
async fn what_may_have_been_made_is_removed() {
    let server = Recorder::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("PUT" | "POST" | "PATCH", _) => respond(502, "text/html", "bad gateway"),
        ("GET", p) if p.ends_with("/tokens") => {
            success(json!([{"id": "lost", "name": "talon-verify-test/token"}, {"id": "other", "name": "x"}]))
        }
        ("GET", p) if p.ends_with("/scripts") => success(json!([])),
        ("DELETE", _) => success(json!(null)),
        _ => failure(404, 10007, "not here"),
    })
    .await;
    let report = verify_account(&server.client(), &bundle, "test", HASTY).await;
    let deleted: Vec<_> = server
        .seen()
        .iter()
        .filter(|s| s.method == "DELETE")
        .skip(3)
        .map(|s| s.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(deleted, ["talon-verify-test", "talon-verify-test", "lost"]);
    for name in ["cleanup-worker", "cleanup-bucket", "cleanup-token"] {
        assert!(
            report.contains(&(name, Verdict::Holds)),
            "{name} {report:#?}"
        );
    }
}
