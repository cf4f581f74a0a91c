//! A site: the local Cloudflare in this process, a real database, and the real binary configured for both.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use talon_core::condition::{ConditionType, Truth};
use talon_core::status::DeploymentStatus;
use talon_core::task::{NewTask, SessionId, TaskId};
use talon_core::{InstallId, Owner, Snapshot};
use talon_simulator::{DEV_API_TOKEN, SimConfig, SimHandle, Simulator};
use talon_store::{ApplyOptions, ListFilter, StoreError, WholeStore};
use talon_store_postgres::PostgresStore;
use talon_store_sqlite::SqliteStore;
use tempfile::TempDir;

use crate::postgres::{Role, TestDatabase, TestPostgres};
use crate::process::{Daemon, Launch};
use crate::stage::{idle, name, spec};

/// What the reference of [`spec`] leads to.
pub const ANTHROPIC_KEY: &str = "made-up-anthropic-key-3c91";

/// Lines of each log that a failure shows.
const TAIL: usize = 40;

/// What a site stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A database of a server.
    Postgres,
}

impl Engine {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// One database, one local Cloudflare, and daemons as processes.
pub struct Site<'s> {
    /// The local Cloudflare.
    pub sim: SimHandle,
    /// The database, as an administrator reads and writes it.
    pub store: Arc<dyn WholeStore>,
    /// This installation.
    pub install: InstallId,
    /// How to start the binary; settings changed here hold for what is started afterwards.
    pub launch: Launch,
    /// The database, if it is one of a server.
    pub database: Option<TestDatabase<'s>>,
    folder: TempDir,
}

impl Site<'static> {
    /// On an engine, with the PostgreSQL server that all tests of this process share.
    pub async fn on(engine: Engine, sim: SimConfig) -> Result<Self> {
        match engine {
            Engine::Sqlite => Self::build(None, sim).await,
            Engine::Postgres => {
                let database = TestPostgres::shared().await.database().await;
                Self::build(Some(database), sim).await
            }
        }
    }
}

impl<'s> Site<'s> {
    /// On a server of the caller's own.
    pub async fn on_server(server: &'s TestPostgres, sim: SimConfig) -> Result<Self> {
        Self::build(Some(server.database().await), sim).await
    }

    async fn build(database: Option<TestDatabase<'s>>, sim: SimConfig) -> Result<Self> {
        let folder = TempDir::with_prefix("talon-site-")?;
        let file = folder.path().join("talon.db");
        let (administrator, controller) = match &database {
            None => {
                let url = format!("sqlite://{}", file.display());
                (url.clone(), url)
            }
            Some(database) => (database.url(Role::Admin), database.url(Role::Controller)),
        };
        let sim = Simulator::start(sim)
            .await
            .context("the local Cloudflare starts")?;
        let mut launch = Launch::new(folder.path())?;
        for (variable, value) in settings(&sim) {
            launch.set(variable, value);
        }
        launch.set("TALON_DATABASE_URL", &administrator);
        let migrated = launch.run(&["migrate"])?;
        ensure!(
            migrated.status.success(),
            "talon migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        let store: Arc<dyn WholeStore> = match &database {
            None => Arc::new(SqliteStore::open(&administrator).await?),
            Some(_) => Arc::new(PostgresStore::open(&administrator).await?),
        };
        let install = store
            .install()
            .await?
            .context("talon migrate initialises")?;
        launch.set("TALON_DATABASE_URL", controller);
        Ok(Self {
            sim,
            store,
            install: install.id,
            launch,
            database,
            folder,
        })
    }

    /// The folder of the database file, the install key and the logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database file, where there is one.
    pub fn file(&self) -> PathBuf {
        self.folder().join("talon.db")
    }

    /// Starts a daemon that logs under this name.
    pub fn daemon(&self, log: &str) -> Result<Daemon> {
        self.launch.daemon(&self.log_file(log))
    }

    /// Where the daemon of this name logs.
    pub fn log_file(&self, log: &str) -> PathBuf {
        self.folder().join(format!("{log}.log"))
    }

