//! The answers hold to Cloudflare's published OpenAPI description. Needs the directory with `openapi-2026.json` in
//! `TALON_CLOUDFLARE_OPENAPI_DIR`; says so and passes without it.

mod support;

use std::path::Path;

use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::{Value, json};
use support::{Answer, Cloud, form, metadata, secret, send};

struct Contract(Value);

impl Contract {
    fn load() -> Option<Self> {
        let Ok(dir) = std::env::var("TALON_CLOUDFLARE_OPENAPI_DIR") else {
            println!("skipped: TALON_CLOUDFLARE_OPENAPI_DIR is not set");
            return None;
        };
        let text = std::fs::read_to_string(Path::new(&dir).join("openapi-2026.json")).unwrap();
        Some(Self(serde_json::from_str(&text).unwrap()))
    }

    /// What is wrong with an answer by the response schema of an operation: `GET /accounts/{account_id}/…`.
    fn violations(&self, operation: &str, answer: &Answer) -> Vec<String> {
        let (method, path) = operation.split_once(' ').unwrap();
        let responses = &self.0["paths"][path][method.to_lowercase()]["responses"];
        let status = if answer.status < 300 { "200" } else { "4XX" };
        let schema = &responses[status]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "no schema for {operation}");
        let root = json!({"allOf": [schema], "components": self.0["components"]});
        let validator = jsonschema::validator_for(&root).unwrap();
        validator
            .iter_errors(&answer.body)
            .map(|e| format!("{e} at {}", e.instance_path))
            .collect()
    }

    fn check(&self, operation: &str, answer: &Answer) {
        let wrong = self.violations(operation, answer);
        assert!(
            wrong.is_empty(),
            "{operation}: {wrong:#?}\n{:#}",
            answer.body
        );
    }
}

