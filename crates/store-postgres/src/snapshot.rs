//! Reading agents: the row and everything recorded about it, from one database snapshot.
//!
//! Hashes of auth tokens are read where the role may read them; for others they stand empty.
//!
//! A row whose columns do not decode into the typed spec still loads, with the violations named. A row that holds a
//! word this program does not know at all cannot be loaded; where many are read, it is left out and logged.

use std::collections::HashMap;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};
use talon_core::agent::{Agent, AgentStatus};
use talon_core::condition::{Condition, StoredCondition};
use talon_core::contact::Contact;
use talon_core::resource::ResourceRecord;
use talon_core::snapshot::{AuthTokenRecord, SecretRecord, Work as WorkRow};
use talon_core::{AgentId, AgentName, Epoch, Generation, Owner, Snapshot, TryId};
use talon_store::columns::{self, RawSpec};
use talon_store::fleet::{PageFilter, PagePlace};
use talon_store::{ListFilter, StoreError, StoreResult};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::error::Work;
use crate::presence::{self, presence_columns};

/// The spec columns of `agent_source s`, as [`raw_spec`] reads them.
macro_rules! spec_columns {
    () => {
        "s.display_name, s.description, s.display_description, s.persona, s.instructions, s.model, s.keep_alive, \
         s.visibility, s.api_key_refs, s.secrets_version, s.skills::text AS skills, s.wallet_address, \
         s.theme::text AS theme, s.avatar_url, s.cover_url, s.r2::text AS r2, s.suspend, s.deletion_policy, \
         s.deletion_protected"
    };
}

/// The status columns of `agent_source s`, as [`status`] reads them. With an expression: in place of the token's hash.
macro_rules! status_columns {
    () => {
        status_columns!("s.auth_token_hash")
    };
    ($auth_token_hash:literal) => {
        concat!(
            "s.deployment_status, s.deployment_error, s.observed_generation, s.worker_url, s.worker_name, \
             s.r2_bucket, s.r2_token_id, ",
            $auth_token_hash,
            ", s.has_anthropic_key, s.has_openai_key, s.identity_md, s.identity_sha256, s.first_deployed_at, \
             s.cloudflare_account, s.deleted_at"
        )
    };
}
pub(crate) use {spec_columns, status_columns};

/// Selects agents, as far as the role may; the caller adds WHERE and ORDER BY.
macro_rules! select_agents {
    ($sight:expr, $rest:expr) => {
        match $sight {
            Sight::Full => select_agents!(@ "s.auth_token_hash", "p.token_sha256", $rest),
            Sight::WithoutTokens => {
                select_agents!(@ "NULL::text AS auth_token_hash", "''::text AS token_sha256", $rest)
            }
        }
    };
    (@ $auth_token_hash:literal, $token_sha256:literal, $rest:expr) => {
        concat!(
            "SELECT s.id, s.name, s.owner, s.generation, ",
            spec_columns!(),
            ", s.deletion_requested_at, s.reconcile_requested_at, s.secret_ref_discarded_at, ",
            status_columns!($auth_token_hash),
            ", s.created_at, s.updated_at, clock_timestamp() AS read_at, w.next_due_at, \
             coalesce(w.failure_count, 0) AS failure_count, w.failing_since, \
             coalesce(w.throttled_seconds, 0) AS throttled_seconds, w.lease_owner, \
             coalesce(w.lease_epoch, 0) AS lease_epoch, w.lease_until, w.unclean_until, w.plan_report, ",
            presence_columns!($token_sha256),
            " FROM agent_source s LEFT JOIN agent_work w ON w.agent_id = s.id \
             LEFT JOIN agent_presence p ON p.agent_id = s.id ",
            $rest
        )
    };
}
pub(crate) use select_agents;

/// What the connecting role may read of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Everything, as the controller does.
    Full,
    /// Not the hashes of auth tokens: they stand empty. People who write specs have no use for them.
    WithoutTokens,
}

/// Asks the database once, and remembers the answer in `known`.
pub(crate) async fn sight(connection: &mut PgConnection, known: &OnceCell<Sight>) -> Work<Sight> {
    known
        .get_or_try_init(|| async {
            let full: bool = sqlx::query_scalar(
                "SELECT has_column_privilege('agent_source', 'auth_token_hash', 'SELECT')
                    AND has_table_privilege('agent_auth_token', 'SELECT')",
            )
            .fetch_one(connection)
            .await?;
            Ok(if full {
                Sight::Full
            } else {
                Sight::WithoutTokens
            })
        })
        .await
        .copied()
}

