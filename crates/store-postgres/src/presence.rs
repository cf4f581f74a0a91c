//! Who is connected to the Hub, and the wake-ups that follow.
//!
//! Locks are taken in this order: the agent's row of `agent_source`, of `agent_work`, of `agent_presence`. A statement
//! over many agents passes over rows that somebody else has locked.

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgRow};
use talon_core::AgentId;
use talon_core::presence::Presence;
use talon_store::network::{PresenceStore, Registration, keepable};
use talon_store::{StoreError, StoreResult};
use uuid::Uuid;

use crate::PostgresStore;
use crate::error::{Work, retrying};
use crate::snapshot::{Sight, cell, sight};

/// The columns of `agent_presence p`, as [`read`] reads them, with an expression for the token's hash.
macro_rules! presence_columns {
    ($token_sha256:literal) => {
        concat!(
            "p.connected, p.connection_id, p.hub, ",
            $token_sha256,
            ", p.runtime, p.connected_at, p.last_seen, p.disconnected_at"
        )
    };
}
pub(crate) use presence_columns;

/// Selects `s.name` and [`presence_columns`], as far as the role may.
macro_rules! select {
    ($sight:expr, $from:literal) => {
        match $sight {
            Sight::Full => concat!(
                "SELECT s.name, ",
                presence_columns!("p.token_sha256"),
                $from
            ),
            Sight::WithoutTokens => {
                concat!(
                    "SELECT s.name, ",
                    presence_columns!("''::text AS token_sha256"),
                    $from
                )
            }
        }
    };
}

/// Reads [`presence_columns`].
pub(crate) fn read(row: &PgRow) -> StoreResult<Presence> {
    Ok(Presence {
        connected: cell(row, "connected")?,
        connection_id: cell(row, "connection_id")?,
        hub: cell(row, "hub")?,
        token_sha256: cell(row, "token_sha256")?,
        runtime: cell(row, "runtime")?,
        connected_at: cell(row, "connected_at")?,
        last_seen: cell(row, "last_seen")?,
        disconnected_at: cell(row, "disconnected_at")?,
    })
}

async fn connected(pool: &PgPool, id: AgentId, registration: &Registration) -> Work<()> {
    let stored = sqlx::query(
        "WITH agent AS MATERIALIZED (
             SELECT id FROM agent_source WHERE id = $1 AND deleted_at IS NULL FOR KEY SHARE
         ), due AS (
             UPDATE agent_work w SET woken = true, next_due_at = least(w.next_due_at, clock_timestamp())
             FROM agent WHERE w.agent_id = agent.id RETURNING w.agent_id
         ), stored AS (
             INSERT INTO agent_presence (agent_id, connected, connection_id, hub, token_sha256, runtime, connected_at,
                                         last_seen)
             SELECT agent_id, true, $2, $3, $4, $5, at, at FROM due, clock_timestamp() AS at
             ON CONFLICT (agent_id) DO UPDATE SET
                 connected = true, connection_id = EXCLUDED.connection_id, hub = EXCLUDED.hub,
                 token_sha256 = EXCLUDED.token_sha256, runtime = EXCLUDED.runtime,
                 connected_at = EXCLUDED.connected_at, last_seen = EXCLUDED.last_seen, disconnected_at = NULL
             RETURNING agent_id
         )
         SELECT pg_notify('talon', agent_id::text) FROM stored",
    )
    .bind(id.0)
    .bind(&registration.connection_id)
    .bind(&registration.hub)
    .bind(&registration.token_sha256)
    .bind(registration.runtime.as_deref().map(keepable).as_deref())
    .fetch_optional(pool)
    .await?;
    match stored {
        Some(_) => Ok(()),
        None => Err(StoreError::NotFound.into()),
    }
}

async fn seen(pool: &PgPool, seen: &[(AgentId, String)]) -> Work<()> {
    let (ids, connections): (Vec<Uuid>, Vec<&str>) =
        seen.iter().map(|(id, c)| (id.0, c.as_str())).unzip();
    // A row that is locked is just being written by a registration or an end, which matter more.
    sqlx::query(
        "WITH mine AS MATERIALIZED (
             SELECT p.agent_id
             FROM agent_presence p
             JOIN unnest($1::uuid[], $2::text[]) AS s (agent_id, connection_id) USING (agent_id, connection_id)
             WHERE p.connected FOR NO KEY UPDATE OF p SKIP LOCKED
         )
         UPDATE agent_presence p SET last_seen = greatest(p.last_seen, clock_timestamp())
         FROM mine WHERE p.agent_id = mine.agent_id",
    )
    .bind(&ids)
    .bind(&connections)
    .execute(pool)
    .await?;
    Ok(())
}

