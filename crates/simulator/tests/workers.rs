//! What uploads, inheritance, secrets, migrations and deletes mean, over real HTTP.

mod support;

use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::{Value, json};
use support::{Cloud, form, metadata, same, secret, send};

#[tokio::test]
async fn an_upload_is_live_and_readable_except_for_its_secrets() {
    let cloud = Cloud::start().await;
    cloud.bucket("memory").await;
    let answer = cloud
        .upload(
            "agent-a",
            metadata(json!([
                {"type": "plain_text", "name": "NAME", "text": "a"},
                secret("KEY", "sk-not-to-be-read"),
                {"type": "r2_bucket", "name": "MEMORY", "bucket_name": "memory"},
            ])),
        )
        .await;
    let made = answer.result();
    assert_eq!(made["id"], "agent-a");
    assert_eq!(made["tag"].as_str().unwrap().len(), 32);
    assert_eq!(made["etag"].as_str().unwrap().len(), 64);

    let list = cloud.get("workers/scripts").await;
    assert_eq!(list.result()[0]["tags"], json!(["talon", "agent-1"]));
    assert_eq!(list.result()[0]["etag"], made["etag"]);
    let settings = cloud.get("workers/scripts/agent-a/settings").await;
    assert_eq!(
        settings.result()["bindings"][1],
        json!({"name": "KEY", "type": "secret_text"})
    );
    let content = cloud
        .request(Method::GET, "workers/scripts/agent-a")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(content.contains("IDENTITY.md") && content.contains("# me"));

    let admin = reqwest::get(format!("{}/state", cloud.sim.admin()))
        .await
        .unwrap();
    let everything = format!(
        "{} {} {content} {} {:?}",
        settings.body,
        list.body,
        admin.text().await.unwrap(),
        cloud.sim.calls()
    );
    assert!(!everything.contains("sk-not-to-be-read"));
    assert!(same(
        &cloud.sim.secret_value("agent-a", "KEY").unwrap(),
        "sk-not-to-be-read"
    ));
    assert_eq!(
        cloud.sim.module_text("agent-a", "IDENTITY.md").unwrap(),
        "# me\n"
    );
}

