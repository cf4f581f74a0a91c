//! The S3 endpoint, spoken to by an independent signer.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use sha2::{Digest, Sha256};
use support::Cloud;
use talon_core::spec::Jurisdiction;
use talon_simulator::{DEV_API_TOKEN, SystemClock};

const HOUR: Duration = Duration::from_secs(3600);

struct S3 {
    bucket: Bucket,
    keys: Credentials,
    http: reqwest::Client,
}

impl S3 {
    fn new(cloud: &Cloud, bucket: &str, id: &str, value: &str) -> Self {
        let secret = hex::encode(Sha256::digest(value));
        Self {
            bucket: Bucket::new(
                cloud.sim.s3_endpoint(),
                UrlStyle::Path,
                bucket.to_owned(),
                "auto",
            )
            .unwrap(),
            keys: Credentials::new(id, secret),
            http: cloud.http.clone(),
        }
    }

    /// With the controller's own token.
    fn own(cloud: &Cloud, bucket: &str) -> Self {
        Self::new(cloud, bucket, &cloud.sim.tokens()[0].id, DEV_API_TOKEN)
    }

    async fn put(&self, key: &str, body: &'static str) -> (u16, String) {
        let url = self.bucket.put_object(Some(&self.keys), key).sign(HOUR);
        answer(self.http.put(url).body(body)).await
    }

    async fn get(&self, key: &str) -> (u16, String) {
        let url = self.bucket.get_object(Some(&self.keys), key).sign(HOUR);
        answer(self.http.get(url)).await
    }

