//! Every call of the client, recorded and held against Cloudflare's OpenAPI files.

mod common;

use std::collections::BTreeSet;

use axum::response::Response;
use common::{ACCOUNT, Recorder, Seen, TOKEN, TOKEN_ID, cx, respond, success};
use serde_json::{Value, json};
use talon_cloudflare::Client;
use talon_cloudflare::contract::{Contract, DIR, EXCEPTIONS, Edition, Request, Side};
use talon_core::cloud::{
    Binding, BucketRef, Cloud, Migration, Module, NewBucket, NewToken, SecretChange, WorkerUpload,
};
use talon_core::secret::SecretValue;
use talon_core::spec::{Jurisdiction, LocationHint, StorageClass};
use talon_core::tail::TailCloud;

const BASE: &str = "/client/v4";

/// Answers as the API does, one shape per call.
fn cloudflare(seen: &Seen) -> Response {
    let path = seen.path.strip_prefix(BASE).unwrap_or_default();
    let path = path
        .strip_prefix(&format!("/accounts/{ACCOUNT}"))
        .unwrap_or(path);
    let second_page = seen
        .query
        .as_deref()
        .is_some_and(|q| q.contains("cursor=") || q.contains("page=2&"));
    match (seen.method.as_str(), path) {
        ("GET", "/workers/subdomain") => success(json!({"subdomain": "acme"})),
        ("GET", "/tokens/verify") => success(json!({"id": TOKEN_ID, "status": "active"})),
        ("GET", "/tokens/permission_groups") => success(json!([
            {"id": "feedfacefeedfacefeedfacefeedface", "name": "Workers R2 Storage Bucket Item Write",
             "scopes": ["com.cloudflare.edge.r2.bucket"]},
            {"id": "0", "name": "Something else", "scopes": []},
        ])),
        ("GET", "/tokens") => paged(
            json!([{"id": if second_page { "t2" } else { "t1" }, "name": "openclaw/x/y", "status": "active",
                    "issued_on": "2026-07-01T05:20:00Z"}]),
            json!({"page": 1, "per_page": 50, "count": 1, "total_count": 2, "total_pages": 2}),
        ),
        ("POST", "/tokens") => {
            success(json!({"id": "t3", "name": "n", "status": "active", "value": "new-value"}))
        }
        ("PUT", p) if p.ends_with("/value") => success(json!("rolled-value")),
        ("GET", "/workers/scripts") => success(json!([
            {"id": "w", "tag": "e8f70fdbc8b1fb0b8ddb1af166186758", "etag": "ea95132c15732412d22c1476fa83f27a",
             "tags": ["talon"], "created_on": "2026-01-01T00:00:00.602148Z", "modified_on": "2026-01-02T00:00:00Z",
             "migration_tag": "v1", "handlers": ["fetch"], "usage_model": "standard", "logpush": false}
        ])),
        ("PUT", p) if p.starts_with("/workers/scripts/") => success(json!({
            "id": "w", "etag": "e2", "tag": "e8f70fdbc8b1fb0b8ddb1af166186758", "startup_time_ms": 3,
            "deployment_id": "0123456789abcdef0123456789abcdef"
        })),
        ("GET", p) if p.ends_with("/settings") => success(json!({
            "bindings": [
                {"type": "secret_text", "name": "K"},
                {"type": "plain_text", "name": "V", "text": "v"},
                {"type": "r2_bucket", "name": "B", "bucket_name": "b"},
                {"type": "durable_object_namespace", "name": "D", "class_name": "C", "namespace_id": "n"},
                {"type": "ai", "name": "F"}
            ],
            "tags": null, "compatibility_date": "2026-01-01", "compatibility_flags": ["nodejs_compat"]
        })),
        ("GET", p) if p.ends_with("/secrets") => {
            success(json!([{"name": "K", "type": "secret_text"}]))
        }
        // Nobody is asked there: it is neither encrypted nor this machine.
        ("POST", p) if p.ends_with("/tails") => success(json!({
            "id": "0123", "url": "ws://198.51.100.1/tail", "expires_at": "2026-11-29T12:00:00Z"
        })),
        ("PATCH", _) => success(json!({"K": {"name": "K", "type": "secret_text"}})),
        (_, p) if p.ends_with("/subdomain") => {
            success(json!({"enabled": true, "previews_enabled": false}))
        }
        ("GET", "/r2/buckets") => paged(
            json!({"buckets": [{"name": if second_page { "bucket-2" } else { "bucket-1" },
                                "creation_date": "2026-05-01T00:00:00.000Z", "location": "WEUR", "jurisdiction": "eu"}]}),
            if second_page {
                json!({"per_page": 1000})
            } else {
                json!({"cursor": "c/1=", "per_page": 1000})
            },
        ),
        (_, p) if p.starts_with("/r2/buckets") && seen.method != "DELETE" => success(json!(
            {"name": "bucket-1", "creation_date": "2026-05-01T00:00:00.000Z", "location": "WEUR",
             "jurisdiction": "eu", "storage_class": "Standard"})),
        ("DELETE", p) if p.starts_with("/tokens/") => success(json!({"id": "t1"})),
        ("DELETE", p) if p.starts_with("/r2/") => success(json!({})),
        ("DELETE", _) => success(Value::Null),
        other => respond(404, "text/plain", format!("not expected: {other:?}")),
    }
}