/// Each row: what stands before, the bindings of the second upload, `keep_bindings`, and the secrets after it
/// (`Err`: the code of the refusal).
#[tokio::test]
async fn bindings_are_replaced_wholesale_unless_kept_or_inherited() {
    let inherit = |name: &str| json!({"type": "inherit", "name": name});
    type Row = (Value, Value, Result<Vec<&'static str>, i64>);
    let table: Vec<Row> = vec![
        (json!([]), json!([]), Ok(vec![])),
        (json!([secret("C", "3")]), json!([]), Ok(vec!["C"])),
        (json!([]), json!(["secret_text"]), Ok(vec!["A", "B"])),
        (json!([]), json!(["plain_text"]), Ok(vec![])),
        (json!([inherit("A")]), json!([]), Ok(vec!["A"])),
        (
            json!([inherit("A"), secret("C", "3")]),
            json!(["secret_text"]),
            Ok(vec!["A", "B", "C"]),
        ),
        (
            json!([{"type": "inherit", "name": "Z", "old_name": "A"}]),
            json!([]),
            Ok(vec!["Z"]),
        ),
        (json!([inherit("NOPE")]), json!(["secret_text"]), Err(10057)),
        (
            json!([{"type": "inherit", "name": "A", "version_id": "00000000-0000-4000-8000-000000000000"}]),
            json!([]),
            Err(10057),
        ),
        (
            json!([secret("C", "1"), secret("C", "2")]),
            json!([]),
            Err(10021),
        ),
    ];
    let cloud = Cloud::start().await;
    for (n, (bindings, keep, expected)) in table.into_iter().enumerate() {
        let worker = format!("w{n}");
        let before = metadata(json!([secret("A", "1"), secret("B", "2")]));
        cloud.upload(&worker, before).await.result();
        let mut second = metadata(bindings);
        second["keep_bindings"] = keep;
        let answer = cloud.upload(&worker, second).await;
        match expected {
            Ok(names) => {
                answer.result();
                assert_eq!(cloud.secrets(&worker).await, names, "row {n}");
            }
            Err(code) => {
                assert_eq!(answer.refused(), (400, code), "row {n}");
                assert_eq!(cloud.secrets(&worker).await, ["A", "B"], "row {n}");
            }
        }
    }
    let value = |name| cloud.sim.secret_value("w6", name).unwrap();
    assert!(same(&value("Z"), "1"));
}

#[tokio::test]
async fn without_strict_an_unknown_inherit_is_dropped() {
    let cloud = Cloud::start().await;
    let body = form(metadata(json!([{"type": "inherit", "name": "NOPE"}])));
    let request = cloud
        .request(Method::PUT, "workers/scripts/a")
        .multipart(body);
    send(request).await.result();
    assert!(cloud.secrets("a").await.is_empty());
}

#[tokio::test]
async fn inheriting_from_an_older_version() {
    let cloud = Cloud::start().await;
    let first = cloud
        .upload("a", metadata(json!([secret("A", "old")])))
        .await;
    let version = first.result()["deployment_id"].clone();
    cloud
        .upload("a", metadata(json!([secret("A", "new")])))
        .await
        .result();
    let inherit = json!([{"type": "inherit", "name": "A", "version_id": version}]);
    cloud.upload("a", metadata(inherit)).await.result();
    assert!(same(&cloud.sim.secret_value("a", "A").unwrap(), "old"));
}

#[tokio::test]
async fn refused_uploads_change_nothing() {
    let cloud = Cloud::start().await;
    cloud.sim.put_foreign_worker("elsewhere", None).unwrap();
    let with = |key: &str, value: Value| {
        let mut m = metadata(json!([]));
        m[key] = value;
        m
    };
    let tags: Vec<String> = (0..9).map(|n| format!("t{n}")).collect();
    let many: Vec<Value> = (0..129).map(|n| secret(&format!("S{n}"), "x")).collect();
    let class = json!([{"type": "durable_object_namespace", "name": "D", "class_name": "Agent"}]);
    let table = [
        ("a", with("main_module", json!("nope.js")), 10021),
        ("a", with("main_module", Value::Null), 10021),
        ("a", with("tags", json!(tags)), 10021),
        ("a", with("tags", json!(["a:b"])), 10021),
        ("a", with("compatibility_date", json!("2030-01-01")), 10021),
        ("a", metadata(json!(many)), 10021),
        (
            "a",
            metadata(json!([secret("BIG", &"x".repeat(5121))])),
            10021,
        ),
        (
            "a",
            metadata(json!([{"type": "plain_text", "name": "T"}])),
            10021,
        ),
        (
            "a",
            metadata(json!([{"type": "made_up", "name": "T"}])),
            10021,
        ),
        (
            "a",
            metadata(json!([{"type": "r2_bucket", "name": "B", "bucket_name": "none"}])),
            10085,
        ),
        (
            "a",
            metadata(json!([{"type": "service", "name": "S", "service": "none"}])),
            10144,
        ),
        ("a", metadata(class), 10061),
        ("Upper", metadata(json!([])), 10016),
        (&"x".repeat(64), metadata(json!([])), 10016),
    ];
    for (name, body, code) in table {
        let shown = body.to_string();
        assert_eq!(
            cloud.upload(name, body).await.refused(),
            (400, code),
            "{shown}"
        );
    }
    let json_body = cloud
        .json(Method::PUT, "workers/scripts/a", metadata(json!([])))
        .await;
    assert_eq!(json_body.refused(), (400, 10001));
    let no_metadata = cloud
        .request(Method::PUT, "workers/scripts/a")
        .multipart(Form::new().text("x", "y"));
    assert_eq!(send(no_metadata).await.refused(), (400, 10021));
    assert_eq!(cloud.sim.workers().len(), 1);
}

#[tokio::test]
async fn a_bucket_binding_needs_the_buckets_jurisdiction() {
    let cloud = Cloud::start().await;
    let request = cloud
        .request(Method::POST, "r2/buckets")
        .header("cf-r2-jurisdiction", "eu")
        .json(&json!({"name": "memory"}));
    send(request).await.result();
    let mut binding = json!({"type": "r2_bucket", "name": "B", "bucket_name": "memory"});
    let answer = cloud.upload("a", metadata(json!([binding]))).await;
    assert_eq!(answer.refused(), (400, 10085));
    binding["jurisdiction"] = json!("eu");
    cloud.upload("a", metadata(json!([binding]))).await.result();
}

#[tokio::test]
async fn migrations_are_guarded_by_their_tag() {
    let cloud = Cloud::start().await;
    let up = |old: Option<&str>, new: &str, class: &str| {
        let mut m = metadata(json!([
            {"type": "durable_object_namespace", "name": "D", "class_name": class}
        ]));
        m["migrations"] = json!({"new_tag": new, "new_sqlite_classes": [class]});
        if let Some(old) = old {
            m["migrations"]["old_tag"] = json!(old);
        }
        m
    };
    let first = cloud.upload("a", up(None, "v1", "Agent")).await;
    assert_eq!(first.result()["migration_tag"], "v1");
    let again = cloud.upload("a", up(None, "v1", "Agent")).await;
    assert_eq!(again.refused(), (412, 10079));
    let twice = cloud.upload("a", up(Some("v1"), "v2", "Agent")).await;
    assert_eq!(twice.refused(), (400, 10074));
    cloud
        .upload("a", up(Some("v1"), "v2", "Other"))
        .await
        .result();
    let without = metadata(json!([
        {"type": "durable_object_namespace", "name": "D", "class_name": "Agent"}
    ]));
    cloud.upload("a", without).await.result();
    assert_eq!(
        cloud.sim.worker("a").unwrap().migration_tag.as_deref(),
        Some("v2")
    );
}

#[tokio::test]
async fn secrets_move_the_version_and_not_the_etag() {
    let cloud = Cloud::start().await;
    cloud
        .upload("a", metadata(json!([secret("A", "1")])))
        .await
        .result();
    let before = cloud.sim.worker("a").unwrap();
    cloud.clock.advance(std::time::Duration::from_secs(1));
    let patch = json!({"secrets": {
        "B": {"name": "B", "text": "2", "type": "secret_text"},
        "A": null, "GONE": null,
    }});
    let request = cloud
        .request(Method::PATCH, "workers/scripts/a/secrets-bulk")
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string());
    let answer = send(request).await;
    assert_eq!(
        answer.result(),
        &json!({"B": {"name": "B", "type": "secret_text"}})
    );
    let after = cloud.sim.worker("a").unwrap();
    assert_eq!(after.secrets, ["B"]);
    assert_eq!(after.etag, before.etag);
    assert_eq!(after.tag, before.tag);
    assert_ne!(after.version_id, before.version_id);
    assert_ne!(after.modified_on, before.modified_on);

    let put = json!({"name": "C/D", "text": "3", "type": "secret_text"});
    cloud
        .json(Method::PUT, "workers/scripts/a/secrets", put)
        .await
        .result();
    let path = "workers/scripts/a/secrets/C%252FD?url_encoded=true";
    cloud.get(path).await.result();
    cloud.delete(path).await.result();
    assert_eq!(cloud.delete(path).await.refused(), (404, 10056));
    let missing = cloud
        .json(
            Method::PATCH,
            "workers/scripts/none/secrets-bulk",
            json!({"secrets": {}}),
        )
        .await;
    assert_eq!(missing.refused(), (404, 10007));
}