    async fn list(
        &self,
        change: impl FnOnce(&mut ListObjectsV2<'_>),
    ) -> (Vec<String>, Option<String>) {
        let mut action = self.bucket.list_objects_v2(Some(&self.keys));
        change(&mut action);
        let (status, body) = answer(self.http.get(action.sign(HOUR))).await;
        assert_eq!(status, 200, "{body}");
        let parsed = ListObjectsV2::parse_response(&body).unwrap();
        let keys = parsed.contents.into_iter().map(|c| c.key).collect();
        (keys, parsed.next_continuation_token)
    }

    async fn delete(&self, keys: &[String]) -> String {
        use rusty_s3::actions::ObjectIdentifier;
        let objects: Vec<ObjectIdentifier> = keys
            .iter()
            .map(|k| ObjectIdentifier::new(k.clone()))
            .collect();
        let mut action = self.bucket.delete_objects(Some(&self.keys), objects.iter());
        action.set_quiet(true);
        let url = action.sign(HOUR);
        let (body, md5) = action.body_with_md5();
        let request = self.http.post(url).header("content-md5", md5).body(body);
        let (status, body) = answer(request).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

async fn cloud() -> Cloud {
    // The signer uses this machine's time.
    Cloud::with(|c| c.clock = Arc::new(SystemClock::new())).await
}

#[tokio::test]
async fn objects_come_and_go() {
    let cloud = cloud().await;
    cloud.bucket("memory").await;
    let s3 = S3::own(&cloud, "memory");
    let key = "notes/a b+c&<é>.txt";
    assert_eq!(s3.put(key, "hello").await.0, 200);
    assert_eq!(s3.get(key).await, (200, "hello".to_owned()));
    assert_eq!(s3.list(|_| {}).await.0, [key]);
    let head = s3.bucket.head_object(Some(&s3.keys), key).sign(HOUR);
    let response = s3.http.head(head).send().await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    s3.delete(&[key.to_owned(), "never-was".to_owned()]).await;
    let (status, body) = s3.get(key).await;
    assert_eq!(status, 404);
    assert!(body.contains("<Code>NoSuchKey</Code>"));
    let log = format!("{:?}", cloud.sim.calls());
    assert!(log.contains("s3.put_object") && !log.contains("X-Amz-Signature"));
}

#[tokio::test]
async fn listing_by_pages_prefix_and_delimiter() {
    let cloud = cloud().await;
    cloud.bucket("memory").await;
    let s3 = S3::own(&cloud, "memory");
    for key in ["a/1", "a/2", "b/1", "c"] {
        s3.put(key, "x").await;
    }
    let (first, token) = s3
        .list(|l| {
            l.with_max_keys(3);
        })
        .await;
    assert_eq!(first, ["a/1", "a/2", "b/1"]);
    let token = token.unwrap();
    let (second, end) = s3
        .list(|l| {
            l.with_max_keys(3);
            l.with_continuation_token(token);
        })
        .await;
    assert_eq!((second, end), (vec!["c".to_owned()], None));
    assert_eq!(
        s3.list(|l| {
            l.with_prefix("a/");
        })
        .await
        .0,
        ["a/1", "a/2"]
    );
    assert_eq!(
        s3.list(|l| {
            l.with_delimiter("/");
        })
        .await
        .0,
        ["c"]
    );
    assert_eq!(
        s3.list(|l| {
            l.with_start_after("a/2");
        })
        .await
        .0,
        ["b/1", "c"]
    );
}

#[tokio::test]
async fn a_hundred_thousand_objects_are_listed_and_deleted_quickly() {
    let cloud = cloud().await;
    cloud.bucket("memory").await;
    assert!(
        cloud
            .sim
            .fill_bucket(Jurisdiction::Default, "memory", 100_000)
    );
    let s3 = S3::own(&cloud, "memory");
    let started = Instant::now();
    for _ in 0..10 {
        let (keys, more) = s3.list(|_| {}).await;
        assert_eq!((keys.len(), more.is_some()), (1000, true));
        s3.delete(&keys).await;
    }
    assert_eq!(cloud.sim.buckets()[0].objects, 90_000);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_bucket_with_anything_in_it_is_not_deleted() {
    let cloud = cloud().await;
    cloud.bucket("memory").await;
    let s3 = S3::own(&cloud, "memory");
    s3.put("k", "x").await;
    let refused = || async {
        let answer = cloud.delete("r2/buckets/memory").await;
        assert_eq!(answer.refused(), (409, 0));
        let message = answer.body["errors"][0]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            message,
            format!(
                "The bucket you tried to delete (memory) is not empty (account {}).",
                cloud.sim.account_id()
            )
        );
    };
    refused().await;
    s3.delete(&["k".to_owned()]).await;
    let create = s3
        .bucket
        .create_multipart_upload(Some(&s3.keys), "big")
        .sign(HOUR);
    let (_, body) = answer(s3.http.post(create)).await;
    let id = rusty_s3::actions::CreateMultipartUpload::parse_response(&body)
        .unwrap()
        .upload_id()
        .to_owned();
    refused().await;
    let list = format!("{}?uploads", s3.bucket.base_url());
    assert_eq!(
        s3.http.get(list).send().await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
    let abort = s3
        .bucket
        .abort_multipart_upload(Some(&s3.keys), "big", &id)
        .sign(HOUR);
    assert_eq!(answer(s3.http.delete(abort)).await.0, 204);
    cloud.delete("r2/buckets/memory").await.result();
    assert_eq!(
        cloud.delete("r2/buckets/memory").await.refused(),
        (404, 10006)
    );
    let (status, body) = s3.get("k").await;
    assert!(status == 404 && body.contains("NoSuchBucket"));
}

#[tokio::test]
async fn a_multipart_upload_becomes_an_object() {
    let cloud = cloud().await;
    cloud.bucket("memory").await;
    let s3 = S3::own(&cloud, "memory");
    let create = s3
        .bucket
        .create_multipart_upload(Some(&s3.keys), "big")
        .sign(HOUR);
    let (_, body) = answer(s3.http.post(create)).await;
    let created = rusty_s3::actions::CreateMultipartUpload::parse_response(&body).unwrap();
    let id = created.upload_id();
    let mut etags = Vec::new();
    for (n, text) in [(1, "hello "), (2, "world")] {
        let url = s3
            .bucket
            .upload_part(Some(&s3.keys), "big", n, id)
            .sign(HOUR);
        let response = s3.http.put(url).body(text).send().await.unwrap();
        etags.push(response.headers()["etag"].to_str().unwrap().to_owned());
    }
    let action = s3.bucket.complete_multipart_upload(
        Some(&s3.keys),
        "big",
        id,
        etags.iter().map(String::as_str),
    );
    let url = action.sign(HOUR);
    let (status, body) = answer(s3.http.post(url).body(action.body())).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(s3.get("big").await.1, "hello world");
}

#[tokio::test]
async fn credentials_open_their_own_bucket_only() {
    let cloud = cloud().await;
    cloud.bucket("mine").await;
    cloud.bucket("other").await;
    let resource = |bucket: &str, j: &str| {
        format!(
            "com.cloudflare.edge.r2.bucket.{}_{j}_{bucket}",
            cloud.sim.account_id()
        )
    };
    let write = "Workers R2 Storage Bucket Item Write";
    let (id, value) = cloud.new_token(write, &resource("mine", "default")).await;
    assert_eq!(
        S3::new(&cloud, "mine", &id, &value).put("k", "v").await.0,
        200
    );
    let denied = S3::new(&cloud, "other", &id, &value).put("k", "v").await;
    assert!(
        denied.0 == 403 && denied.1.contains("AccessDenied"),
        "{denied:?}"
    );
    let wrong = S3::new(&cloud, "mine", &id, "guess").put("k", "v").await;
    assert!(
        wrong.0 == 403 && wrong.1.contains("SignatureDoesNotMatch"),
        "{wrong:?}"
    );
    let unknown = S3::new(&cloud, "mine", &"0".repeat(32), &value)
        .put("k", "v")
        .await;
    assert_eq!(unknown.0, 401);
    let short = S3::new(&cloud, "mine", "short", &value).put("k", "v").await;
    assert!(short.0 == 400 && short.1.contains("has length 5, should be 32"));

    let read = "Workers R2 Storage Bucket Item Read";
    let (id, value) = cloud.new_token(read, &resource("mine", "default")).await;
    let reader = S3::new(&cloud, "mine", &id, &value);
    assert_eq!(reader.get("k").await.0, 200);
    assert_eq!(reader.put("k", "v").await.0, 403);
    // A token for the bucket of that name in another jurisdiction is one for another bucket.
    let (id, value) = cloud.new_token(write, &resource("mine", "eu")).await;
    assert_eq!(
        S3::new(&cloud, "mine", &id, &value).put("k", "v").await.0,
        403
    );
}

#[tokio::test]
async fn a_rolled_token_has_a_new_secret_and_needs_its_time() {
    let cloud = cloud().await;
    cloud.bucket("mine").await;
    let resource = format!(
        "com.cloudflare.edge.r2.bucket.{}_default_mine",
        cloud.sim.account_id()
    );
    let (id, old) = cloud
        .new_token("Workers R2 Storage Bucket Item Write", &resource)
        .await;
    let rolled = cloud
        .json(
            Method::PUT,
            &format!("tokens/{id}/value"),
            serde_json::json!({}),
        )
        .await;
    let new = rolled.result().as_str().unwrap().to_owned();
    assert_ne!(old, new);
    assert_eq!(
        S3::new(&cloud, "mine", &id, &old).put("k", "v").await.0,
        403
    );
    let fresh = S3::new(&cloud, "mine", &id, &new);
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.new_token_delay_ms = 3_600_000);
    assert_eq!(fresh.put("k", "v").await.0, 401);
    assert_eq!(cloud.sim.faults().conditions().fired.new_token, 1);
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.new_token_delay_ms = 0);
    assert_eq!(fresh.put("k", "v").await.0, 200);
    cloud.delete(&format!("tokens/{id}")).await.result();
    assert_eq!(fresh.put("k", "v").await.0, 401);
}

#[tokio::test]
async fn some_keys_cannot_be_deleted() {
    let cloud = cloud().await;
    cloud.bucket("memory").await;
    let s3 = S3::own(&cloud, "memory");
    s3.put("stuck", "x").await;
    s3.put("loose", "x").await;
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.refuse_object_delete = Some("stuck".into()));
    let body = s3.delete(&["stuck".to_owned(), "loose".to_owned()]).await;
    assert!(body.contains("<Key>stuck</Key>") && !body.contains("loose"));
    assert_eq!(s3.list(|_| {}).await.0, ["stuck"]);
}
