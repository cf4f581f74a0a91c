//! What the tests are written with.

use sqlx::{AssertSqlSafe, Executor, PgConnection};
use talon_core::{AgentId, AgentName, Owner, Snapshot};
use talon_store::conformance::support::spec;
use talon_store::{ApplyOptions, Claim, Store};
use talon_store_postgres::PostgresStore;

use crate::harness::{Role, TestDatabase};

/// The contract's first example.
pub const FIRST_ROW: &str =
    "INSERT INTO agent_source (name, persona, instructions, model, api_key_refs)
     VALUES ('research-pro', 'You are a careful research analyst.', 'Cite every claim.',
             'anthropic/claude-sonnet-4-6', '{\"anthropic\":\"env:TALON_SECRET_ANTHROPIC\"}')";

/// Something that looks like a key and stands nowhere else.
pub const CANARY: &str = "sk-ant-api03-CANARYq7Zk2Vd9Lw";

pub fn name(text: &str) -> AgentName {
    AgentName::parse(text).expect("a name")
}

pub async fn create(store: &PostgresStore, agent: &str) -> AgentId {
    store
        .apply(
            &name(agent),
            &Owner::default(),
            &spec(),
            ApplyOptions::default(),
        )
        .await
        .expect("created")
        .id
}

pub async fn snap(store: &PostgresStore, id: AgentId) -> Snapshot {
    store.load(id).await.expect("loaded").expect("a row")
}

pub async fn claim(store: &PostgresStore, id: AgentId) -> Claim {
    let claims = store
        .claim_due("tests", std::time::Duration::from_secs(600), 1000)
        .await
        .expect("claims");
    claims
        .into_iter()
        .find(|c| c.agent_id == id)
        .expect("due and not leased")
}

/// Runs statements; returns how many rows the last one touched, or its SQLSTATE and message.
pub async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, (String, String)> {
    match connection.execute(AssertSqlSafe(sql)).await {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => {
            let error = error
                .into_database_error()
                .expect("an answer of the server");
            Err((
                error.code().expect("a SQLSTATE").into_owned(),
                error.message().to_owned(),
            ))
        }
    }
}

/// Asserts that a statement is refused with this SQLSTATE; returns the message.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, (String, String)>, sqlstate: &str) -> String {
    match result {
        Err((code, message)) if code == sqlstate => message,
        other => panic!("expected {sqlstate}, got {other:?}"),
    }
}

/// A database with the contract's first row, latched as deployed if wanted.
pub async fn with_first_row(database: &TestDatabase<'_>, deployed: bool) -> PgConnection {
    let mut admin = database.connect(Role::Admin).await;
    run(&mut admin, FIRST_ROW).await.expect("the first row");
    if deployed {
        run(
            &mut admin,
            "UPDATE agent_source SET first_deployed_at = now(), identity_md = 'x'",
        )
        .await
        .expect("latched");
    }
    admin
}