#[tokio::test]
async fn versions_serve_only_once_deployed() {
    let cloud = Cloud::start().await;
    cloud
        .upload("a", metadata(json!([secret("A", "1")])))
        .await
        .result();
    let mut next = metadata(json!([{"type": "plain_text", "name": "N", "text": "2"}]));
    next["keep_bindings"] = json!(["secret_text", "secret_key"]);
    let request = cloud
        .request(
            Method::POST,
            "workers/scripts/a/versions?bindings_inherit=strict",
        )
        .multipart(form(next));
    let made = send(request).await;
    let id = made.result()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.result()["number"], 2);
    assert!(cloud.sim.worker("a").unwrap().bindings.is_empty());
    let blocked = cloud
        .json(
            Method::PUT,
            "workers/scripts/a/secrets",
            json!({"name": "B", "text": "2", "type": "secret_text"}),
        )
        .await;
    assert_eq!(blocked.refused(), (400, 10215));

    let deploy = |version: &str, percentage: u32| json!({"strategy": "percentage", "versions": [{"version_id": version, "percentage": percentage}]});
    let path = "workers/scripts/a/deployments";
    let short = cloud.json(Method::POST, path, deploy(&id, 50)).await;
    assert_eq!(short.refused(), (400, 10021));
    let unknown = cloud.json(Method::POST, path, deploy("nope", 100)).await;
    assert_eq!(unknown.refused(), (404, 100_146));
    cloud
        .json(Method::POST, path, deploy(&id, 100))
        .await
        .result();
    let live = cloud.sim.worker("a").unwrap();
    assert_eq!(live.bindings[0].name, "N");
    assert_eq!(live.secrets, ["A"]);
    let list = cloud.get(path).await;
    assert_eq!(
        list.result()["deployments"][0]["versions"][0]["version_id"],
        id
    );
    assert_eq!(
        cloud.get("workers/scripts/a/versions").await.result()["items"][0]["id"],
        id
    );
    cloud
        .get(&format!("workers/scripts/a/versions/{id}"))
        .await
        .result();
}