/// Everything about one agent.
pub(crate) async fn load(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    id: AgentId,
) -> Work<Option<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(sight, "WHERE s.id = $1"))
        .bind(id.0)
        .fetch_all(&mut *tx)
        .await?;
    let found = assemble(&mut tx, sight, rows).await?.pop();
    tx.commit().await?;
    Ok(found.transpose()?)
}

/// The living agent of that name, or else the one archived last.
pub(crate) async fn get(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    name: &str,
    include_archived: bool,
) -> Work<Option<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        "WHERE s.name = $1 AND (s.deleted_at IS NULL OR $2) ORDER BY s.deleted_at DESC NULLS FIRST LIMIT 1"
    ))
    .bind(name)
    .bind(include_archived)
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?.pop();
    tx.commit().await?;
    Ok(found.transpose()?)
}

/// Agents in name order, those of one name by age.
pub(crate) async fn list(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    filter: &ListFilter,
) -> Work<Vec<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        "WHERE ($1::text IS NULL OR s.deployment_status = $1) AND ($2::text IS NULL OR s.owner = $2) \
         AND (s.deleted_at IS NULL OR $3) ORDER BY s.name COLLATE \"C\", s.created_at, s.id"
    ))
    .bind(filter.status.map(|status| status.as_str()))
    .bind(filter.owner.as_ref().map(|owner| owner.0.as_str()))
    .bind(filter.include_archived)
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?;
    tx.commit().await?;
    Ok(readable(found))
}

/// Agents that are not archived, in id order, after `after`.
pub(crate) async fn page(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    after: Option<AgentId>,
    limit: i64,
) -> Work<Vec<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        "WHERE s.deleted_at IS NULL AND ($1::uuid IS NULL OR s.id > $1) ORDER BY s.id LIMIT $2"
    ))
    .bind(after.map(|id| id.0))
    .bind(limit.max(0))
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?;
    tx.commit().await?;
    Ok(readable(found))
}

/// Agents that fit, in the order of names (then ids), behind `after`.
pub(crate) async fn fleet(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    filter: &PageFilter,
    after: Option<&PagePlace>,
    limit: i64,
) -> Work<Vec<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        "WHERE ($1::text IS NULL OR s.deployment_status = $1) AND ($2::text IS NULL OR s.owner = $2) \
         AND (s.deleted_at IS NULL OR $3) AND ($4::text IS NULL \
              OR position(lower($4 COLLATE \"C\") in s.name) > 0 \
              OR position(lower($4 COLLATE \"C\") in lower(s.display_name COLLATE \"C\")) > 0) \
         AND ($5::text IS NULL OR (s.name COLLATE \"C\", s.id) > ($5, $6)) \
         ORDER BY s.name COLLATE \"C\", s.id LIMIT $7"
    ))
    .bind(filter.status.map(|status| status.as_str()))
    .bind(filter.owner.as_ref().map(|owner| owner.0.as_str()))
    .bind(filter.include_archived)
    .bind(filter.text.as_deref())
    .bind(after.map(|after| after.name.as_str()))
    .bind(after.map(|after| after.id.0))
    .bind(limit.max(0))
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?;
    tx.commit().await?;
    Ok(readable(found))
}

pub(crate) async fn read(pool: &PgPool) -> Work<sqlx::PgTransaction<'static>> {
    Ok(pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?)
}

pub(crate) fn readable(found: Vec<StoreResult<Snapshot>>) -> Vec<Snapshot> {
    found
        .into_iter()
        .filter_map(|one| {
            one.inspect_err(
                |error| tracing::error!(%error, "an agent cannot be read and is left out"),
            )
            .ok()
        })
        .collect()
}