async fn disconnected(pool: &PgPool, id: AgentId, connection_id: &str) -> Work<bool> {
    // The row may have changed while the lock on agent_work was waited for: the second condition decides.
    let ended = sqlx::query(
        "WITH due AS (
             UPDATE agent_work w SET
                 woken = true,
                 next_due_at = CASE WHEN s.deleted_at IS NULL THEN least(w.next_due_at, clock_timestamp()) END
             FROM agent_presence p, agent_source s
             WHERE w.agent_id = $1 AND p.agent_id = w.agent_id AND s.id = w.agent_id
               AND p.connected AND p.connection_id = $2
             RETURNING w.agent_id
         ), ended AS (
             UPDATE agent_presence p SET connected = false, disconnected_at = clock_timestamp()
             FROM due WHERE p.agent_id = due.agent_id AND p.connected AND p.connection_id = $2
             RETURNING p.agent_id
         )
         SELECT pg_notify('talon', agent_id::text) FROM ended",
    )
    .bind(id.0)
    .bind(connection_id)
    .fetch_optional(pool)
    .await?;
    Ok(ended.is_some())
}

async fn hub_started(pool: &PgPool, hub: &str) -> Work<u64> {
    let mut tx = pool.begin().await?;
    let gone: i64 = sqlx::query_scalar(
        "WITH free AS MATERIALIZED (
             SELECT w.agent_id, s.deleted_at
             FROM agent_work w JOIN agent_presence p USING (agent_id) JOIN agent_source s ON s.id = w.agent_id
             WHERE p.hub = $1 AND p.connected FOR NO KEY UPDATE OF w SKIP LOCKED
         ), gone AS (
             UPDATE agent_presence p SET connected = false, disconnected_at = clock_timestamp()
             FROM free WHERE p.agent_id = free.agent_id AND p.hub = $1 AND p.connected
             RETURNING p.agent_id, free.deleted_at
         ), due AS (
             UPDATE agent_work w SET
                 woken = true,
                 next_due_at = CASE WHEN gone.deleted_at IS NULL THEN least(w.next_due_at, clock_timestamp()) END
             FROM gone WHERE w.agent_id = gone.agent_id RETURNING w.agent_id
         )
         SELECT count(*) FROM due",
    )
    .bind(hub)
    .fetch_one(&mut *tx)
    .await?;
    if gone > 0 {
        // No id: whoever listens looks for itself.
        sqlx::query("SELECT pg_notify('talon', '')")
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    let mut ended = u64::try_from(gone).unwrap_or(0);
    // Those whose row somebody else had locked, each alone.
    let left: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT agent_id, connection_id FROM agent_presence WHERE hub = $1 AND connected",
    )
    .bind(hub)
    .fetch_all(pool)
    .await?;
    for (id, connection_id) in left {
        ended += u64::from(disconnected(pool, AgentId(id), &connection_id).await?);
    }
    ended += sqlx::query(
        "WITH theirs AS MATERIALIZED (
             SELECT name FROM hosted_agent WHERE hub = $1 AND connected ORDER BY name FOR NO KEY UPDATE
         )
         UPDATE hosted_agent h SET connected = false FROM theirs WHERE h.name = theirs.name",
    )
    .bind(hub)
    .execute(pool)
    .await?
    .rows_affected();
    Ok(ended)
}

#[async_trait]
impl PresenceStore for PostgresStore {
    async fn agent_connected(&self, id: AgentId, registration: &Registration) -> StoreResult<()> {
        retrying(|| connected(&self.pool, id, registration)).await
    }

    async fn agents_seen(&self, seen_now: &[(AgentId, String)]) -> StoreResult<()> {
        if seen_now.is_empty() {
            return Ok(());
        }
        retrying(|| seen(&self.pool, seen_now)).await
    }

    async fn agent_disconnected(&self, id: AgentId, connection_id: &str) -> StoreResult<bool> {
        retrying(|| disconnected(&self.pool, id, connection_id)).await
    }

    async fn hub_started(&self, hub: &str) -> StoreResult<u64> {
        retrying(|| hub_started(&self.pool, hub)).await
    }

    async fn presence(&self, id: AgentId) -> StoreResult<Option<Presence>> {
        retrying(|| async {
            let mut connection = self.pool.acquire().await?;
            let row = sqlx::query(select!(
                sight(&mut connection, &self.sight).await?,
                " FROM agent_presence p JOIN agent_source s ON s.id = p.agent_id WHERE p.agent_id = $1"
            ))
            .bind(id.0)
            .fetch_optional(&mut *connection)
            .await?;
            Ok(row.as_ref().map(read).transpose()?)
        })
        .await
    }

    async fn online(&self) -> StoreResult<Vec<(String, Presence)>> {
        retrying(|| async {
            let mut connection = self.pool.acquire().await?;
            let rows = sqlx::query(select!(
                sight(&mut connection, &self.sight).await?,
                " FROM agent_presence p JOIN agent_source s ON s.id = p.agent_id
                  WHERE p.connected AND s.deleted_at IS NULL ORDER BY s.name COLLATE \"C\""
            ))
            .fetch_all(&mut *connection)
            .await?;
            let online: StoreResult<Vec<_>> = rows
                .iter()
                .map(|row| Ok((cell(row, "name")?, read(row)?)))
                .collect();
            Ok(online?)
        })
        .await
    }
}
