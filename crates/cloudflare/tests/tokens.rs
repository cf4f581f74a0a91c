//! Token lists that change while they are read, and where the permission group comes from.

mod common;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use common::{Recorder, Seen, cx, failure, respond, success};
use serde_json::{Value, json};
use talon_core::cloud::{Cloud, CloudError, NewToken};
use talon_core::spec::Jurisdiction;

/// Page `n` of `tokens`, as many to a page as was asked for.
fn page(tokens: &BTreeSet<u32>, seen: &Seen, with_totals: bool) -> Response {
    let query = seen.query.as_deref().unwrap_or_default();
    let number = |name: &str| -> usize {
        let rest = query.split('&').find_map(|p| p.strip_prefix(name)).unwrap();
        rest.parse().unwrap()
    };
    let (n, per_page) = (number("page="), number("per_page="));
    let items: Vec<Value> = tokens
        .iter()
        .skip((n - 1) * per_page)
        .take(per_page)
        .map(|t| json!({"id": format!("t{t}"), "name": "n"}))
        .collect();
    let mut info = json!({"page": n, "per_page": per_page, "count": items.len()});
    if with_totals {
        info["total_count"] = json!(tokens.len());
    }
    let body = json!({"success": true, "errors": [], "messages": [], "result": items, "result_info": info});
    respond(200, "application/json", body.to_string())
}

#[tokio::test]
async fn every_token_over_every_page_with_and_without_totals() {
    for with_totals in [true, false] {
        for count in [0, 1, 99, 100, 101, 200, 230] {
            let tokens: BTreeSet<u32> = (0..count).collect();
            let server = Recorder::start(move |seen| page(&tokens, seen, with_totals)).await;
            let listed = server.client().list_tokens(cx()).await.unwrap();
            assert_eq!(listed.len(), count as usize, "{with_totals}");
        }
    }
}

#[tokio::test]
async fn a_token_that_goes_away_between_pages_hides_no_other() {
    let tokens: Mutex<BTreeSet<u32>> = Mutex::new((0..110).collect());
    let calls = AtomicUsize::new(0);
    let server = Recorder::start(move |seen| {
        let mut tokens = tokens.lock().unwrap();
        if calls.fetch_add(1, Ordering::Relaxed) == 1 {
            tokens.remove(&3);
        }
        page(&tokens, seen, true)
    })
    .await;
    let listed = server.client().list_tokens(cx()).await.unwrap();
    let ids: BTreeSet<_> = listed.iter().map(|t| t.id.as_str()).collect();
    assert!(
        ids.contains("t100"),
        "the first of the second page slipped into the first"
    );
    assert_eq!(ids.len(), 109);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_server_that_quietly_gives_smaller_pages_hides_no_token() {
    for with_totals in [true, false] {
        for count in [49, 50, 51, 100, 120] {
            let tokens: BTreeSet<u32> = (0..count).collect();
            let server = Recorder::start(move |seen| {
                let mut capped = seen.clone();
                capped.query = seen
                    .query
                    .as_deref()
                    .map(|q| q.replace("per_page=100", "per_page=50"));
                page(&tokens, &capped, with_totals)
            })
            .await;
            let listed = server.client().list_tokens(cx()).await.unwrap();
            assert_eq!(listed.len(), count as usize, "{with_totals}");
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_large_pages_is_asked_for_smaller_ones_from_then_on() {
    let tokens: BTreeSet<u32> = (0..120).collect();
    let server = Recorder::start(move |seen| {
        if seen
            .query
            .as_deref()
            .unwrap_or_default()
            .contains("per_page=100")
        {
            return failure(400, 1001, "per_page must be at most 50");
        }
        page(&tokens, seen, true)
    })
    .await;
    let client = server.client();
    assert_eq!(client.list_tokens(cx()).await.unwrap().len(), 120);
    assert_eq!(server.seen().len(), 4, "one refusal, three pages");
    assert_eq!(client.list_tokens(cx()).await.unwrap().len(), 120);
    assert_eq!(server.seen().len(), 7, "three pages");
}

fn new() -> NewToken {
    NewToken {
        name: "n".into(),
        bucket: "bucket-1".into(),
        jurisdiction: Jurisdiction::Default,
    }
}

fn group_sent(server: &Recorder) -> Option<String> {
    let seen = server.seen();
    let post = seen.iter().rfind(|s| s.method == "POST")?;
    post.json()["policies"][0]["permission_groups"][0]["id"]
        .as_str()
        .map(str::to_owned)
}

#[tokio::test]
async fn the_group_is_known_even_where_names_cannot_be_read() {
    const PUBLIC: &str = "2efd5506f9c8494dacb1fa10a3e7d5b6";
    for (answer, want) in [(0, PUBLIC), (1, PUBLIC), (2, "right")] {
        let server = Recorder::start(move |seen| match (seen.method.as_str(), answer) {
            ("POST", _) => success(json!({"id": "t", "value": "v"})),
            (_, 0) => failure(403, 10000, "Authentication error"),
            (_, 1) => success(json!([{"id": "x", "name": "Workers R2 Storage Write"}])),
            _ => success(json!([
                {"id": "wrong", "name": "Workers R2 Storage Bucket Item Write (old)"},
                {"id": "right", "name": "Workers R2 Storage Bucket Item Write"}
            ])),
        })
        .await;
        server.client().create_token(cx(), &new()).await.unwrap();
        assert_eq!(group_sent(&server).as_deref(), Some(want));
    }
}

#[tokio::test]
async fn a_throttled_look_up_makes_no_token() {
    let server = Recorder::start(|_| failure(403, 10429, "Rate limited")).await;
    let ledger = std::sync::Arc::new(common::Ledger::default());
    let client =
        talon_cloudflare::Client::new(common::config(&server.url), ledger.clone()).unwrap();
    let error = client.create_token(cx(), &new()).await.unwrap_err();
    assert!(matches!(error, CloudError::Throttled { .. }), "{error}");
    assert_eq!(group_sent(&server), None);
    let told = ledger.told.lock().unwrap();
    assert!(
        told.len() == 1 && told[0].limited,
        "the code alone says it: {told:?}"
    );
}

#[tokio::test]
async fn our_own_token_says_when_it_ends_and_what_it_allows() {
    let server = Recorder::start(move |seen| match seen.path.as_str() {
        path if path.ends_with("/tokens/verify") => {
            success(json!({"id": "own", "status": "active"}))
        }
        path if path.ends_with("/tokens/own") => success(json!({
            "id": "own",
            "expires_on": "2027-01-02T03:04:05Z",
            "policies": [
                {"effect": "allow", "permission_groups": [{"id": "1", "name": "B"}, {"id": "2", "name": "A"}]},
                {"effect": "deny", "permission_groups": [{"id": "3", "name": "C"}]},
                {"effect": "allow", "permission_groups": [{"id": "1", "name": "B"}]},
            ],
        })),
        path => panic!("{path}"),
    })
    .await;
    let terms = server.client().token_terms(cx()).await.unwrap();
    assert_eq!(
        terms.expires_on.map(|at| at.to_rfc3339()).as_deref(),
        Some("2027-01-02T03:04:05+00:00")
    );
    let names = ["A", "B"].map(str::to_owned).to_vec();
    assert_eq!(terms.permissions, Some(names));
}