#[tokio::test]
async fn settings_are_patched_as_a_form_only() {
    let cloud = Cloud::start().await;
    cloud
        .upload("a", metadata(json!([secret("A", "1")])))
        .await
        .result();
    let path = "workers/scripts/a/settings";
    let json_body = cloud
        .json(Method::PATCH, path, json!({"tags": ["x"]}))
        .await;
    assert_eq!(json_body.refused(), (400, 10001));
    let form = Form::new().text("settings", json!({"tags": ["x"]}).to_string());
    let patched = send(cloud.request(Method::PATCH, path).multipart(form)).await;
    assert_eq!(patched.result()["tags"], json!(["x"]));
    assert_eq!(cloud.secrets("a").await, ["A"]);
    let cheap = cloud
        .json(
            Method::PATCH,
            "workers/scripts/a/script-settings",
            json!({"tags": ["y"]}),
        )
        .await;
    assert_eq!(cheap.result()["tags"], json!(["y"]));
    assert_eq!(cloud.sim.worker("a").unwrap().versions, 2);
}

#[tokio::test]
async fn routes_services_and_deletes() {
    let cloud = Cloud::start().await;
    for path in [
        "scripts/a/settings",
        "scripts/a/secrets",
        "scripts/a/subdomain",
        "workers/a",
    ] {
        let answer = cloud.get(&format!("workers/{path}")).await;
        assert_eq!(answer.refused(), (404, 10007), "{path}");
    }
    assert_eq!(
        cloud.get("workers/services/a").await.refused(),
        (404, 10090)
    );
    cloud.upload("a", metadata(json!([]))).await.result();
    let path = "workers/scripts/a/subdomain";
    assert_eq!(cloud.get(path).await.result()["enabled"], false);
    let body = json!({"enabled": true, "previews_enabled": false});
    let on = cloud.json(Method::POST, path, body).await;
    assert_eq!(
        on.result(),
        &json!({"enabled": true, "previews_enabled": false})
    );
    assert!(cloud.sim.worker("a").unwrap().enabled);
    cloud.get("workers/services/a").await.result();
    cloud.get("workers/workers/a").await.result();

    let user = metadata(json!([{"type": "service", "name": "S", "service": "a"}]));
    cloud.upload("b", user).await.result();
    assert_eq!(
        cloud.delete("workers/scripts/a").await.refused(),
        (400, 10064)
    );
    cloud.delete("workers/scripts/a?force=true").await.result();
    let again = cloud.delete("workers/scripts/a?force=true").await;
    assert_eq!(again.refused(), (404, 10007));
    cloud.delete("workers/services/b?force=true").await.result();
    assert!(cloud.sim.workers().is_empty());
}

#[tokio::test]
async fn the_account_has_room_for_so_many_workers() {
    let cloud = Cloud::with(|c| c.max_workers = 1).await;
    cloud.upload("a", metadata(json!([]))).await.result();
    assert_eq!(
        cloud.upload("b", metadata(json!([]))).await.refused(),
        (403, 10037)
    );
    cloud.upload("a", metadata(json!([]))).await.result();
}

#[tokio::test]
async fn the_list_is_filtered_by_tags() {
    let cloud = Cloud::start().await;
    cloud
        .sim
        .put_foreign_worker("a", Some(vec!["x".into()]))
        .unwrap();
    cloud
        .sim
        .put_foreign_worker("b", Some(vec!["x".into(), "y".into()]))
        .unwrap();
    cloud.sim.put_foreign_worker("c", None).unwrap();
    let answer = cloud.get("workers/scripts?tags=x:yes,y:no").await;
    assert_eq!(answer.result().as_array().unwrap().len(), 1);
    assert_eq!(answer.result()[0]["id"], "a");
    let all = cloud.get("workers/scripts").await;
    assert_eq!(all.result()[2]["tags"], Value::Null);
}

#[tokio::test]
async fn an_account_without_a_subdomain() {
    let cloud = Cloud::with(|c| c.subdomain = None).await;
    assert_eq!(cloud.get("workers/subdomain").await.refused(), (404, 10007));
    cloud.upload("a", metadata(json!([]))).await.result();
    let path = "workers/scripts/a/subdomain";
    let off = cloud
        .json(Method::POST, path, json!({"enabled": true}))
        .await;
    assert_eq!(off.refused(), (400, 10063));
    let body = json!({"subdomain": "mine"});
    cloud
        .json(Method::PUT, "workers/subdomain", body)
        .await
        .result();
    assert_eq!(
        cloud.get("workers/subdomain").await.result()["subdomain"],
        "mine"
    );
    let other = json!({"subdomain": "other"});
    let taken = cloud.json(Method::PUT, "workers/subdomain", other).await;
    assert_eq!(taken.refused(), (409, 10036));
}
