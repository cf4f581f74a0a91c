//! How calls go wrong on the wire, and what comes out: retries of reads only, lost answers of writes never taken for
//! anything definite, nothing secret in any error.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    BadWire, Ledger, Recorder, TOKEN, Wire, client, config, cx, failure, respond, success,
};
use serde_json::json;
use talon_cloudflare::{Client, ConfigError};
use talon_core::cloud::{
    Binding, BucketRef, CallClass, CallCx, Cloud, CloudError, Module, NewToken, SecretChange,
    WorkerUpload,
};
use talon_core::secret::SecretValue;
use talon_core::spec::Jurisdiction;
use url::Url;

fn within(ms: u64) -> CallCx {
    CallCx {
        class: CallClass::Retry,
        remaining: Some(Duration::from_millis(ms)),
    }
}

#[tokio::test]
async fn reads_are_tried_three_times() {
    use Wire::{BreakOff, CloseAfterReading, CloseAtOnce, Fine};
    for plan in [
        &[CloseAtOnce, CloseAtOnce, Fine][..],
        &[CloseAfterReading, BreakOff, Fine],
    ] {
        let server = BadWire::start(plan).await;
        assert_eq!(
            client(&server.url).list_workers(cx()).await,
            Ok(vec![]),
            "{plan:?}"
        );
    }
    let server = BadWire::start(&[
        CloseAfterReading,
        CloseAfterReading,
        CloseAfterReading,
        Fine,
    ])
    .await;
    let error = client(&server.url).list_workers(cx()).await.unwrap_err();
    assert!(matches!(error, CloudError::Transient(_)), "{error}");
    assert_eq!(server.read(), 3);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_ambiguous_and_was_sent_once() {
    for wire in [
        &[Wire::CloseAfterReading, Wire::Fine][..],
        &[Wire::BreakOff, Wire::Fine],
    ] {
        let server = BadWire::start(wire).await;
        let error = client(&server.url)
            .delete_worker(cx(), "w")
            .await
            .unwrap_err();
        assert!(error.is_ambiguous(), "{wire:?} {error}");
        assert_eq!(server.read(), 1);
    }
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let server = BadWire::start(&[Wire::Silence]).await;
    let mut config = config(&server.url);
    config.timeouts.request = Duration::from_millis(300);
    let client = Client::new(config, Arc::new(talon_cloudflare::Unlimited)).unwrap();
    let error = client.delete_worker(cx(), "w").await.unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert!(error.to_string().contains("no answer in time"), "{error}");
    let error = client.list_workers(cx()).await.unwrap_err();
    assert!(matches!(error, CloudError::Transient(_)), "{error}");
}

#[tokio::test]
async fn nobody_there_is_transient_even_for_a_write() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let error = client(&url).delete_worker(cx(), "w").await.unwrap_err();
    assert!(matches!(error, CloudError::Transient(_)), "{error}");
}

#[tokio::test]
async fn a_write_without_time_is_not_sent_and_costs_no_budget() {
    let server = Recorder::start(|_| success(json!(null))).await;
    let ledger = Arc::new(Ledger::default());
    let client = Client::new(config(&server.url), ledger.clone()).unwrap();
    let error = client.delete_worker(within(1_500), "w").await.unwrap_err();
    assert!(matches!(&error, CloudError::Transient(m) if m.message.contains("no time left")));
    assert!(server.seen().is_empty());
    assert!(ledger.admitted.lock().unwrap().is_empty());
    client.delete_worker(within(3_000), "w").await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_writes_timeout_is_cut_to_what_is_left() {
    let server = BadWire::start(&[Wire::Silence]).await;
    let begun = std::time::Instant::now();
    let error = client(&server.url)
        .delete_worker(within(2_100), "w")
        .await
        .unwrap_err();
    assert!(error.is_ambiguous(), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "the full timeout ran"
    );
}

#[tokio::test]
async fn every_try_is_admitted_and_every_answer_reported() {
    let server = Recorder::start(|_| {
        let mut answer = respond(502, "text/html", "<h1>bad</h1>");
        answer
            .headers_mut()
            .insert("ratelimit", "\"default\";r=9;t=30".parse().unwrap());
        answer
    })
    .await;
    let ledger = Arc::new(Ledger::default());
    let api = Client::new(config(&server.url), ledger.clone()).unwrap();
    api.list_workers(cx()).await.unwrap_err();
    assert_eq!(
        *ledger.admitted.lock().unwrap(),
        vec![CallClass::UserChange; 3]
    );
    let told = ledger.told.lock().unwrap().clone();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0].remaining, Some(9));

    let ledger = Arc::new(Ledger {
        limit: Some(1),
        ..Ledger::default()
    });
    let client = Client::new(config(&server.url), ledger).unwrap();
    let error = client.list_workers(cx()).await.unwrap_err();
    assert_eq!(
        error,
        CloudError::Throttled {
            retry_after: Duration::from_secs(77)
        }
    );
}