/// The live API writes locations in upper case, the description in lower case.
fn lower_locations(mut answer: Answer) -> Answer {
    fn lower(value: &mut Value) {
        match value {
            Value::Object(map) => map.iter_mut().for_each(|(key, inner)| {
                if key == "location" {
                    *inner = json!(inner.as_str().unwrap().to_lowercase());
                } else {
                    lower(inner);
                }
            }),
            Value::Array(list) => list.iter_mut().for_each(lower),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    lower(&mut answer.body);
    answer
}

const SCRIPT: &str = "/accounts/{account_id}/workers/scripts/{script_name}";

#[tokio::test]
async fn workers() {
    let Some(contract) = Contract::load() else {
        return;
    };
    let cloud = Cloud::start().await;
    cloud.bucket("memory").await;
    let check = |operation: &str, answer: &Answer| contract.check(operation, answer);
    let script = |method: &str, rest: &str| format!("{method} {SCRIPT}{rest}");

    check(
        "GET /accounts/{account_id}/workers/subdomain",
        &cloud.get("workers/subdomain").await,
    );
    check(
        &script("GET", "/settings"),
        &cloud.get("workers/scripts/a/settings").await,
    );
    let mut upload = metadata(json!([
        {"type": "plain_text", "name": "NAME", "text": "a"},
        secret("KEY", "1"),
        {"type": "r2_bucket", "name": "MEMORY", "bucket_name": "memory"},
        {"type": "durable_object_namespace", "name": "BRAIN", "class_name": "Brain"},
    ]));
    upload["migrations"] = json!({"new_tag": "v1", "new_sqlite_classes": ["Brain"]});
    upload["observability"] = json!({"enabled": true});
    check(&script("PUT", ""), &cloud.upload("a", upload).await);
    check(
        &script("PUT", ""),
        &cloud.upload("b", metadata(json!([]))).await,
    );
    check(
        &script("PUT", ""),
        &cloud.upload("c", json!({"main_module": "none"})).await,
    );
    check(
        "GET /accounts/{account_id}/workers/scripts",
        &cloud.get("workers/scripts").await,
    );
    check(
        &script("GET", "/settings"),
        &cloud.get("workers/scripts/a/settings").await,
    );
    let patch = Form::new().text("settings", json!({"tags": ["x"]}).to_string());
    let request = cloud
        .request(Method::PATCH, "workers/scripts/a/settings")
        .multipart(patch);
    check(&script("PATCH", "/settings"), &send(request).await);
    check(
        &script("GET", "/script-settings"),
        &cloud.get("workers/scripts/b/script-settings").await,
    );
    let cheap = cloud.json(
        Method::PATCH,
        "workers/scripts/a/script-settings",
        json!({"tags": ["y"]}),
    );
    check(&script("PATCH", "/script-settings"), &cheap.await);

    let one = json!({"name": "K", "text": "v", "type": "secret_text"});
    let put = cloud
        .json(Method::PUT, "workers/scripts/a/secrets", one.clone())
        .await;
    check(&script("PUT", "/secrets"), &put);
    check(
        &script("GET", "/secrets"),
        &cloud.get("workers/scripts/a/secrets").await,
    );
    check(
        &script("GET", "/secrets/{secret_name}"),
        &cloud.get("workers/scripts/a/secrets/K").await,
    );
    let bulk = cloud.json(
        Method::PATCH,
        "workers/scripts/a/secrets-bulk",
        json!({"secrets": {"K": one}}),
    );
    check(&script("PATCH", "/secrets-bulk"), &bulk.await);
    check(
        &script("DELETE", "/secrets/{secret_name}"),
        &cloud.delete("workers/scripts/a/secrets/K").await,
    );

    check(
        &script("GET", "/subdomain"),
        &cloud.get("workers/scripts/a/subdomain").await,
    );
    let on = cloud.json(
        Method::POST,
        "workers/scripts/a/subdomain",
        json!({"enabled": true}),
    );
    check(&script("POST", "/subdomain"), &on.await);
    let crons = cloud.json(
        Method::PUT,
        "workers/scripts/a/schedules",
        json!([{"cron": "* * * * *"}]),
    );
    check(&script("PUT", "/schedules"), &crons.await);

    let request = cloud
        .request(Method::POST, "workers/scripts/b/versions")
        .multipart(form(metadata(json!([]))));
    let version = send(request).await;
    check(&script("POST", "/versions"), &version);
    check(
        &script("GET", "/versions"),
        &cloud.get("workers/scripts/b/versions").await,
    );
    let id = version.result()["id"].as_str().unwrap();
    let one = cloud
        .get(&format!(
            "workers/scripts/a/versions/{}",
            cloud.sim.worker("a").unwrap().version_id
        ))
        .await;
    check(&script("GET", "/versions/{version_id}"), &one);
    let deploy =
        json!({"strategy": "percentage", "versions": [{"version_id": id, "percentage": 100}]});
    let deployed = cloud
        .json(Method::POST, "workers/scripts/b/deployments", deploy)
        .await;
    check(&script("POST", "/deployments"), &deployed);
    check(
        &script("GET", "/deployments"),
        &cloud.get("workers/scripts/b/deployments").await,
    );
    check(
        "GET /accounts/{account_id}/workers/workers/{worker_id}",
        &cloud.get("workers/workers/a").await,
    );
    check(
        &script("DELETE", ""),
        &cloud.delete("workers/scripts/a?force=true").await,
    );
    check(
        &script("DELETE", ""),
        &cloud.delete("workers/scripts/a?force=true").await,
    );
}

#[tokio::test]
async fn storage_and_tokens() {
    let Some(contract) = Contract::load() else {
        return;
    };
    let cloud = Cloud::start().await;
    let buckets = "/accounts/{account_id}/r2/buckets";
    let check = |operation: &str, answer: Answer| {
        let answer = lower_locations(answer);
        contract.check(operation, &answer);
        answer
    };
    let create = cloud.json(Method::POST, "r2/buckets", json!({"name": "memory"}));
    check(&format!("POST {buckets}"), create.await);
    let again = cloud.json(Method::POST, "r2/buckets", json!({"name": "memory"}));
    check(&format!("POST {buckets}"), again.await);
    check(&format!("GET {buckets}"), cloud.get("r2/buckets").await);
    check(
        &format!("GET {buckets}/{{bucket_name}}"),
        cloud.get("r2/buckets/memory").await,
    );
    let put = send(
        cloud
            .request(Method::PUT, "r2/buckets/memory/objects/k")
            .body("v"),
    )
    .await;
    check(
        &format!("PUT {buckets}/{{bucket_name}}/objects/{{object_key}}"),
        put,
    );
    check(
        &format!("GET {buckets}/{{bucket_name}}/objects"),
        cloud.get("r2/buckets/memory/objects").await,
    );
    let gone = cloud.delete("r2/buckets/memory/objects/k").await;
    check(
        &format!("DELETE {buckets}/{{bucket_name}}/objects/{{object_key}}"),
        gone,
    );
    check(
        &format!("DELETE {buckets}/{{bucket_name}}"),
        cloud.delete("r2/buckets/memory").await,
    );

    let tokens = "/accounts/{account_id}/tokens";
    check(
        &format!("GET {tokens}/verify"),
        cloud.get("tokens/verify").await,
    );
    let groups = check(
        &format!("GET {tokens}/permission_groups"),
        cloud.get("tokens/permission_groups").await,
    );
    let body = json!({"name": "t", "policies": [{
        "effect": "allow",
        "resources": {cloud.account_resource(): "*"},
        "permission_groups": [{"id": groups.result()[0]["id"]}],
    }]});
    let made = check(
        &format!("POST {tokens}"),
        cloud.json(Method::POST, "tokens", body).await,
    );
    let id = made.result()["id"].as_str().unwrap();
    check(&format!("GET {tokens}"), cloud.get("tokens").await);
    let one = format!("{tokens}/{{token_id}}");
    check(
        &format!("GET {one}"),
        cloud.get(&format!("tokens/{id}")).await,
    );
    let value = format!("tokens/{id}/value");
    let roll = cloud.json(Method::PUT, &value, json!({}));
    check(&format!("PUT {one}/value"), roll.await);
    check(
        &format!("DELETE {one}"),
        cloud.delete(&format!("tokens/{id}")).await,
    );
    check(
        &format!("DELETE {one}"),
        cloud.delete(&format!("tokens/{id}")).await,
    );
}

#[tokio::test]
async fn a_wrong_answer_would_be_noticed() {
    let Some(contract) = Contract::load() else {
        return;
    };
    let cloud = Cloud::start().await;
    let mut answer = cloud.upload("a", metadata(json!([]))).await;
    answer.body["result"]["handlers"] = json!("fetch");
    let wrong = contract.violations(&format!("PUT {SCRIPT}"), &answer);
    assert!(wrong.iter().any(|w| w.contains("handlers")), "{wrong:?}");
}
