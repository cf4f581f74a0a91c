//! Uploaded Workers run: in real workerd, behind the front door, with their bindings.
//!
//! The first run on a machine fetches workerd from npm.

mod support;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::stage::{Stage, form, kill, metadata, runs};
use support::{secret, send};

const WORKER: &str = r#"
import identity from "./IDENTITY.md";
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async fetch(request) {
    const sql = this.ctx.storage.sql;
    sql.exec("CREATE TABLE IF NOT EXISTS hits (n INTEGER)");
    sql.exec("INSERT INTO hits VALUES (1)");
    return new Response(String(sql.exec("SELECT COUNT(*) AS c FROM hits").one().c));
  }
}
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    switch (url.pathname) {
      case "/env": return Response.json({ name: env.NAME, key: env.KEY, limits: env.LIMITS, identity, url: request.url,
        ip: request.headers.get("cf-connecting-ip"), bindings: Object.keys(env).sort() });
      case "/count": return env.COUNTER.get(env.COUNTER.idFromName("one")).fetch(request);
      case "/put": return Response.json(await env.MEMORY.put(url.searchParams.get("key"), request.body));
      case "/get": {
        const object = await env.MEMORY.get(url.searchParams.get("key"));
        return object ? new Response(object.body, { headers: { etag: object.httpEtag } }) : new Response("none", { status: 404 });
      }
      case "/echo": {
        const [mine, theirs] = Object.values(new WebSocketPair());
        theirs.accept();
        theirs.addEventListener("message", (e) => theirs.send("echo " + e.data));
        return new Response(null, { status: 101, webSocket: mine });
      }
      case "/log": console.log("the key is " + env.KEY); return new Response("ok");
      case "/throw": throw new Error("on purpose");
      default: return new Response("not here", { status: 404 });
    }
  }
};
"#;

fn bindings() -> Value {
    json!([
        {"type": "plain_text", "name": "NAME", "text": "an agent"},
        {"type": "json", "name": "LIMITS", "json": {"tasks": 3}},
        secret("KEY", "sk-é-never-on-disk"),
        {"type": "r2_bucket", "name": "MEMORY", "bucket_name": "memory"},
        {"type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter"},
    ])
}

#[tokio::test]
async fn a_worker_answers_with_all_its_bindings() {
    let stage = Stage::set().await;
    stage.cloud.bucket("memory").await;
    let began = Instant::now();
    stage
        .deploy("agent", WORKER, metadata(bindings(), true))
        .await
        .result();
    let uploaded = began.elapsed();
    assert_eq!(
        stage.get("agent", "/env").await,
        (404, "error code: 1042".to_owned())
    );
    stage.enable("agent", true).await;
    assert_eq!(
        stage.runner.pid("agent"),
        None,
        "nothing runs before it is wanted"
    );
    let began = Instant::now();
    let (status, text) = stage.get("agent", "/env").await;
    println!(
        "upload with validation {uploaded:?}, first answer after {:?}",
        began.elapsed()
    );
    assert_eq!(status, 200, "{text} {:?}", stage.runner.output("agent"));
    let seen: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        seen,
        json!({
            "name": "an agent",
            "key": "sk-é-never-on-disk",
            "limits": {"tasks": 3},
            "identity": "# me: é\n\"quoted\" \\ \u{1}\n",
            "url": "https://agent.dev.workers.dev/env",
            "ip": "127.0.0.1",
            "bindings": ["COUNTER", "KEY", "LIMITS", "MEMORY", "NAME"],
        })
    );
    let put = stage
        .request(Method::PUT, "agent", "/put?key=a/b")
        .body("kept")
        .send()
        .await
        .unwrap();
    let put: Value = put.json().await.unwrap();
    assert_eq!(
        (&put["key"], &put["size"]),
        (&json!("a/b"), &json!(4)),
        "{put}"
    );
    let rest = stage
        .cloud
        .request(Method::GET, "r2/buckets/memory/objects/a/b")
        .send()
        .await
        .unwrap();
    assert_eq!(
        rest.text().await.unwrap(),
        "kept",
        "one store for all protocols"
    );
    assert_eq!(stage.get("agent", "/get?key=a/b").await.1, "kept");
    assert_eq!(stage.get("agent", "/get?key=nope").await.0, 404);
    assert_eq!(stage.get("agent", "/count").await.1, "1");
    assert_eq!(stage.get("agent", "/count").await.1, "2");
    assert_eq!(stage.get("agent", "/log").await.1, "ok");
    assert_eq!(stage.get("agent", "/throw").await.0, 500);
    let printed = stage.runner.output("agent").join("\n");
    println!("printed: {printed}");
    assert!(!printed.contains("never-on-disk"));
    stage.enable("agent", false).await;
    assert_eq!(
        stage.get("agent", "/env").await,
        (404, "error code: 1042".to_owned())
    );
    stage.cloud.sim.shutdown().await;
}