/// Adds what is recorded about each row.
pub(crate) async fn assemble(
    connection: &mut PgConnection,
    sight: Sight,
    rows: Vec<PgRow>,
) -> Work<Vec<StoreResult<Snapshot>>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = rows
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<_, _>>()?;
    let mut resources = children(
        sqlx::query("SELECT * FROM agent_resource WHERE agent_id = ANY ($1)")
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?,
        resource,
    )?;
    let mut secrets = children(
        sqlx::query(
            "SELECT * FROM agent_secret WHERE agent_id = ANY ($1) ORDER BY name COLLATE \"C\"",
        )
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await?,
        secret,
    )?;
    let mut tokens = match sight {
        Sight::Full => children(
            sqlx::query(
                "SELECT * FROM agent_auth_token WHERE agent_id = ANY ($1) ORDER BY try COLLATE \"C\"",
            )
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?,
            auth_token,
        )?,
        Sight::WithoutTokens => ByAgent::new(),
    };
    let mut conditions = children(
        sqlx::query("SELECT * FROM agent_condition WHERE agent_id = ANY ($1)")
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?,
        condition,
    )?;
    let mut contacts = children(
        sqlx::query("SELECT * FROM agent_contact WHERE agent_id = ANY ($1)")
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?,
        contact,
    )?;
    Ok(ids
        .iter()
        .zip(&rows)
        .map(|(id, row)| {
            let mut resources = resources.remove(id).unwrap_or(Ok(Vec::new()))?;
            resources.sort_by_key(|record| record.kind);
            let mut conditions = conditions.remove(id).unwrap_or(Ok(Vec::new()))?;
            conditions.sort_by_key(|stored| stored.condition.kind);
            Ok(Snapshot {
                now: cell(row, "read_at")?,
                agent: agent(row)?,
                work: work(row)?,
                resources,
                secrets: secrets.remove(id).unwrap_or(Ok(Vec::new()))?,
                auth_tokens: tokens.remove(id).unwrap_or(Ok(Vec::new()))?,
                conditions,
                presence: cell::<Option<&str>>(row, "connection_id")?
                    .map(|_| presence::read(row))
                    .transpose()?,
                contact: contacts
                    .remove(id)
                    .transpose()?
                    .and_then(|mut one| one.pop()),
            })
        })
        .collect())
}

type ByAgent<T> = HashMap<Uuid, StoreResult<Vec<T>>>;

/// Groups child rows by agent; a row that cannot be read spoils its own agent only.
fn children<T>(rows: Vec<PgRow>, read: fn(&PgRow) -> StoreResult<T>) -> Work<ByAgent<T>> {
    let mut by_agent = ByAgent::new();
    for row in rows {
        let id: Uuid = row.try_get("agent_id")?;
        let list = by_agent.entry(id).or_insert_with(|| Ok(Vec::new()));
        match (list.as_mut(), read(&row)) {
            (Ok(list), Ok(one)) => list.push(one),
            (Ok(_), Err(error)) => *list = Err(error),
            (Err(_), _) => {}
        }
    }
    Ok(by_agent)
}

fn agent(row: &PgRow) -> StoreResult<Agent> {
    let (spec, violations) = columns::decode(raw_spec(row)?);
    let name: String = cell(row, "name")?;
    Ok(Agent {
        id: AgentId(cell(row, "id")?),
        name: AgentName::parse(&name).map_err(|_| unreadable("name"))?,
        owner: Owner(cell(row, "owner")?),
        generation: Generation(cell(row, "generation")?),
        spec,
        violations,
        deletion_requested_at: cell(row, "deletion_requested_at")?,
        reconcile_requested_at: cell(row, "reconcile_requested_at")?,
        secret_ref_discarded_at: cell(row, "secret_ref_discarded_at")?,
        status: status(row)?,
        created_at: cell(row, "created_at")?,
        updated_at: cell(row, "updated_at")?,
    })
}

/// The columns of [`spec_columns`].
pub(crate) fn raw_spec(row: &PgRow) -> StoreResult<RawSpec> {
    Ok(RawSpec {
        display_name: cell(row, "display_name")?,
        description: cell(row, "description")?,
        display_description: cell(row, "display_description")?,
        persona: cell(row, "persona")?,
        instructions: cell(row, "instructions")?,
        model: cell(row, "model")?,
        keep_alive: cell(row, "keep_alive")?,
        visibility: cell(row, "visibility")?,
        api_key_refs: cell(row, "api_key_refs")?,
        secrets_version: cell(row, "secrets_version")?,
        skills: cell(row, "skills")?,
        wallet_address: cell(row, "wallet_address")?,
        theme: cell(row, "theme")?,
        avatar_url: cell(row, "avatar_url")?,
        cover_url: cell(row, "cover_url")?,
        r2: cell(row, "r2")?,
        suspend: cell(row, "suspend")?,
        deletion_policy: cell(row, "deletion_policy")?,
        deletion_protected: cell(row, "deletion_protected")?,
    })
}

/// The columns of [`status_columns`].
pub(crate) fn status(row: &PgRow) -> StoreResult<AgentStatus> {
    Ok(AgentStatus {
        deployment_status: word(row, "deployment_status")?,
        deployment_error: cell(row, "deployment_error")?,
        observed_generation: Generation(cell(row, "observed_generation")?),
        worker_url: cell(row, "worker_url")?,
        worker_name: cell(row, "worker_name")?,
        r2_bucket: cell(row, "r2_bucket")?,
        r2_token_id: cell(row, "r2_token_id")?,
        auth_token_hash: cell(row, "auth_token_hash")?,
        has_anthropic_key: cell(row, "has_anthropic_key")?,
        has_openai_key: cell(row, "has_openai_key")?,
        identity_md: cell(row, "identity_md")?,
        identity_sha256: cell(row, "identity_sha256")?,
        first_deployed_at: cell(row, "first_deployed_at")?,
        cloudflare_account: cell(row, "cloudflare_account")?,
        deleted_at: cell(row, "deleted_at")?,
    })
}