fn paged(result: Value, info: Value) -> Response {
    let body = json!({"success": true, "errors": [], "messages": [], "result": result, "result_info": info});
    respond(200, "application/json", body.to_string())
}

fn upload() -> WorkerUpload {
    WorkerUpload {
        main_module: "worker.js".into(),
        modules: vec![
            Module {
                name: "worker.js".into(),
                content_type: "application/javascript+module",
                body: b"import id from './IDENTITY.md'; export default {}".to_vec(),
            },
            Module {
                name: "IDENTITY.md".into(),
                content_type: "text/plain",
                body: "# Ünïcode\r\n\r\n--x".into(),
            },
        ],
        bindings: vec![
            Binding::PlainText {
                name: "V".into(),
                text: "v".into(),
            },
            Binding::SecretText {
                name: "K".into(),
                value: SecretValue::new("secret-of-k".into()),
            },
            Binding::Inherit {
                name: "I".into(),
                version_id: None,
            },
            Binding::Inherit {
                name: "J".into(),
                version_id: Some("0123".into()),
            },
            Binding::R2Bucket {
                name: "B".into(),
                bucket: "bucket-1".into(),
                jurisdiction: Jurisdiction::Eu,
            },
            Binding::R2Bucket {
                name: "B2".into(),
                bucket: "bucket-2".into(),
                jurisdiction: Jurisdiction::Default,
            },
            Binding::DurableObject {
                name: "D".into(),
                class_name: "Agent".into(),
            },
        ],
        compatibility_date: "2026-01-01".into(),
        compatibility_flags: vec!["nodejs_compat".into()],
        migration: Some(Migration {
            new_tag: "v1".into(),
            new_sqlite_classes: vec!["Agent".into()],
        }),
        tags: vec!["talon".into(), "install-abc".into()],
    }
}

fn bucket(jurisdiction: Jurisdiction) -> BucketRef {
    BucketRef {
        name: "bucket-1".into(),
        jurisdiction,
    }
}

