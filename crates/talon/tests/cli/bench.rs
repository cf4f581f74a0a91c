//! A database of its own for each test, the binary to run on it, and a stand-in for the controller.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use talon_core::Snapshot;
use talon_core::condition::{Condition, ConditionType, Reason, Truth};
use talon_core::mutation::{Cleanup, Finish, Mutation, Progress, ResourceWrite, StatusWrite};
use talon_core::resource::{CleanupResult, ResourceKind, ResourceState};
use talon_core::status::DeploymentStatus;
use talon_store::Store;
use talon_store_sqlite::SqliteStore;
use tempfile::TempDir;

/// A manifest that is valid.
pub const MANIFEST: &str = "\
apiVersion: talon.dev/v1
kind: OpenClawAgent
metadata: {name: research-pro}
spec:
  persona: You are a careful research analyst.
  instructions: Cite every claim.
  model: anthropic/claude-sonnet-4-6
  apiKeyRefs: {anthropic: \"env:TALON_SECRET_ANTHROPIC\"}
";

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Asserts the code, and the next step that every error ends with.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "out: {}\nerr: {}",
            self.out,
            self.err
        );
        let is_failure = self.err.contains("error: ");
        let last = self.err.trim_end().lines().last().unwrap_or_default();
        assert!(
            !is_failure || self.err.contains("\nnext: "),
            "no next step: {}",
            self.err
        );
        assert!(!is_failure || !last.is_empty());
        self
    }

    /// Standard output as exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

/// A folder with a database.
pub struct Bench {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
    /// The rows.
    pub store: SqliteStore,
}

impl Bench {
    /// Made by `talon migrate` itself.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        run(command(folder.path()).arg("migrate"), None).ends(0);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let url = format!("sqlite://{}", folder.path().join("talon.db").display());
        let store = runtime
            .block_on(SqliteStore::open(&url))
            .expect("the database");
        Self {
            folder,
            runtime,
            store,
        }
    }

    /// The folder in which commands run.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the binary.
    pub fn talon(&self, args: &[&str]) -> Ran {
        run(command(self.folder()).args(args), None)
    }

    /// Runs the binary with something on its standard input.
    pub fn talon_reading(&self, args: &[&str], input: &str) -> Ran {
        run(command(self.folder()).args(args), Some(input))
    }

    /// Starts the binary and reads its standard error up to a line that contains `sign`.
    pub fn start(&self, args: &[&str], sign: &str) -> Child {
        let mut child = command(self.folder())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut err = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut line = String::new();
        while !line.contains(sign) {
            line.clear();
            let read = err.read_line(&mut line).expect("a line");
            assert_ne!(read, 0, "it ended before it said {sign}");
        }
        // Whatever else it says must not fill the pipe; what it said last is wanted by some.
        child.stderr = Some(err.into_inner());
        child
    }

    /// Writes a file.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder");
        }
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Runs one statement on the file, as a person with `sqlite3` would.
    pub fn sql(&self, statement: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.folder().join("talon.db"));
        self.with(async {
            let mut connection = SqliteConnection::connect_with(&options)
                .await
                .expect("the file");
            connection.execute(statement).await.expect("a statement");
        });
    }

    /// Applies [`MANIFEST`].
    pub fn applied(&self) {
        self.talon_reading(&["apply", "-f", "-"], MANIFEST).ends(0);
    }

    /// An agent, archived or not.
    pub fn snapshot(&self, name: &str) -> Snapshot {
        self.runtime
            .block_on(self.store.get(name, true))
            .expect("a read")
            .expect("the agent")
    }

    /// Runs something on the store.
    pub fn with<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// One pass of the stand-in: claims the agent and ends with these writes.
    pub fn pass(&self, name: &str, mutations: Vec<Mutation>) {
        self.with(async {
            let s = self
                .store
                .get(name, false)
                .await
                .expect("a read")
                .expect("the agent");
            self.store.enqueue(&[s.agent.id]).await.expect("due");
            let claims = self
                .store
                .claim_due("test", Duration::from_secs(60), 100)
                .await
                .expect("claims");
            let (mine, others): (Vec<_>, Vec<_>) =
                claims.into_iter().partition(|c| c.agent_id == s.agent.id);
            for other in &others {
                self.store.release(other).await.expect("given back");
            }
            let claim = mine.first().expect("its claim");
            let finish = Finish {
                mutations,
                loaded_generation: s.agent.generation,
                loaded_reconcile_requested_at: s.agent.reconcile_requested_at,
                loaded_hold: None,
                next_due_in: None,
                progress: Progress::Ok,
                plan_report: None,
            };
            self.store
                .finish(claim, &finish)
                .await
                .expect("the end of the pass");
        });
    }

    /// As a pass that deployed the agent leaves it.
    pub fn deployed(&self, name: &str) {
        let generation = self.snapshot(name).agent.generation;
        self.pass(
            name,
            vec![
                Mutation::Identity {
                    markdown: "# IDENTITY.md\n".into(),
                    sha256: "ab".repeat(32),
                },
                Mutation::Latch { generation },
                Mutation::Status(StatusWrite {
                    deployment_status: Some(DeploymentStatus::Deployed),
                    observed_generation: Some(generation),
                    worker_url: Some(Some(format!("https://{name}.dev.workers.dev"))),
                    ..StatusWrite::default()
                }),
                self.condition(
                    name,
                    ConditionType::Ready,
                    Truth::True,
                    Reason::Deployed,
                    "generation",
                ),
            ],
        );
    }

    /// As a pass that needs a person leaves it.
    pub fn stalled(&self, name: &str, reason: Reason, message: &str) {
        self.pass(
            name,
            vec![
                Mutation::Status(StatusWrite {
                    deployment_status: Some(DeploymentStatus::Failed),
                    deployment_error: Some(Some(message.to_owned())),
                    ..StatusWrite::default()
                }),
                self.condition(name, ConditionType::Stalled, Truth::True, reason, message),
            ],
        );
    }

    /// As the last pass of a deletion leaves it, with one bucket and its result.
    pub fn archived(&self, name: &str, result: CleanupResult) {
        let mut bucket = ResourceWrite::new(
            ResourceKind::R2Bucket,
            "openclaw-bucket",
            ResourceState::Absent,
        );
        let error =
            (result == CleanupResult::Failed).then(|| "not empty: DELETE bucket".to_owned());
        bucket.cleanup = Some(Cleanup { result, error });
        self.pass(name, vec![Mutation::Resource(bucket), Mutation::Archive]);
    }

    /// A condition at the agent's present generation.
    pub fn condition(
        &self,
        name: &str,
        kind: ConditionType,
        status: Truth,
        reason: Reason,
        message: &str,
    ) -> Mutation {
        Mutation::Condition(Condition {
            kind,
            status,
            reason,
            message: message.to_owned(),
            observed_generation: self.snapshot(name).agent.generation,
        })
    }

    /// Waits until something holds of the database, looking whenever it changes.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..300 {
            if holds(self) {
                return;
            }
            self.with(self.store.wait(Duration::from_millis(100)))
                .expect("a look");
        }
        panic!("never: {what}");
    }
}

/// The binary in a folder, with nothing of this process's environment that could change what it does.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talon"));
    command.current_dir(folder).env_clear();
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command, input: Option<&str>) -> Ran {
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A command that refuses before it reads closes the pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("its end");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}
