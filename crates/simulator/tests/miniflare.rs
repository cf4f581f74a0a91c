//! The R2 binding compared with miniflare's, case by case: the same Worker runs in both and tells what came of each
//! call. Where the two differ on purpose stands here; any other difference fails the test.
//!
//! The first run installs miniflare and Node from npm (see `support/references.rs`).

mod support;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use support::references::References;
use support::send;
use support::stage::Stage;

const CASES: &str = include_str!("node/r2-cases.js");
/// The newest that both runtimes know.
const COMPATIBILITY_DATE: &str = "2026-07-30";

/// Cases in which the simulator follows R2's documentation where miniflare does not, and why.
const ON_PURPOSE: [(&str, &str); 5] = [
    ("a storage class", "miniflare keeps none"),
    (
        "list with a bad cursor",
        "miniflare takes any text for a cursor",
    ),
    (
        "more than 2 KiB of custom metadata",
        "R2 allows 8,192 bytes, miniflare the 2,048 of old",
    ),
    ("range of an empty object", "miniflare fails with a 500"),
    ("the usual storage class", "miniflare keeps none"),
];

type Results = BTreeMap<String, Value>;

async fn in_the_simulator() -> Results {
    let stage = Stage::set().await;
    stage.cloud.bucket("bucket").await;
    let metadata = json!({
        "main_module": "worker.js",
        "compatibility_date": COMPATIBILITY_DATE,
        "bindings": [{"type": "r2_bucket", "name": "BUCKET", "bucket_name": "bucket"}],
    });
    stage.deploy("cases", CASES, metadata).await.result();
    stage.enable("cases", true).await;
    let answer = send(stage.request(Method::GET, "cases", "/")).await;
    assert_eq!(answer.status, 200, "{:?}", stage.runner.output("cases"));
    stage.cloud.sim.shutdown().await;
    serde_json::from_value(answer.body).unwrap()
}

async fn in_miniflare() -> Results {
    tokio::task::spawn_blocking(|| {
        let mut node = References::installed().node("r2-in-miniflare.js");
        let output = node.arg(COMPATIBILITY_DATE).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_r2_binding_does_what_miniflares_does() {
    let (ours, theirs) = tokio::join!(in_the_simulator(), in_miniflare());
    assert!(ours.len() > 150 && ours.keys().eq(theirs.keys()));
    let differ: Vec<&str> = ours
        .iter()
        .filter(|(case, result)| theirs[*case] != **result)
        .map(|(case, _)| case.as_str())
        .collect();
    for case in &differ {
        println!(
            "{case}\n  simulator {}\n  miniflare {}",
            ours[*case], theirs[*case]
        );
    }
    for (case, why) in ON_PURPOSE {
        println!("on purpose: {case} ({why})");
    }
    let expected: Vec<&str> = ON_PURPOSE.iter().map(|(case, _)| *case).collect();
    println!("{} cases, {} differences", ours.len(), differ.len());
    assert_eq!(differ, expected);
}