#[tokio::test]
async fn a_429_is_never_retried_inside() {
    let server = Recorder::start(|_| {
        let mut answer = failure(
            429,
            971,
            "Please wait and consider throttling your request speed",
        );
        answer
            .headers_mut()
            .insert("retry-after", "42".parse().unwrap());
        answer
    })
    .await;
    let ledger = Arc::new(Ledger::default());
    let client = Client::new(config(&server.url), ledger.clone()).unwrap();
    for _ in 0..2 {
        let error = client.list_workers(cx()).await.unwrap_err();
        assert_eq!(
            error,
            CloudError::Throttled {
                retry_after: Duration::from_secs(42)
            }
        );
    }
    assert_eq!(server.seen().len(), 2);
    let told = ledger.told.lock().unwrap();
    assert!(told[0].limited);
    assert_eq!(told[0].retry_after, Some(Duration::from_secs(42)));
}

#[tokio::test]
async fn html_text_and_empty_failures_are_told_in_words() {
    let server = Recorder::start(|seen| match seen.path.rsplit('/').next() {
        Some("html") => respond(
            403,
            "text/html",
            "<html><title>Blocked</title>\n\u{1b}[0m</html>",
        ),
        Some("text") => respond(400, "text/plain", "nope"),
        _ => respond(503, "text/plain", ""),
    })
    .await;
    let client = server.client();
    let error = client.delete_worker(cx(), "html").await.unwrap_err();
    let CloudError::Auth(m) = &error else {
        panic!("{error}")
    };
    assert_eq!(m.message, "Blocked \\u{1b}[0m");
    assert_eq!(m.http, Some(403));
    assert_eq!(m.ray.as_deref(), Some("8f00ba4-FRA"));
    let error = client.delete_worker(cx(), "text").await.unwrap_err();
    assert!(
        matches!(&error, CloudError::Invalid(m) if m.message == "nope"),
        "{error}"
    );
    assert!(
        client
            .delete_worker(cx(), "empty")
            .await
            .unwrap_err()
            .is_ambiguous()
    );
}

#[tokio::test]
async fn a_success_that_is_none_of_the_api_is_not_believed() {
    let server =
        Recorder::start(|_| respond(200, "text/html", "<h1>Log in to the hotel's WLAN</h1>")).await;
    let client = server.client();
    assert!(
        client
            .set_worker_route(cx(), "w", true)
            .await
            .unwrap_err()
            .is_ambiguous()
    );
    let error = client.list_workers(cx()).await.unwrap_err();
    assert!(matches!(error, CloudError::Transient(_)), "{error}");
}

