//! A real wrangler works against the simulator: Cloudflare's own client is the judge of what is simulated.
//!
//! The first run installs wrangler and Node from npm (see `support/references.rs`).

mod support;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::json;
use support::references::References;
use support::stage::Stage;
use support::{same, send};
use talon_core::spec::Jurisdiction;
use talon_simulator::{CallClass, DEV_API_TOKEN};
use tempfile::TempDir;

const CODE: &str = r#"
import identity from "./IDENTITY.md";
import { DurableObject } from "cloudflare:workers";
export class Brain extends DurableObject {
  async fetch() {
    const n = ((await this.ctx.storage.get("n")) ?? 0) + 1;
    await this.ctx.storage.put("n", n);
    return new Response(String(n));
  }
}
export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname === "/count") return env.BRAIN.get(env.BRAIN.idFromName("one")).fetch(request);
    return Response.json({ build: "BUILD", identity, first: env.FIRST, second: env.SECOND, third: env.THIRD, memory: typeof env.MEMORY.get });
  }
};
"#;

/// A wrangler project and the means to run wrangler in it.
struct Project {
    references: References,
    folder: TempDir,
    stage: Stage,
}

/// What wrangler said.
#[derive(Debug)]
struct Said {
    success: bool,
    text: String,
}

impl Said {
    fn ok(self) -> String {
        assert!(self.success, "{}", self.text);
        self.text
    }
}