/// Every call of the API there is, and what it makes of the answer.
async fn call_everything(client: &Client) {
    let cx = cx();
    assert_eq!(
        client.account_subdomain(cx).await.unwrap().as_deref(),
        Some("acme")
    );
    assert_eq!(client.verify_token(cx).await.unwrap().id, TOKEN_ID);
    let workers = client.list_workers(cx).await.unwrap();
    assert_eq!(workers[0].tags.as_deref(), Some(&["talon".to_owned()][..]));
    assert_eq!(workers[0].migration_tag.as_deref(), Some("v1"));
    assert!(workers[0].created_on.is_some() && workers[0].modified_on.is_some());
    let settings = client.worker_settings(cx, "w").await.unwrap();
    let values: Vec<_> = settings
        .bindings
        .iter()
        .map(|b| b.value.as_deref())
        .collect();
    assert_eq!(values, [None, Some("v"), Some("b"), Some("C"), None]);
    assert_eq!(settings.tags, None);
    assert_eq!(client.secret_names(cx, "w").await.unwrap(), ["K"]);
    let version = client.upload_worker(cx, "w", upload()).await.unwrap();
    assert_eq!(version.etag.as_deref(), Some("e2"));
    assert!(version.version_id.is_some() && version.script_tag.is_some());
    let changes = vec![
        SecretChange {
            name: "K".into(),
            value: Some(SecretValue::new("v".into())),
        },
        SecretChange {
            name: "OLD".into(),
            value: None,
        },
    ];
    client.change_secrets(cx, "w", changes).await.unwrap();
    client.set_worker_route(cx, "w", true).await.unwrap();
    assert!(client.worker_route(cx, "w").await.unwrap());
    for jurisdiction in [Jurisdiction::Default, Jurisdiction::Eu] {
        let buckets = client.list_buckets(cx, jurisdiction).await.unwrap();
        let names: Vec<_> = buckets.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["bucket-1", "bucket-2"]);
        assert_eq!(buckets[0].jurisdiction, Jurisdiction::Eu);
        let new = NewBucket {
            name: "bucket-1".into(),
            jurisdiction,
            location_hint: Some(LocationHint::Weur),
            storage_class: StorageClass::InfrequentAccess,
        };
        client.create_bucket(cx, &new).await.unwrap();
        assert!(
            client
                .get_bucket(cx, &bucket(jurisdiction))
                .await
                .unwrap()
                .creation_date
                .is_some()
        );
        client
            .delete_bucket(cx, &bucket(jurisdiction))
            .await
            .unwrap();
    }
    assert_eq!(client.list_tokens(cx).await.unwrap().len(), 2);
    let new = NewToken {
        name: "openclaw/i/a".into(),
        bucket: "bucket-1".into(),
        jurisdiction: Jurisdiction::Eu,
    };
    assert_eq!(client.create_token(cx, &new).await.unwrap().id, "t3");
    client.create_token(cx, &new).await.unwrap();
    assert_eq!(
        client
            .roll_token(cx, "t3")
            .await
            .unwrap()
            .sha256_hex()
            .len(),
        64
    );
    client.delete_token(cx, "t3").await.unwrap();
    let tail = client.open_tail(cx, "w").await.err().unwrap();
    assert!(
        tail.to_string().contains("address cannot be used"),
        "{tail}"
    );
    client.close_tail(cx, "w", "0123").await.unwrap();
    client.delete_worker(cx, "w").await.unwrap();
}

fn decoded(query: Option<&str>) -> Vec<(String, String)> {
    let url = url::Url::parse(&format!("http://x/?{}", query.unwrap_or_default())).unwrap();
    url.query_pairs().into_owned().collect()
}

#[tokio::test]
async fn every_request_is_allowed_by_the_openapi_files() {
    let server = Recorder::start(cloudflare).await;
    call_everything(&server.client()).await;
    let Some(contract) = Contract::from_env().unwrap() else {
        println!("skipped: {DIR} is not set");
        return;
    };
    let mut findings = BTreeSet::new();
    for seen in server.seen() {
        let query = decoded(seen.query.as_deref());
        let headers: Vec<_> = seen
            .headers
            .iter()
            .map(|(n, v)| (n.as_str().to_owned(), v.to_str().unwrap().to_owned()))
            .collect();
        let request = Request {
            method: &seen.method,
            path: seen.path.strip_prefix(BASE).unwrap(),
            query: &query,
            headers: &headers,
            body: &seen.body,
        };
        findings.extend(
            contract
                .check_request(&request)
                .into_iter()
                .map(|f| format!("{f:#?}")),
        );
    }
    assert!(
        findings.is_empty(),
        "{}",
        findings.into_iter().collect::<Vec<_>>().join("\n")
    );
    let dead: Vec<_> = EXCEPTIONS
        .iter()
        .filter(|e| e.side == Side::Request && !contract.used().contains(e.name))
        .collect();
    assert!(dead.is_empty(), "exceptions that excuse nothing: {dead:#?}");
}

