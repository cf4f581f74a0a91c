//! Authentication, permissions, tokens and buckets, over real HTTP.

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::{Cloud, metadata, same, send};

#[tokio::test]
async fn who_may_call() {
    let mut cloud = Cloud::with(|c| c.user_token = Some("user-token".into())).await;
    let base = format!(
        "{}/accounts/{}",
        cloud.sim.api_base(),
        cloud.sim.account_id()
    );
    let bare = |path: &str| cloud.http.get(format!("{base}/{path}"));
    assert_eq!(send(bare("workers/scripts")).await.refused(), (400, 9106));
    let malformed = bare("workers/scripts").header("authorization", "Token x");
    assert_eq!(send(malformed).await.refused(), (400, 6003));
    let unknown = bare("workers/scripts").bearer_auth("nobody");
    assert_eq!(send(unknown).await.refused(), (403, 9109));
    let unknown = bare("tokens/verify").bearer_auth("nobody");
    assert_eq!(send(unknown).await.refused(), (401, 1000));

    let own = cloud.get("tokens/verify").await;
    assert_eq!(own.result()["status"], "active");
    assert_eq!(own.result()["id"], cloud.sim.tokens()[0].id);
    let api = cloud.sim.api_base();
    let user = |path: &str, token: &str| cloud.http.get(format!("{api}/{path}")).bearer_auth(token);
    let token = cloud.token.clone();
    assert_eq!(
        send(user("user/tokens/verify", &token)).await.refused(),
        (401, 1000)
    );
    assert_eq!(send(user("user", &token)).await.refused(), (403, 9109));
    assert_eq!(
        send(user("memberships", &token)).await.refused(),
        (403, 10000)
    );
    for path in ["user/tokens/verify", "user", "memberships", "accounts"] {
        send(user(path, "user-token")).await.result();
    }
    let other = format!("accounts/{}/workers/scripts", "0".repeat(32));
    assert_eq!(send(user(&other, &token)).await.refused(), (404, 7003));
    let nowhere = cloud.get("workers/nowhere").await;
    assert_eq!(nowhere.refused(), (404, 7003));
    assert_eq!(nowhere.body["errors"][1]["code"], 7000);
    assert_eq!(
        cloud
            .json(Method::POST, "workers/scripts/a", json!({}))
            .await
            .refused(),
        (405, 10405)
    );

    // Each token: what it may do (reading Workers, uploading, listing buckets, listing tokens).
    let resource = cloud.account_resource();
    for (group, expected) in [
        ("Workers Scripts Read", [200, 403, 403, 403]),
        ("Workers Scripts Write", [200, 200, 403, 403]),
        ("Workers R2 Storage Read", [403, 403, 200, 403]),
        ("Account API Tokens Read", [403, 403, 403, 200]),
    ] {
        let (_, value) = cloud.new_token(group, &resource).await;
        let controller = std::mem::replace(&mut cloud.token, value);
        let got = [
            cloud.get("workers/scripts").await.status,
            cloud.upload("a", metadata(json!([]))).await.status,
            cloud.get("r2/buckets").await.status,
            cloud.get("tokens").await.status,
        ];
        assert_eq!(got, expected, "{group}");
        if got[1] == 403 {
            assert_eq!(cloud.upload("a", metadata(json!([]))).await.code(), 10000);
        }
        cloud.token = controller;
    }
}