#[tokio::test]
async fn odd_but_harmless_envelopes_are_read() {
    let server = Recorder::start(|seen| match seen.method.as_str() {
        "DELETE" => respond(200, "application/json", ""),
        _ if seen.path.ends_with("/workers/scripts") => respond(
            200,
            "application/json",
            r#"{"result":[{"id":"w","tags":null,"modified_on":17,"etag":"e","new":{"x":1}}]}"#,
        ),
        _ if seen.path.ends_with("/buckets") => {
            respond(200, "application/json", r#"{"success":true,"result":null}"#)
        }
        _ => respond(
            404,
            "application/json",
            r#"{"success":false,"errors":[{"code":"10007","message":"x"}]}"#,
        ),
    })
    .await;
    let client = server.client();
    client.delete_worker(cx(), "w").await.unwrap();
    let workers = client.list_workers(cx()).await.unwrap();
    assert_eq!(workers[0].tags, None);
    assert_eq!(workers[0].modified_on, None);
    assert_eq!(workers[0].etag.as_deref(), Some("e"));
    assert_eq!(
        client.list_buckets(cx(), Jurisdiction::Default).await,
        Ok(vec![])
    );
    assert_eq!(client.account_subdomain(cx()).await, Ok(None));
}

#[tokio::test]
async fn an_answer_beyond_8_mib_is_not_read() {
    let server = Recorder::start(|_| respond(200, "application/json", vec![b' '; 9 << 20])).await;
    let client = server.client();
    let error = client.list_workers(cx()).await.unwrap_err();
    assert!(
        matches!(&error, CloudError::Invalid(m) if m.message.contains("8 MiB")),
        "{error}"
    );
    assert!(
        client
            .delete_worker(cx(), "w")
            .await
            .unwrap_err()
            .is_ambiguous()
    );
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Recorder::start(|_| {
        let mut answer = respond(302, "text/plain", "");
        answer
            .headers_mut()
            .insert("location", "/elsewhere".parse().unwrap());
        answer
    })
    .await;
    let error = server.client().list_workers(cx()).await.unwrap_err();
    assert!(matches!(error, CloudError::Invalid(_)), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn names_cannot_leave_their_place_in_the_path() {
    let server = Recorder::start(|_| success(json!(null))).await;
    let client = server.client();
    for name in ["", ".", ".."] {
        let error = client.delete_worker(cx(), name).await.unwrap_err();
        assert!(matches!(error, CloudError::Invalid(_)));
        let error = client.delete_token(cx(), name).await.unwrap_err();
        assert!(matches!(error, CloudError::Invalid(_)));
    }
    assert!(server.seen().is_empty());
    client.delete_worker(cx(), "a/../b?c#d").await.unwrap();
    assert!(
        server.seen()[0]
            .path
            .ends_with("/scripts/a%2F..%2Fb%3Fc%23d")
    );
}

#[tokio::test]
async fn nothing_secret_in_any_error() {
    let server = Recorder::start(|seen| {
        let all = format!("{:?} {}", seen.headers, String::from_utf8_lossy(&seen.body));
        let status = if seen.method == "PATCH" { 500 } else { 400 };
        failure(status, 10021, &format!("{TOKEN} {all}"))
    })
    .await;
    let client = server.client();
    let secret = "sk-live-value-of-a-provider";
    let upload = WorkerUpload {
        main_module: "w.js".into(),
        modules: vec![Module {
            name: "w.js".into(),
            content_type: "application/javascript+module",
            body: b"x".to_vec(),
        }],
        bindings: vec![Binding::SecretText {
            name: "K".into(),
            value: SecretValue::new(secret.into()),
        }],
        compatibility_date: "2026-01-01".into(),
        compatibility_flags: vec![],
        migration: None,
        tags: vec![],
    };
    let change = || SecretChange {
        name: "K".into(),
        value: Some(SecretValue::new(secret.into())),
    };
    let bucket = BucketRef {
        name: "b".into(),
        jurisdiction: Jurisdiction::Default,
    };
    let errors = [
        client.upload_worker(cx(), "w", upload).await.unwrap_err(),
        client
            .change_secrets(cx(), "w", vec![change()])
            .await
            .unwrap_err(),
        client.list_workers(cx()).await.unwrap_err(),
        client.list_objects(cx(), &bucket).await.unwrap_err(),
    ];
    for error in errors {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(TOKEN) && !text.contains(secret), "{text}");
        assert!(text.contains("[redacted]"), "{text}");
    }
    assert!(!format!("{client:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_token_without_its_value_is_ambiguous() {
    let server = Recorder::start(|seen| match seen.method.as_str() {
        "GET" => success(json!([])),
        _ => success(json!({"id": "t", "name": "n"})),
    })
    .await;
    let token = NewToken {
        name: "n".into(),
        bucket: "b".into(),
        jurisdiction: Jurisdiction::Default,
    };
    let client = server.client();
    assert!(
        client
            .create_token(cx(), &token)
            .await
            .unwrap_err()
            .is_ambiguous()
    );
    assert!(
        client
            .roll_token(cx(), "t")
            .await
            .unwrap_err()
            .is_ambiguous()
    );
}

#[test]
fn bad_configuration_is_refused_without_the_token() {
    let base = Url::parse("http://127.0.0.1:9/").unwrap();
    let make = |change: fn(&mut talon_cloudflare::ClientConfig)| {
        let mut c = config(&base);
        change(&mut c);
        Client::new(c, Arc::new(talon_cloudflare::Unlimited))
            .map(drop)
            .unwrap_err()
    };
    assert_eq!(
        make(|c| c.account_id = "../x".into()),
        ConfigError::AccountId
    );
    assert_eq!(
        make(|c| c.token = SecretValue::new("a\nb".into())),
        ConfigError::Token
    );
    assert_eq!(
        make(|c| c.token = SecretValue::new(String::new())),
        ConfigError::Token
    );
    assert_eq!(
        make(|c| c.api_base = Url::parse("ftp://x/").unwrap()),
        ConfigError::ApiBase
    );
    assert_eq!(
        make(|c| c.s3_endpoint = Some(Url::parse("mailto:a@b").unwrap())),
        ConfigError::S3Endpoint
    );
}