#[tokio::test]
async fn code_that_does_not_start_is_refused() {
    let stage = Stage::set().await;
    for (code, expected) in [
        (
            "export default {",
            "Uncaught SyntaxError: Unexpected end of input\n  at worker.js:1:16",
        ),
        (
            "throw new Error('no'); export default {}",
            "Uncaught Error: no\n  at worker.js:1:7",
        ),
        (
            "import x from './nowhere.js'; export default { fetch() {} }",
            "Uncaught Error: No such module \"nowhere.js\".\n  imported from \"worker.js\"",
        ),
        (
            "nope(); export default {}",
            "Uncaught ReferenceError: nope is not defined\n  at worker.js:1:1",
        ),
    ] {
        let answer = stage
            .deploy("agent", code, metadata(json!([]), false))
            .await;
        assert_eq!(answer.refused(), (400, 10021), "{code}");
        assert_eq!(answer.body["errors"][0]["message"], expected);
    }
    let answer = stage
        .deploy(
            "agent",
            "export default { fetch() {} }",
            metadata(json!([]), true),
        )
        .await;
    assert_eq!(answer.refused(), (400, 10070));
    assert!(
        stage.cloud.sim.workers().is_empty(),
        "a refused upload changes nothing"
    );

    // A version beside the live one is tried as well; what else is wrong with an upload comes first.
    stage
        .deploy(
            "agent",
            "export default { fetch() {} }",
            metadata(json!([]), false),
        )
        .await
        .result();
    let upload = stage
        .cloud
        .request(Method::POST, "workers/scripts/agent/versions");
    let broken = form("export default {", metadata(json!([]), false));
    assert_eq!(send(upload.multipart(broken)).await.refused(), (400, 10021));
    stage.cloud.bucket("memory").await;
    stage
        .deploy("with-objects", WORKER, metadata(bindings(), true))
        .await
        .result();
    let without = "export default { fetch() {} }";
    let answer = stage
        .deploy("with-objects", without, metadata(bindings(), false))
        .await;
    assert_eq!(answer.refused(), (400, 10064));
    let no_bucket = json!([{"type": "r2_bucket", "name": "B", "bucket_name": "missing"}]);
    let answer = stage
        .deploy("agent", "export default {", metadata(no_bucket, false))
        .await;
    assert_eq!(answer.refused(), (400, 10085));
}

#[tokio::test]
async fn code_that_never_finishes_starting_is_refused() {
    let stage = Stage::with(|o| o.start_timeout = Duration::from_secs(3)).await;
    let answer = stage
        .deploy("agent", "for (;;) {}", metadata(json!([]), false))
        .await;
    assert_eq!(answer.refused(), (400, 10021));
}