impl Project {
    async fn new() -> Self {
        let references = tokio::task::spawn_blocking(References::installed);
        let (references, stage) = tokio::join!(references, Stage::set());
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "name": "agent-alpha",
            "main": "worker.js",
            "compatibility_date": "2026-11-01",
            "workers_dev": true,
            "rules": [{"type": "Text", "globs": ["**/*.md"]}],
            "r2_buckets": [{"binding": "MEMORY", "bucket_name": "agent-alpha-memory"}],
            "durable_objects": {"bindings": [{"name": "BRAIN", "class_name": "Brain"}]},
            "migrations": [{"tag": "v1", "new_sqlite_classes": ["Brain"]}],
            "triggers": {"crons": ["*/5 * * * *"]},
        });
        let project = Self {
            references: references.unwrap(),
            folder,
            stage,
        };
        project.write("wrangler.json", &config.to_string());
        project.write("worker.js", CODE);
        project.write("IDENTITY.md", "# me\n");
        project
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Runs wrangler to its end; `input` is what a person would type.
    async fn wrangler(&self, arguments: &[&str], input: &str) -> Said {
        let mut node = self
            .references
            .node("node_modules/wrangler/bin/wrangler.js");
        node.args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env(
                "CLOUDFLARE_API_BASE_URL",
                self.stage.cloud.sim.api_base().as_str(),
            )
            .env("CLOUDFLARE_API_TOKEN", DEV_API_TOKEN)
            .env("CLOUDFLARE_ACCOUNT_ID", self.stage.cloud.sim.account_id())
            .env("WRANGLER_SEND_METRICS", "false")
            .env("CI", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (input, shown) = (input.to_owned(), arguments.join(" "));
        let output = tokio::task::spawn_blocking(move || {
            let mut child = node.spawn().unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.as_bytes())
                .unwrap();
            child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        let text = format!(
            "wrangler {shown}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{text}");
        Said {
            success: output.status.success(),
            text,
        }
    }

    async fn run(&self, arguments: &[&str]) -> String {
        self.wrangler(arguments, "").await.ok()
    }

    /// What the Worker shows of itself.
    async fn shown(&self) -> serde_json::Value {
        let request = self.stage.request(reqwest::Method::GET, "agent-alpha", "/");
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Names of the writes since the last time, in order.
    fn writes(&self) -> Vec<String> {
        let calls = self.stage.cloud.sim.calls();
        self.stage.cloud.sim.clear_calls();
        let unknown: Vec<_> = calls.iter().filter(|c| c.operation == "none").collect();
        assert!(unknown.is_empty(), "not simulated: {unknown:?}");
        calls
            .into_iter()
            .filter(|c| c.class == CallClass::Write)
            .map(|c| c.operation)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrangler_deploys_changes_and_deletes() {
    let project = Project::new().await;
    let cloud = &project.stage.cloud;
    let account = cloud.sim.account_id().to_owned();
    assert!(project.run(&["whoami"]).await.contains(&account));

    project
        .run(&["r2", "bucket", "create", "agent-alpha-memory"])
        .await;
    assert!(
        project
            .run(&["r2", "bucket", "list"])
            .await
            .contains("agent-alpha-memory")
    );
    cloud
        .sim
        .fill_bucket(Jurisdiction::Default, "agent-alpha-memory", 3);
    let info = project
        .run(&["r2", "bucket", "info", "agent-alpha-memory"])
        .await;
    assert!(info.contains("object_count:           3"), "{info}");
    let bucket = "r2/buckets/agent-alpha-memory/objects?prefix=object-";
    cloud.delete(bucket).await.result();

    project.writes();
    project.write("secrets.json", r#"{"FIRST": "one", "SECOND": "two"}"#);
    project
        .run(&["deploy", "--secrets-file", "secrets.json"])
        .await;
    assert_eq!(
        project.writes(),
        [
            "workers.upload",
            "workers.subdomain.set",
            "workers.schedules.put"
        ]
    );
    let first = project.shown().await;
    assert_eq!(
        first,
        json!({"build": "BUILD", "identity": "# me\n", "first": "one", "second": "two", "memory": "function"})
    );
    assert_eq!(project.stage.get("agent-alpha", "/count").await.1, "1");

    // The second deployment goes over a version; secrets and Durable Objects stay.
    project.write("worker.js", &CODE.replace("BUILD", "second"));
    project.run(&["deploy"]).await;
    assert_eq!(
        project.writes(),
        [
            "workers.versions.create",
            "workers.deployments.create",
            "workers.script_settings.patch",
            "workers.subdomain.set",
            "workers.schedules.put",
        ]
    );
    let second = project.shown().await;
    assert_eq!(
        (&second["build"], &second["first"]),
        (&json!("second"), &json!("one"))
    );
    assert_eq!(project.stage.get("agent-alpha", "/count").await.1, "2");

    project
        .wrangler(&["secret", "put", "THIRD"], "three\n")
        .await
        .ok();
    project.write("bulk.json", r#"{"FIRST": "eins", "FOURTH": "four"}"#);
    project.run(&["secret", "bulk", "bulk.json"]).await;
    project
        .wrangler(&["secret", "delete", "SECOND"], "y\n")
        .await
        .ok();
    let list = project.run(&["secret", "list"]).await;
    assert!(
        !list.contains("SECOND") && list.contains("FOURTH"),
        "{list}"
    );
    assert_eq!(
        cloud.secrets("agent-alpha").await,
        ["FIRST", "FOURTH", "THIRD"]
    );
    let value = cloud.sim.secret_value("agent-alpha", "FIRST").unwrap();
    assert!(same(&value, "eins"));
    let third = project.shown().await;
    assert_eq!(
        (&third["first"], &third["third"]),
        (&json!("eins"), &json!("three"))
    );

    project.write("note.txt", "a note");
    let key = "agent-alpha-memory/memory/a.txt";
    project
        .run(&["r2", "object", "put", key, "--remote", "--file", "note.txt"])
        .await;
    let got = project
        .run(&["r2", "object", "get", key, "--remote", "--pipe"])
        .await;
    assert!(got.contains("a note"), "{got}");
    let refused = project
        .wrangler(&["r2", "bucket", "delete", "agent-alpha-memory"], "")
        .await;
    assert!(
        !refused.success && refused.text.contains("not empty"),
        "{refused:?}"
    );
    project
        .run(&["r2", "object", "delete", key, "--remote"])
        .await;

    // Histories, and back to the version before.
    project.write("worker.js", &CODE.replace("BUILD", "third"));
    project.run(&["deploy"]).await;
    assert_eq!(project.shown().await["build"], "third");
    let live = cloud.sim.worker("agent-alpha").unwrap().version_id;
    let versions = project.run(&["versions", "list", "--json"]).await;
    assert!(versions.contains(&live), "{versions}");
    let deployments = project.run(&["deployments", "list"]).await;
    assert!(deployments.contains(&live), "{deployments}");
    project.run(&["rollback", "-y"]).await;
    assert_eq!(project.shown().await["build"], "second");
    project.run(&["triggers", "deploy"]).await;

    project
        .run(&["delete", "--force", "--name", "agent-alpha"])
        .await;
    assert!(cloud.sim.workers().is_empty());
    project
        .run(&["r2", "bucket", "delete", "agent-alpha-memory"])
        .await;
    assert!(cloud.sim.buckets().is_empty());
    project.writes();
}
