//! R2's S3 endpoint: signatures recomputed by the server, keys that neither XML nor URLs like, errors.

mod common;

use axum::response::Response;
use common::{ACCOUNT, Recorder, Seen, TOKEN, TOKEN_ID, cx, respond, success};
use hmac::{Hmac, Mac};
use md5::Md5;
use serde_json::json;
use sha2::{Digest, Sha256};
use talon_core::cloud::{BucketRef, Cloud, CloudError, PendingUpload};
use talon_core::spec::Jurisdiction;

fn bucket() -> BucketRef {
    BucketRef {
        name: "bucket-1".into(),
        jurisdiction: Jurisdiction::Default,
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The signature over what arrived, computed from the rules and not from the client's code.
fn signature_holds(seen: &Seen) -> bool {
    let authorization = seen.header("authorization").unwrap();
    let field = |name: &str| {
        let rest = authorization.split_once(name).unwrap().1;
        rest.split(',').next().unwrap().to_owned()
    };
    let date = seen.header("x-amz-date").unwrap();
    let scope = format!("{}/auto/s3/aws4_request", &date[..8]);
    assert_eq!(field("Credential="), format!("{TOKEN_ID}/{scope}"));
    let names = field("SignedHeaders=");
    let headers: String = names
        .split(';')
        .map(|n| format!("{n}:{}\n", seen.header(n).unwrap()))
        .collect();
    let mut query: Vec<&str> = seen.query.as_deref().unwrap_or("").split('&').collect();
    query.sort_unstable();
    let hash = hex::encode(Sha256::digest(&seen.body));
    assert_eq!(seen.header("x-amz-content-sha256"), Some(hash.as_str()));
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{hash}",
        seen.method,
        seen.path,
        query.join("&")
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hex::encode(Sha256::digest(canonical))
    );
    let secret = hex::encode(Sha256::digest(TOKEN));
    let key = ["auto", "s3", "aws4_request"].iter().fold(
        hmac(format!("AWS4{secret}").as_bytes(), &date[..8]),
        |key, part| hmac(&key, part),
    );
    field("Signature=") == hex::encode(hmac(&key, &to_sign))
}

/// Answers the one API call that S3 needs, and leaves the rest to `s3`.
async fn server(s3: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Recorder {
    Recorder::start(move |seen| {
        if seen.path.ends_with("/tokens/verify") {
            return success(json!({"id": TOKEN_ID, "status": "active"}));
        }
        assert!(signature_holds(seen), "{}", seen.line());
        s3(seen)
    })
    .await
}

fn xml(status: u16, body: &str) -> Response {
    respond(
        status,
        "application/xml",
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}"),
    )
}

fn s3_error(status: u16, code: &str) -> Response {
    xml(
        status,
        &format!("<Error><Code>{code}</Code><Message>Because {TOKEN}.</Message></Error>"),
    )
}

fn storage_calls(server: &Recorder) -> Vec<Seen> {
    server
        .seen()
        .into_iter()
        .filter(|s| s.path.starts_with("/r2/"))
        .collect()
}

#[tokio::test]
async fn lists_keys_of_any_kind() {
    let server = server(|_| {
        xml(
            200,
            "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>bucket-1</Name>\
             <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>\
             <Contents><Key>a/b+c%2Bd%01%26</Key><Size>1</Size></Contents>\
             <Contents><Key>%C3%BC</Key></Contents></ListBucketResult>",
        )
    })
    .await;
    let client = server.client();
    let page = client.list_objects(cx(), &bucket()).await.unwrap();
    assert_eq!(page.keys, ["a/b c+d\u{1}&", "ü"]);
    assert!(page.truncated);
    client.list_objects(cx(), &bucket()).await.unwrap();
    assert_eq!(server.seen().len(), 3, "the token's id is asked for once");
    assert_eq!(
        storage_calls(&server)[0].line(),
        "GET /r2/bucket-1?encoding-type=url&list-type=2&max-keys=1000"
    );
}

#[tokio::test]
async fn removes_keys_of_any_kind() {
    let server = server(|seen| match seen.method.as_str() {
        "POST" => xml(
            200,
            "<DeleteResult><Error><Key>locked&amp;</Key><Code>AccessDenied</Code><Message>m</Message></Error>\
             <Error><Key>gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>",
        ),
        _ if seen.path.contains("%02") => s3_error(403, "AccessDenied"),
        _ => respond(204, "text/plain", ""),
    })
    .await;
    let keys: Vec<String> = [
        "a<b>&\"'c",
        "line\nbreak\r\t",
        "../x",
        "ü 😀",
        "locked&",
        "gone",
        "ctl\u{1}/ü?#+",
        "\u{2}",
        "\u{3}/../x",
    ]
    .map(str::to_owned)
    .to_vec();
    let left = server
        .client()
        .delete_objects(cx(), &bucket(), &keys)
        .await
        .unwrap();
    assert_eq!(left, ["locked&", "\u{2}", "\u{3}/../x"]);
    let calls = storage_calls(&server);
    let lines: Vec<_> = calls.iter().map(Seen::line).collect();
    assert_eq!(
        lines,
        [
            "POST /r2/bucket-1?delete=",
            "DELETE /r2/bucket-1/ctl%01/%C3%BC%3F%23%2B",
            "DELETE /r2/bucket-1/%02",
        ]
    );
    let body = String::from_utf8(calls[0].body.clone()).unwrap();
    assert!(
        body.contains("<Key>a&lt;b&gt;&amp;&quot;&apos;c</Key>"),
        "{body}"
    );
    assert!(
        body.contains("<Key>line&#10;break&#13;&#9;</Key>"),
        "{body}"
    );
    assert!(body.contains("<Key>../x</Key>"));
    let md5 = data_encoding::BASE64.encode(&Md5::digest(body.as_bytes()));
    assert_eq!(calls[0].header("content-md5"), Some(md5.as_str()));
}

#[tokio::test]
async fn at_most_a_thousand_and_nothing_for_nothing() {
    let server = server(|_| xml(200, "<DeleteResult/>")).await;
    let client = server.client();
    assert_eq!(
        client.delete_objects(cx(), &bucket(), &[]).await,
        Ok(vec![])
    );
    let many = vec!["k".to_owned(); 1001];
    let error = client
        .delete_objects(cx(), &bucket(), &many)
        .await
        .unwrap_err();
    assert!(matches!(error, CloudError::Invalid(_)));
    assert!(server.seen().is_empty());
    assert_eq!(
        client.delete_objects(cx(), &bucket(), &many[..1000]).await,
        Ok(vec![])
    );
}

#[tokio::test]
async fn lists_uploads_over_pages_and_aborts_one() {
    let server = server(|seen| match (seen.method.as_str(), seen.query.as_deref()) {
        ("DELETE", _) => respond(204, "text/plain", ""),
        (_, Some(q)) if q.contains("key-marker=a%20b") => xml(
            200,
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>\
             <Upload><Key>c</Key><UploadId>u2</UploadId></Upload></ListMultipartUploadsResult>",
        ),
        _ => xml(
            200,
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <NextKeyMarker>a%20b</NextKeyMarker><NextUploadIdMarker>u/1=</NextUploadIdMarker>\
             <Upload><Key>a%20b</Key><UploadId>u/1=</UploadId></Upload></ListMultipartUploadsResult>",
        ),
    })
    .await;
    let client = server.client();
    let uploads = client.list_uploads(cx(), &bucket()).await.unwrap();
    assert_eq!(
        uploads,
        [("a b", "u/1="), ("c", "u2")].map(|(key, id)| PendingUpload {
            key: key.into(),
            upload_id: id.into()
        })
    );
    client
        .abort_upload(cx(), &bucket(), &uploads[0])
        .await
        .unwrap();
    let calls = storage_calls(&server);
    assert_eq!(
        calls[2].line(),
        "DELETE /r2/bucket-1/a%20b?uploadId=u%2F1%3D"
    );
    assert!(calls[1].line().contains("upload-id-marker=u%2F1%3D"));
    let dots = PendingUpload {
        key: "..".into(),
        upload_id: "u".into(),
    };
    let error = client
        .abort_upload(cx(), &bucket(), &dots)
        .await
        .unwrap_err();
    assert!(matches!(error, CloudError::Invalid(_)));
}

#[tokio::test]
async fn failures_mean_what_they_mean_here() {
    let server = server(|seen| {
        let status = if seen.path.contains("unknown-key") {
            401
        } else {
            404
        };
        match seen.path.as_str() {
            "/r2/fresh-403" => s3_error(403, "AccessDenied"),
            "/r2/unknown-key" => s3_error(status, "Unauthorized"),
            "/r2/absent" => s3_error(404, "NoSuchBucket"),
            "/r2/broken" => s3_error(500, "InternalError"),
            "/r2/slow" => s3_error(503, "SlowDown"),
            _ => respond(200, "text/html", "<p>not S3</p>"),
        }
    })
    .await;
    let client = server.client();
    let named = |name: &str| BucketRef {
        name: name.into(),
        jurisdiction: Jurisdiction::Default,
    };
    for (name, tries) in [
        ("fresh-403", 1),
        ("unknown-key", 1),
        ("broken", 3),
        ("html", 1),
    ] {
        let before = storage_calls(&server).len();
        let error = client.list_objects(cx(), &named(name)).await.unwrap_err();
        assert!(matches!(error, CloudError::Transient(_)), "{name} {error}");
        assert!(!error.to_string().contains(TOKEN));
        assert_eq!(storage_calls(&server).len() - before, tries, "{name}");
    }
    let error = client
        .list_objects(cx(), &named("absent"))
        .await
        .unwrap_err();
    let CloudError::NotFound(m) = &error else {
        panic!("{error}")
    };
    assert_eq!(m.message, "NoSuchBucket: Because [redacted].");
    let error = client.list_objects(cx(), &named("slow")).await.unwrap_err();
    assert!(matches!(error, CloudError::Throttled { .. }), "{error}");
    let keys = ["k".to_owned()];
    for name in ["broken", "html"] {
        let before = storage_calls(&server).len();
        let error = client
            .delete_objects(cx(), &named(name), &keys)
            .await
            .unwrap_err();
        assert!(error.is_ambiguous(), "{name} {error}");
        assert_eq!(storage_calls(&server).len() - before, 1, "{name}");
    }
    for name in ["", "..", "a/b", "UPPER"] {
        let error = client.list_objects(cx(), &named(name)).await.unwrap_err();
        assert!(matches!(error, CloudError::Invalid(_)), "{name}");
    }
}

#[tokio::test]
async fn a_users_token_is_verified_at_the_users_address() {
    let server = Recorder::start(|seen| {
        if seen.path.contains(ACCOUNT) && seen.path.ends_with("/verify") {
            common::failure(401, 1000, "Invalid API Token")
        } else if seen.path.ends_with("/user/tokens/verify") {
            success(json!({"id": TOKEN_ID, "status": "active"}))
        } else {
            xml(
                200,
                "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
            )
        }
    })
    .await;
    let client = server.client();
    assert_eq!(client.token_id(cx()).await.unwrap(), TOKEN_ID);
    let page = client.list_objects(cx(), &bucket()).await.unwrap();
    assert!(page.keys.is_empty() && !page.truncated);
    assert_eq!(server.seen().len(), 3);
}