#[tokio::test]
async fn durable_objects_outlive_versions_and_crashes_but_not_their_worker() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_owned();
    let stage = Stage::with(|o| o.state_dir = Some(folder)).await;
    stage.cloud.bucket("memory").await;
    stage
        .deploy("agent", WORKER, metadata(bindings(), true))
        .await
        .result();
    stage.enable("agent", true).await;
    assert_eq!(stage.get("agent", "/count").await.1, "1");
    let first = stage.runner.pid("agent").unwrap();

    // A new version starts at once, since the old one ran.
    stage
        .deploy("agent", &format!("{WORKER}//"), metadata(bindings(), false))
        .await
        .result();
    stage
        .until("the new version runs", async |s| {
            s.runner.pid("agent").is_some_and(|p| p != first)
        })
        .await;
    assert!(!runs(first));
    assert_eq!(stage.get("agent", "/count").await.1, "2");

    // New secrets are a new version, too.
    let body = json!({"name": "KEY", "text": "another-key", "type": "secret_text"});
    stage
        .cloud
        .json(Method::PUT, "workers/scripts/agent/secrets", body)
        .await
        .result();
    stage
        .until("the new secret is there", async |s| {
            s.get("agent", "/env").await.1.contains("another-key")
        })
        .await;

    let before = stage.runner.pid("agent").unwrap();
    kill(before);
    stage
        .until("it comes back by itself", async |s| {
            s.runner.pid("agent").is_some_and(|p| p != before)
        })
        .await;
    assert_eq!(stage.get("agent", "/count").await.1, "3");

    for file in files(state.path()) {
        let content = std::fs::read(&file).unwrap();
        let found = |text: &str| content.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(
            !found("another-key") && !found("never-on-disk"),
            "{}",
            file.display()
        );
    }
    assert!(!files(state.path()).is_empty());

    let last = stage.runner.pid("agent").unwrap();
    let shown = |what: &str| std::fs::read(format!("/proc/{last}/{what}")).unwrap();
    for what in ["cmdline", "environ"] {
        assert!(!String::from_utf8_lossy(&shown(what)).contains("another-key"));
    }
    stage
        .cloud
        .delete("workers/scripts/agent?force=true")
        .await
        .result();
    stage.until("nothing runs", async |_| !runs(last)).await;
    stage
        .until("nothing is left", async |_| files(state.path()).is_empty())
        .await;
    stage
        .deploy("agent", WORKER, metadata(bindings(), true))
        .await
        .result();
    stage.enable("agent", true).await;
    assert_eq!(
        stage.get("agent", "/count").await.1,
        "1",
        "a new Worker of the same name is another"
    );
    stage.cloud.sim.shutdown().await;
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

const ALARM: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async fetch(request) { await this.ctx.storage.setAlarm(Date.now() + 300); return new Response("set"); }
  async alarm() {
    await this.env.MEMORY.put("alarm", this.env.NAME);
    await this.ctx.storage.setAlarm(Date.now() + 300);
  }
}
export default { fetch(request, env) { return env.COUNTER.get(env.COUNTER.idFromName("one")).fetch(request); } };
"#;

#[tokio::test]
async fn alarms_go_on_under_a_new_version_without_a_request() {
    let stage = Stage::set().await;
    stage.cloud.bucket("memory").await;
    stage
        .deploy("agent", ALARM, metadata(bindings(), true))
        .await
        .result();
    stage.enable("agent", true).await;
    assert_eq!(stage.get("agent", "/").await.1, "set");
    let seen = async |stage: &Stage, name: &str| {
        let object = stage
            .cloud
            .request(Method::GET, "r2/buckets/memory/objects/alarm");
        object.send().await.unwrap().text().await.unwrap() == name
    };
    stage
        .until("an alarm rings", async |s| seen(s, "an agent").await)
        .await;
    let mut renamed = bindings();
    renamed[0]["text"] = json!("a new version");
    stage
        .deploy("agent", ALARM, metadata(renamed, false))
        .await
        .result();
    stage
        .until("it rings under the new version", async |s| {
            seen(s, "a new version").await
        })
        .await;
    stage.cloud.sim.shutdown().await;
}