/// A check that finds nothing in anything would pass the tests above.
#[tokio::test]
async fn planted_mistakes_are_found() {
    let Some(contract) = Contract::from_env().unwrap() else {
        println!("skipped: {DIR} is not set");
        return;
    };
    let scripts = format!("/accounts/{ACCOUNT}/workers/scripts");
    let buckets = format!("/accounts/{ACCOUNT}/r2/buckets");
    let form = |metadata: &str| {
        format!(
            "--B\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{metadata}\r\n--B--\r\n"
        )
    };
    let multipart = "multipart/form-data; boundary=B";
    let wrong_binding = form(
        r#"{"main_module": "w", "bindings": [{"type": "plain_txt", "name": "V", "text": "v"}]}"#,
    );
    let wrong_flag = form(r#"{"main_module": "w", "compatibility_flags": "x"}"#);
    let right = form(
        r#"{"main_module": "w", "bindings": [{"type": "plain_text", "name": "V", "text": "v"}]}"#,
    );
    let put = format!("{scripts}/w");
    for (method, path, query, content_type, body, found) in [
        ("PUT", put.as_str(), "", multipart, right.as_str(), false),
        ("PUT", &put, "", multipart, &wrong_binding, true),
        ("PUT", &put, "", multipart, &wrong_flag, true),
        ("PUT", &put, "bindings_inherit=lax", multipart, &right, true),
        (
            "POST",
            &buckets,
            "",
            "application/json",
            r#"{"name": "abc"}"#,
            false,
        ),
        (
            "POST",
            &buckets,
            "",
            "application/json",
            r#"{"nam": "abc"}"#,
            true,
        ),
        (
            "POST",
            &buckets,
            "",
            "application/json",
            r#"{"name": "abc", "locationHint": "mars"}"#,
            true,
        ),
        ("GET", &buckets, "perpage=3", "", "", true),
        ("GET", &buckets, "per_page=3", "", "", false),
        ("GET", "/accounts/x/nothing", "", "", "", true),
        (
            "DELETE",
            &format!("{put}/subdomain"),
            "",
            "application/json",
            "{}",
            true,
        ),
    ] {
        let mut findings = contract.check_request(&Request {
            method,
            path,
            query: &decoded(Some(query)),
            headers: &[("content-type".to_owned(), content_type.to_owned())],
            body: body.as_bytes(),
        });
        // The older file cannot tell the two forms of an upload apart.
        findings.retain(|f| method != "PUT" || f.edition == Edition::Y2026);
        assert_eq!(
            !findings.is_empty(),
            found,
            "{method} {path}?{query} {body} {findings:#?}"
        );
    }
}

/// The answers above are what the other tests rest on, so they are held against the files as well.
#[tokio::test]
async fn the_answers_used_here_are_allowed_too() {
    let server = Recorder::start(cloudflare).await;
    call_everything(&server.client()).await;
    let Some(contract) = Contract::from_env().unwrap() else {
        println!("skipped: {DIR} is not set");
        return;
    };
    let mut findings = BTreeSet::new();
    for seen in server.seen() {
        let answer = cloudflare(&seen);
        let http = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .unwrap();
        let path = seen.path.strip_prefix(BASE).unwrap();
        let found = contract.check_answer(&seen.method, path, http, &body);
        findings.extend(found.into_iter().map(|f| format!("{f:#?}")));
    }
    assert!(
        findings.is_empty(),
        "{}",
        findings.into_iter().collect::<Vec<_>>().join("\n")
    );
}

#[tokio::test]
async fn requests_say_exactly_this() {
    let server = Recorder::start(cloudflare).await;
    call_everything(&server.client()).await;
    let seen = server.seen();
    let account = format!("{BASE}/accounts/{ACCOUNT}");
    let lines: Vec<_> = seen
        .iter()
        .map(|s| s.line().replace(&account, ""))
        .collect();
    assert_eq!(
        lines,
        [
            "GET /workers/subdomain",
            "GET /tokens/verify",
            "GET /workers/scripts",
            "GET /workers/scripts/w/settings",
            "GET /workers/scripts/w/secrets",
            "PUT /workers/scripts/w?excludeScript=true&bindings_inherit=strict",
            "PATCH /workers/scripts/w/secrets-bulk",
            "POST /workers/scripts/w/subdomain",
            "GET /workers/scripts/w/subdomain",
            "GET /r2/buckets?per_page=1000",
            "GET /r2/buckets?per_page=1000&cursor=c%2F1%3D",
            "POST /r2/buckets",
            "GET /r2/buckets/bucket-1",
            "DELETE /r2/buckets/bucket-1",
            "GET /r2/buckets?per_page=1000",
            "GET /r2/buckets?per_page=1000&cursor=c%2F1%3D",
            "POST /r2/buckets",
            "GET /r2/buckets/bucket-1",
            "DELETE /r2/buckets/bucket-1",
            "GET /tokens?page=1&per_page=100&direction=asc",
            "GET /tokens?page=2&per_page=100&direction=asc",
            "GET /tokens/permission_groups?name=Workers%20R2%20Storage%20Bucket%20Item%20Write",
            "POST /tokens",
            "POST /tokens",
            "PUT /tokens/t3/value",
            "DELETE /tokens/t3",
            "POST /workers/scripts/w/tails",
            // An address that cannot be used is given back at once.
            "DELETE /workers/scripts/w/tails/0123",
            "DELETE /workers/scripts/w/tails/0123",
            "DELETE /workers/scripts/w?force=true",
        ]
    );
    let bearer = format!("Bearer {TOKEN}");
    assert!(
        seen.iter()
            .all(|s| s.header("authorization") == Some(bearer.as_str()))
    );
    let jurisdictions: Vec<_> = seen[9..19]
        .iter()
        .map(|s| s.header("cf-r2-jurisdiction"))
        .collect();
    assert_eq!(jurisdictions, [[None; 5], [Some("eu"); 5]].concat());

    assert_eq!(
        seen[6].header("content-type"),
        Some("application/merge-patch+json")
    );
    assert_eq!(
        seen[6].json(),
        json!({"secrets": {"K": {"name": "K", "text": "v", "type": "secret_text"}, "OLD": null}})
    );
    assert_eq!(
        seen[7].json(),
        json!({"enabled": true, "previews_enabled": false})
    );
    assert_eq!(
        seen[7].header("cloudflare-workers-script-api-date"),
        Some("2025-08-01")
    );
    assert_eq!(
        seen[11].json(),
        json!({"name": "bucket-1", "locationHint": "weur", "storageClass": "InfrequentAccess"})
    );
    assert_eq!(
        seen[22].json(),
        json!({"name": "openclaw/i/a", "policies": [{
            "effect": "allow",
            "resources": {format!("com.cloudflare.edge.r2.bucket.{ACCOUNT}_eu_bucket-1"): "*"},
            "permission_groups": [{"id": "feedfacefeedfacefeedfacefeedface"}]
        }]})
    );
    assert_eq!(seen[24].json(), json!({}));
    assert!(seen[29].body.is_empty());
}

#[tokio::test]
async fn the_upload_is_the_form_that_cloudflare_reads() {
    let server = Recorder::start(cloudflare).await;
    server
        .client()
        .upload_worker(cx(), "w", upload())
        .await
        .unwrap();
    let seen = &server.seen()[0];
    let body = String::from_utf8(seen.body.clone()).unwrap();
    let metadata = body
        .split_once("name=\"metadata\"\r\nContent-Type: application/json\r\n\r\n")
        .and_then(|(_, rest)| rest.split_once("\r\n--"))
        .map(|(json, _)| serde_json::from_str::<Value>(json).unwrap())
        .expect("a metadata part without a file name");
    assert_eq!(
        metadata,
        json!({
            "main_module": "worker.js",
            "compatibility_date": "2026-01-01",
            "compatibility_flags": ["nodejs_compat"],
            "keep_bindings": ["secret_text"],
            "tags": ["talon", "install-abc"],
            "migrations": {"new_tag": "v1", "new_sqlite_classes": ["Agent"]},
            "bindings": [
                {"type": "plain_text", "name": "V", "text": "v"},
                {"type": "secret_text", "name": "K", "text": "secret-of-k"},
                {"type": "inherit", "name": "I"},
                {"type": "inherit", "name": "J", "version_id": "0123"},
                {"type": "r2_bucket", "name": "B", "bucket_name": "bucket-1", "jurisdiction": "eu"},
                {"type": "r2_bucket", "name": "B2", "bucket_name": "bucket-2"},
                {"type": "durable_object_namespace", "name": "D", "class_name": "Agent"},
            ]
        })
    );
    assert!(body.contains(
        "name=\"worker.js\"; filename=\"worker.js\"\r\nContent-Type: application/javascript+module\r\n\r\nimport id"
    ));
    assert!(body.contains(
        "name=\"IDENTITY.md\"; filename=\"IDENTITY.md\"\r\nContent-Type: text/plain\r\n\r\n# Ünïcode\r\n\r\n--x"
    ));
}