#[tokio::test]
async fn tokens_are_shown_once_paged_rolled_and_deleted() {
    let cloud = Cloud::with(|c| {
        c.max_tokens = 60;
        c.token_page_limit = 50;
    })
    .await;
    let resource = cloud.account_resource();
    let mut ids = Vec::new();
    for _ in 0..59 {
        ids.push(cloud.new_token("Workers Scripts Read", &resource).await);
    }
    let body = json!({"name": "one more", "policies": [{
        "effect": "allow", "resources": {resource: "*"},
        "permission_groups": [{"id": "2efd5506f9c8494dacb1fa10a3e7d5b6"}],
    }]});
    assert_eq!(
        cloud
            .json(Method::POST, "tokens", body.clone())
            .await
            .status,
        400
    );

    let first = cloud.get("tokens?page=1&per_page=100").await;
    assert_eq!(first.result().as_array().unwrap().len(), 50);
    assert_eq!(first.body["result_info"]["total_count"], 60);
    assert_eq!(first.body["result_info"]["total_pages"], 2);
    let second = cloud.get("tokens?page=2&per_page=50").await;
    assert_eq!(second.result().as_array().unwrap().len(), 10);
    let (id, value) = &ids[0];
    let got = cloud.get(&format!("tokens/{id}")).await;
    assert_eq!(got.result()["name"], "Workers Scripts Read");
    for shown in [&got.body, &first.body, &second.body] {
        assert!(!shown.to_string().contains(value.as_str()));
    }
    let rolled = cloud
        .json(Method::PUT, &format!("tokens/{id}/value"), json!({}))
        .await;
    let new = rolled.result().as_str().unwrap();
    assert!(same(&cloud.sim.token_value(id).unwrap(), new));
    cloud.delete(&format!("tokens/{id}")).await.result();
    assert_eq!(
        cloud.delete(&format!("tokens/{id}")).await.refused(),
        (404, 1003)
    );
    assert_eq!(
        cloud.get(&format!("tokens/{id}")).await.refused(),
        (404, 1003)
    );
    assert_eq!(
        cloud.delete("tokens/not-an-id").await.refused(),
        (404, 7003)
    );

    for (change, code) in [
        (json!({"name": ""}), 400),
        (json!({"policies": []}), 1001),
        (
            json!({"policies": [{"effect": "allow", "resources": {"com.cloudflare.x": "*"}, "permission_groups": [{"id": "nope"}]}]}),
            1001,
        ),
        (json!({"expires_on": "2027-01-01T00:00:00.5Z"}), 400),
    ] {
        let mut bad = body.clone();
        for (key, value) in change.as_object().unwrap() {
            bad[key] = value.clone();
        }
        assert_eq!(
            cloud.json(Method::POST, "tokens", bad).await.refused(),
            (400, code)
        );
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_deleted_and_one_that_expires() {
    let cloud = Cloud::start().await;
    let resource = cloud.account_resource();
    let (id, _) = cloud.new_token("Workers Scripts Read", &resource).await;
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.refuse_token_delete = Some("Scripts".into()));
    let path = format!("tokens/{id}");
    assert_eq!(cloud.delete(&path).await.refused(), (403, 10000));
    assert_eq!(cloud.sim.faults().conditions().fired.token_delete, 1);
    cloud
        .sim
        .faults()
        .set_conditions(|c| c.refuse_token_delete = None);
    cloud.delete(&path).await.result();

    let body = json!({"name": "short", "expires_on": "2026-11-20T12:30:00Z", "policies": [{
        "effect": "allow", "resources": {cloud.account_resource(): "*"},
        "permission_groups": [{"id": "b4992e1108244f5d8bfbd5744320c2e1"}],
    }]});
    let made = cloud.json(Method::POST, "tokens", body).await;
    let value = made.result()["value"].as_str().unwrap().to_owned();
    let read = || {
        cloud
            .http
            .get(format!("{}/accounts", cloud.sim.api_base()))
            .bearer_auth(&value)
    };
    send(read()).await.result();
    cloud.clock.advance(std::time::Duration::from_secs(1800));
    assert_eq!(send(read()).await.refused(), (403, 9109));
}

#[tokio::test]
async fn buckets_by_name_jurisdiction_and_page() {
    let cloud = Cloud::start().await;
    let text_plain = cloud
        .request(Method::POST, "r2/buckets")
        .header("content-type", "text/plain;charset=UTF-8")
        .body("{\"name\":\"first\",\"locationHint\":\"weur\"}");
    let made = send(text_plain).await;
    assert_eq!(made.result()["location"], "WEUR");
    assert_eq!(made.result()["jurisdiction"], "default");
    let create = |name: &str| cloud.json(Method::POST, "r2/buckets", json!({"name": name}));
    assert_eq!(create("first").await.refused(), (409, 10004));
    for bad in ["ab", "Upper", "a_b", "-ab", "ab-", "a.b", &"x".repeat(64)] {
        assert_eq!(create(bad).await.refused(), (400, 10005), "{bad}");
    }
    let eu = |method: Method, path: &str| {
        cloud
            .request(method, path)
            .header("cf-r2-jurisdiction", "eu")
    };
    send(eu(Method::POST, "r2/buckets").json(&json!({"name": "first"})))
        .await
        .result();
    send(eu(Method::POST, "r2/buckets").json(&json!({"name": "only-eu"})))
        .await
        .result();
    assert_eq!(
        cloud.get("r2/buckets/only-eu").await.refused(),
        (404, 10006)
    );
    send(eu(Method::GET, "r2/buckets/only-eu")).await.result();

    for n in 0..30 {
        cloud.bucket(&format!("b-{n:02}")).await;
    }
    let names = |answer: &Value| -> Vec<String> {
        answer["result"]["buckets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = cloud.get("r2/buckets").await;
    assert_eq!(names(&first.body).len(), 20);
    let cursor = first.body["result_info"]["cursor"].as_str().unwrap();
    let second = cloud.get(&format!("r2/buckets?cursor={cursor}")).await;
    assert_eq!(names(&second.body).len(), 11);
    assert!(second.body["result_info"].get("cursor").is_none());
    let found = cloud
        .get("r2/buckets?name_contains=b-0&per_page=1000")
        .await;
    assert_eq!(names(&found.body).len(), 10);
    let newest = cloud.get("r2/buckets?direction=desc&per_page=1").await;
    assert_eq!(names(&newest.body), ["first"]);
    let in_eu = send(eu(Method::GET, "r2/buckets")).await;
    assert_eq!(names(&in_eu.body), ["first", "only-eu"]);
    cloud.delete("r2/buckets/first").await.result();
    assert_eq!(
        cloud.delete("r2/buckets/first").await.refused(),
        (404, 10006)
    );
    send(eu(Method::GET, "r2/buckets/first")).await.result();
}

#[tokio::test]
async fn objects_over_rest() {
    let cloud = Cloud::start().await;
    cloud.bucket("memory").await;
    for key in ["memory/a.txt", "memory/b.txt", "c"] {
        let put = cloud
            .request(Method::PUT, &format!("r2/buckets/memory/objects/{key}"))
            .body("hello");
        assert_eq!(send(put).await.result()["size"], "5");
    }
    let got = cloud.get("r2/buckets/memory/objects/memory/a.txt").await;
    assert_eq!(got.body, json!("hello"));
    let list = cloud
        .get("r2/buckets/memory/objects?prefix=memory/&per_page=1")
        .await;
    assert_eq!(list.result()[0]["key"], "memory/a.txt");
    let cursor = list.body["result_info"]["cursor"].as_str().unwrap();
    let rest = cloud
        .get(&format!(
            "r2/buckets/memory/objects?cursor={cursor}&prefix=memory/"
        ))
        .await;
    assert_eq!(rest.result()[0]["key"], "memory/b.txt");
    let grouped = cloud.get("r2/buckets/memory/objects?delimiter=/").await;
    assert_eq!(grouped.body["result_info"]["delimited"], json!(["memory/"]));
    cloud.delete("r2/buckets/memory/objects/c").await.result();
    let gone = cloud.get("r2/buckets/memory/objects/c").await;
    assert_eq!(gone.refused(), (404, 10007));
    cloud
        .json(
            Method::DELETE,
            "r2/buckets/memory/objects",
            json!(["memory/a.txt"]),
        )
        .await
        .result();
    let job = cloud
        .delete("r2/buckets/memory/objects?prefix=memory/")
        .await;
    assert_eq!(job.result()["prefixDelete"]["isBucketClear"], true);
    cloud.delete("r2/buckets/memory").await.result();
}