    /// Where the daemon of this name serves HTTP, once it says so.
    pub async fn address(&self, log: &str) -> Result<String> {
        let file = self.log_file(log);
        self.until("the daemon listens", Duration::from_secs(120), async || {
            let said = std::fs::read_to_string(&file).unwrap_or_default();
            let at = said
                .split_whitespace()
                .filter_map(|word| word.strip_prefix("address="))
                .find(|a| a.starts_with("127.0.0.1:"));
            Ok(at
                .map(|at| format!("http://{at}"))
                .ok_or_else(|| "not yet".to_owned()))
        })
        .await
    }

    /// Runs a command; standard output, if it succeeded.
    pub fn talon(&self, arguments: &[&str]) -> Result<String> {
        let output = self.launch.run(arguments)?;
        ensure!(
            output.status.success(),
            "talon {} ended with {}: {}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Creates an agent with the usual spec.
    pub async fn create(&self, agent: &str) -> Result<()> {
        let owner = Owner::default();
        self.store
            .apply(&name(agent), &owner, &spec(), ApplyOptions::default())
            .await
            .with_context(|| agent.to_owned())?;
        Ok(())
    }

    /// Asks an agent something, as the Hub stores it; nobody need be there to do it.
    pub async fn ask(&self, task: &str, agent: &str, text: &str) -> Result<()> {
        let task = NewTask {
            id: TaskId::parse(task).context("an id")?,
            agent: agent.to_owned(),
            session: SessionId::parse("a-session").context("a session")?,
            text: text.to_owned(),
            metadata: serde_json::Value::Null,
            asked_by: None,
            deadline_in: Duration::from_secs(600),
        };
        self.store.submit_task(&task, 64).await?;
        Ok(())
    }

    /// Every row, the archived ones included.
    pub async fn rows(&self) -> Result<Vec<Snapshot>, StoreError> {
        let filter = ListFilter {
            include_archived: true,
            ..ListFilter::default()
        };
        self.store.list(&filter).await
    }

    /// Asks again and again, until the answer is no longer what is still missing. After `patience` fails with what was
    /// waited for, what was missing last, the rows, and the ends of the logs.
    pub async fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ask: impl AsyncFnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            let missing = match ask().await? {
                Ok(answer) => return Ok(answer),
                Err(missing) => missing,
            };
            if begun.elapsed() > patience {
                bail!(
                    "not within {} s: {what}\nmissing: {missing}\n{}",
                    patience.as_secs(),
                    self.dump().await
                );
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Waits until every row is as it should be: deployed at its generation, or archived, and nobody works on it.
    pub async fn settled(&self, patience: Duration) -> Result<Vec<Snapshot>> {
        let all = async || {
            let rows = self.rows().await?;
            let open: Vec<String> = rows.iter().filter_map(unsettled).collect();
            if open.is_empty() {
                return Ok(Ok(rows));
            }
            // Many rows are asked for at once: not so often.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(Err(format!("{} rows: {}", open.len(), open.join("; "))))
        };
        self.until("every row settled", patience, all).await
    }

    /// Waits until one row is so.
    pub async fn row(
        &self,
        agent: &str,
        what: &str,
        patience: Duration,
        so: impl Fn(&Snapshot) -> bool,
    ) -> Result<Snapshot> {
        let ask = async || {
            let row = self.store.get(agent, true).await?;
            Ok(match row {
                Some(row) if so(&row) => Ok(row),
                Some(row) => Err(line(&row)),
                None => Err(format!("there is no row {agent}")),
            })
        };
        self.until(&format!("{agent} {what}"), patience, ask).await
    }

    /// Rows and ends of logs, for the message of a failure.
    pub async fn dump(&self) -> String {
        let mut text = String::from("rows:\n");
        match self.rows().await {
            Ok(rows) => {
                for row in rows.iter().filter(|r| unsettled(r).is_some()) {
                    let _ = writeln!(text, "  {}", line(row));
                }
                let settled = rows.iter().filter(|r| unsettled(r).is_none()).count();
                let _ = writeln!(text, "  and {settled} that are settled");
            }
            Err(error) => {
                let _ = writeln!(text, "  cannot be read: {error}");
            }
        }
        let logs = std::fs::read_dir(self.folder()).into_iter().flatten();
        for entry in logs.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "log") {
                let all = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = all.lines().collect();
                let _ = writeln!(text, "end of {}:", entry.file_name().to_string_lossy());
                for line in &lines[lines.len().saturating_sub(TAIL)..] {
                    let _ = writeln!(text, "  {line}");
                }
            }
        }
        text
    }
}

/// Short timings, and thresholds of the brake that nothing here reaches.
fn settings(sim: &SimHandle) -> Vec<(&'static str, String)> {
    let text = |s: &str| s.to_owned();
    vec![
        ("TALON_CLOUDFLARE_ACCOUNT_ID", text(sim.account_id())),
        ("TALON_CLOUDFLARE_API_TOKEN", text(DEV_API_TOKEN)),
        ("TALON_CLOUDFLARE_API_BASE", sim.api_base().to_string()),
        (
            "TALON_CLOUDFLARE_S3_ENDPOINT",
            sim.s3_endpoint().to_string(),
        ),
        ("TALON_CLOUDFLARE_BUDGET_CALLS", text("1000000")),
        ("TALON_LISTEN", text("127.0.0.1:0")),
        // Stays the same from one daemon to the next: another address is another upload.
        ("TALON_HUB_URL", text("ws://127.0.0.1:9/ws/agents")),
        ("TALON_RUNTIME_BUNDLE", text("placeholder")),
        ("TALON_INSTALL_KEY_FILE", text("install.key")),
        ("TALON_SECRET_ANTHROPIC", text(ANTHROPIC_KEY)),
        ("TALON_RESYNC_SECONDS", text("2")),
        ("TALON_DEADLINES_LEASE_SECONDS", text("4")),
        ("TALON_DEADLINES_REQUEST_SECONDS", text("2")),
        ("TALON_DEADLINES_SETTLE_SECONDS", text("2")),
        ("TALON_DEADLINES_LIST_LAG_SECONDS", text("1")),
        ("TALON_DEADLINES_LIST_SPACING_SECONDS", text("0.2")),
        ("TALON_DEADLINES_CLEANUP_SECONDS", text("120")),
        ("TALON_DEADLINES_SHUTDOWN_SECONDS", text("5")),
        ("TALON_BRAKE_VANISHED_MIN", text("1000000")),
        ("TALON_BRAKE_DELETIONS", text("1000000")),
        ("TALON_LOG", text("info,talon_controller=debug")),
    ]
}

/// Why a row is not settled; `None` if it is.
pub fn unsettled(row: &Snapshot) -> Option<String> {
    let (agent, status) = (&row.agent, &row.agent.status);
    let done = if agent.is_deleting() {
        agent.is_archived()
    } else {
        status.deployment_status == DeploymentStatus::Deployed
            && status.observed_generation == agent.generation
    };
    (!done || !idle(row)).then(|| line(row))
}

/// One row for people.
pub fn line(row: &Snapshot) -> String {
    let (agent, status, work) = (&row.agent, &row.agent.status, &row.work);
    let time = |t: Option<chrono::DateTime<chrono::Utc>>| {
        t.map_or("-".to_owned(), |t| {
            let seconds = (t - row.now).as_seconds_f64();
            format!("{seconds:+.1}s")
        })
    };
    let mut text = format!(
        "{} {} generation {}/{}{}{} due {} lease {} {} failures {}",
        agent.name,
        status.deployment_status,
        status.observed_generation,
        agent.generation,
        if agent.is_deleting() { " deleting" } else { "" },
        if agent.is_archived() { " archived" } else { "" },
        time(work.next_due_at),
        work.lease_owner.as_deref().unwrap_or("-"),
        time(work.lease_until),
        work.failure_count,
    );
    if let Some(error) = &status.deployment_error {
        let _ = write!(text, " error: {error}");
    }
    for r in &row.resources {
        let settle = time(r.settle_until);
        let _ = write!(text, " [{} {} settle {settle}", r.kind, r.state);
        if let Some(result) = r.cleanup_result {
            let _ = write!(text, " {result}");
        }
        if let Some(error) = r.last_error.as_ref().or(r.cleanup_error.as_ref()) {
            let _ = write!(text, " {error}");
        }
        text.push(']');
    }
    for c in &row.conditions {
        let c = &c.condition;
        let tells = match c.kind {
            ConditionType::Stalled | ConditionType::Held | ConditionType::Throttled => Truth::True,
            ConditionType::Reconciling => Truth::True,
            _ => continue,
        };
        if c.status == tells {
            let _ = write!(text, " {}={}: {}", c.kind, c.reason, c.message);
        }
    }
    text
}