fn work(row: &PgRow) -> StoreResult<WorkRow> {
    Ok(WorkRow {
        next_due_at: cell(row, "next_due_at")?,
        failure_count: cell(row, "failure_count")?,
        failing_since: cell(row, "failing_since")?,
        throttled_seconds: cell(row, "throttled_seconds")?,
        lease_owner: cell(row, "lease_owner")?,
        lease_epoch: Epoch(cell(row, "lease_epoch")?),
        lease_until: cell(row, "lease_until")?,
        unclean_until: cell(row, "unclean_until")?,
        plan_report: cell(row, "plan_report")?,
    })
}

/// A row of `agent_resource`.
pub(crate) fn resource(row: &PgRow) -> StoreResult<ResourceRecord> {
    Ok(ResourceRecord {
        kind: word(row, "kind")?,
        name: cell(row, "name")?,
        external_id: cell(row, "external_id")?,
        try_id: cell::<Option<String>>(row, "try")?
            .map(|t| try_id(&t))
            .transpose()?,
        state: word(row, "state")?,
        desired_hash: cell(row, "desired_hash")?,
        observed_hash: cell(row, "observed_hash")?,
        version_id: cell(row, "version_id")?,
        attempts: cell(row, "attempts")?,
        last_error: cell(row, "last_error")?,
        intent_at: cell(row, "intent_at")?,
        settle_until: cell(row, "settle_until")?,
        confirmed_at: cell(row, "confirmed_at")?,
        cleanup_result: cell::<Option<String>>(row, "cleanup_result")?
            .map(|w| w.parse().map_err(|_| unreadable("cleanup_result")))
            .transpose()?,
        cleanup_error: cell(row, "cleanup_error")?,
        cleaned_at: cell(row, "cleaned_at")?,
    })
}

fn secret(row: &PgRow) -> StoreResult<SecretRecord> {
    Ok(SecretRecord {
        name: cell(row, "name")?,
        provider: cell(row, "provider")?,
        source: word(row, "source")?,
        reference: cell(row, "reference")?,
        state: word(row, "state")?,
        fingerprint: cell(row, "fingerprint")?,
        pushed_at: cell(row, "pushed_at")?,
    })
}

fn auth_token(row: &PgRow) -> StoreResult<AuthTokenRecord> {
    let tried: String = cell(row, "try")?;
    Ok(AuthTokenRecord {
        try_id: try_id(&tried)?,
        sha256: cell(row, "sha256")?,
        state: word(row, "state")?,
        created_at: cell::<DateTime<Utc>>(row, "created_at")?,
    })
}

fn contact(row: &PgRow) -> StoreResult<Contact> {
    Ok(Contact {
        mark: cell(row, "mark")?,
        tries: cell(row, "tries")?,
        tried_at: cell(row, "tried_at")?,
        answered_at: cell(row, "answered_at")?,
        problem: cell(row, "problem")?,
        repairs: cell(row, "repairs")?,
        // Another program's spelling is no reason to lose the agent: the next answer tells it again.
        try_id: cell::<Option<&str>>(row, "try")?.and_then(TryId::parse),
        runtime: cell(row, "runtime")?,
    })
}

fn condition(row: &PgRow) -> StoreResult<StoredCondition> {
    Ok(StoredCondition {
        condition: Condition {
            kind: word(row, "type")?,
            status: word(row, "status")?,
            reason: word(row, "reason")?,
            message: cell(row, "message")?,
            observed_generation: Generation(cell(row, "observed_generation")?),
        },
        last_transition_at: cell(row, "last_transition_at")?,
    })
}

/// One column.
pub(crate) fn cell<'r, T>(row: &'r PgRow, column: &'static str) -> StoreResult<T>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(|_| unreadable(column))
}

/// One column that holds one of a closed set of words.
pub(crate) fn word<T: FromStr>(row: &PgRow, column: &'static str) -> StoreResult<T> {
    let text: &str = cell(row, column)?;
    text.parse().map_err(|_| unreadable(column))
}

fn try_id(text: &str) -> StoreResult<TryId> {
    TryId::parse(text).ok_or_else(|| unreadable("try"))
}

fn unreadable(column: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "column {column} holds something this program does not know"
    ))
}
