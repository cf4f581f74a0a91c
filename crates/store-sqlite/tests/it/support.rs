//! A database file made by the store, and the system's `sqlite3` on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use talon_core::mutation::Mutation;
use talon_core::{AgentId, AgentName, Generation, Owner, Snapshot};
use talon_store::conformance::support::spec;
use talon_store::{ApplyOptions, Claim, Store};
use talon_store_sqlite::SqliteStore;

pub(crate) struct Database {
    pub(crate) store: SqliteStore,
    pub(crate) file: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talon.db");
        let url = format!("sqlite://{}", file.display());
        SqliteStore::migrate(&url).await.unwrap();
        let store = SqliteStore::open(&url).await.unwrap();
        Self {
            store,
            file,
            folder,
        }
    }

    /// Runs statements in the system's `sqlite3`; what it prints, or what it says of an error.
    pub(crate) fn sql(&self, statements: &str) -> Result<String, String> {
        sqlite3(&self.file, statements)
    }

    #[track_caller]
    pub(crate) fn ok(&self, statements: &str) -> String {
        self.sql(statements).unwrap()
    }

    /// The statements must be refused with this code and leave every agent as it was.
    #[track_caller]
    pub(crate) fn refused(&self, statements: &str, code: &str) {
        const ALL: &str =
            "SELECT * FROM agent_source ORDER BY seq; SELECT * FROM agent_registry ORDER BY seq;
            SELECT max(seq) FROM agent_change; SELECT writing FROM talon_internal";
        let before = self.ok(ALL);
        let said = self.sql(statements).expect_err(statements);
        assert!(said.contains(code), "{statements}\nsaid {said}");
        assert_eq!(self.ok(ALL), before, "{statements}");
    }

    /// An agent written by hand.
    #[track_caller]
    pub(crate) fn insert(&self, name: &str) {
        self.ok(&format!(
            "INSERT INTO agent_source (name, persona, instructions, model) VALUES ('{name}', 'p', 'i', 'anthropic/m')"
        ));
    }

    pub(crate) async fn create(&self, name: &str) -> AgentId {
        let name = AgentName::parse(name).unwrap();
        self.store
            .apply(&name, &Owner::default(), &spec(), ApplyOptions::default())
            .await
            .unwrap()
            .id
    }

    pub(crate) async fn get(&self, name: &str) -> Snapshot {
        self.store.get(name, false).await.unwrap().unwrap()
    }

    /// Claims what is due and returns the claim on this agent.
    pub(crate) async fn claim(&self, id: AgentId) -> Claim {
        let lease = std::time::Duration::from_secs(600);
        let claims = self.store.claim_due("test", lease, 100).await.unwrap();
        claims.into_iter().find(|c| c.agent_id == id).unwrap()
    }

    /// Creates an agent that counts as deployed.
    pub(crate) async fn latched(&self, name: &str) -> (AgentId, Claim) {
        let id = self.create(name).await;
        let claim = self.claim(id).await;
        let latch = Mutation::Latch {
            generation: Generation(1),
        };
        assert!(self.store.commit(&claim, &[latch]).await.unwrap().latched);
        (id, claim)
    }
}

pub(crate) fn sqlite3(file: &Path, statements: &str) -> Result<String, String> {
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need the system's sqlite3: apt-get install sqlite3");
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, ".timeout 10000\n{statements}\n;").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if output.status.success() && output.stderr.is_empty() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
