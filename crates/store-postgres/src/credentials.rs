//! Who may connect: managed agents, API keys, and the agents that people run themselves.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::postgres::{PgPool, PgRow};
use talon_core::AgentId;
use talon_core::presence::{ApiKey, HostedAgent, HubAgent};
use talon_store::network::{CredentialStore, HostedConnection, check_text, public_card};
use talon_store::{StoreResult, codes};

use crate::PostgresStore;
use crate::claims::secs;
use crate::error::{Work, retrying};
use crate::snapshot::{cell, word};

/// The columns of a key, without its hash.
macro_rules! key_columns {
    () => {
        "id, owner, label, created_at, expires_at, revoked_at"
    };
}

fn key(row: &PgRow) -> StoreResult<ApiKey> {
    Ok(ApiKey {
        id: cell(row, "id")?,
        owner: cell(row, "owner")?,
        label: cell(row, "label")?,
        created_at: cell(row, "created_at")?,
        expires_at: cell(row, "expires_at")?,
        revoked_at: cell(row, "revoked_at")?,
    })
}

fn hosted(row: &PgRow) -> StoreResult<HostedAgent> {
    Ok(HostedAgent {
        name: cell(row, "name")?,
        owner: cell(row, "owner")?,
        card: cell(row, "card")?,
        public: cell(row, "public")?,
        connected: cell(row, "connected")?,
        last_seen: cell(row, "last_seen")?,
    })
}

async fn hub_agent(pool: &PgPool, name: &str) -> Work<Option<HubAgent>> {
    let rows = sqlx::query(
        "SELECT s.id, s.owner, s.keep_alive, s.deletion_requested_at IS NOT NULL AS deleting, t.sha256, t.state
         FROM agent_source s LEFT JOIN agent_auth_token t ON t.agent_id = s.id AND t.state <> 'retired'
         WHERE s.name = $1 AND s.deleted_at IS NULL ORDER BY t.try COLLATE \"C\"",
    )
    .bind(name)
    .fetch_all(pool)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let mut tokens = Vec::new();
    for row in &rows {
        if let Some(sha256) = cell::<Option<String>>(row, "sha256")? {
            tokens.push((sha256, word(row, "state")?));
        }
    }
    Ok(Some(HubAgent {
        id: AgentId(cell(first, "id")?),
        owner: cell(first, "owner")?,
        deleting: cell(first, "deleting")?,
        keep_alive: cell(first, "keep_alive")?,
        tokens,
    }))
}

async fn create_key(
    pool: &PgPool,
    owner: &str,
    label: &str,
    sha256: &str,
    expires_in: Option<Duration>,
) -> Work<ApiKey> {
    let row = sqlx::query(concat!(
        "INSERT INTO agent_api_key (owner, label, sha256, created_at, expires_at)
         SELECT $1, $2, $3, at, at + make_interval(secs => $4) FROM clock_timestamp() AS at
         ON CONFLICT (sha256) DO NOTHING RETURNING ",
        key_columns!()
    ))
    .bind(owner)
    .bind(label)
    .bind(sha256)
    .bind(expires_in.map(secs))
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| codes::invalid("sha256: this API key is stored already"))?;
    Ok(key(&row)?)
}

async fn hosted_seen(pool: &PgPool, seen: &[(String, String)]) -> Work<()> {
    let (names, connections): (Vec<&str>, Vec<&str>) =
        seen.iter().map(|(n, c)| (n.as_str(), c.as_str())).unzip();
    // A row that is locked is just being written by a registration or an end, which matter more.
    sqlx::query(
        "WITH mine AS MATERIALIZED (
             SELECT h.name
             FROM hosted_agent h
             JOIN unnest($1::text[], $2::text[]) AS s (name, connection_id) USING (name, connection_id)
             WHERE h.connected FOR NO KEY UPDATE OF h SKIP LOCKED
         )
         UPDATE hosted_agent h SET last_seen = greatest(h.last_seen, clock_timestamp())
         FROM mine WHERE h.name = mine.name",
    )
    .bind(&names)
    .bind(&connections)
    .execute(pool)
    .await?;
    Ok(())
}

#[async_trait]
impl CredentialStore for PostgresStore {
    async fn hub_agent(&self, name: &str) -> StoreResult<Option<HubAgent>> {
        retrying(|| hub_agent(&self.pool, name)).await
    }

    async fn deleting_agents(&self) -> StoreResult<Vec<String>> {
        retrying(|| async {
            Ok(sqlx::query_scalar(
                "SELECT name FROM agent_source WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL
                 ORDER BY name COLLATE \"C\"",
            )
            .fetch_all(&self.pool)
            .await?)
        })
        .await
    }

    async fn create_api_key(
        &self,
        owner: &str,
        label: &str,
        sha256: &str,
        expires_in: Option<Duration>,
    ) -> StoreResult<ApiKey> {
        check_text("owner", owner)?;
        check_text("label", label)?;
        retrying(|| create_key(&self.pool, owner, label, sha256, expires_in)).await
    }

    async fn api_key(&self, sha256: &str) -> StoreResult<Option<ApiKey>> {
        retrying(|| async {
            let row = sqlx::query(concat!(
                "SELECT ",
                key_columns!(),
                " FROM agent_api_key WHERE sha256 = $1 AND revoked_at IS NULL
                  AND (expires_at IS NULL OR expires_at > clock_timestamp())"
            ))
            .bind(sha256)
            .fetch_optional(&self.pool)
            .await?;
            Ok(row.as_ref().map(key).transpose()?)
        })
        .await
    }

    async fn api_keys(&self, owner: Option<&str>) -> StoreResult<Vec<ApiKey>> {
        retrying(|| async {
            let rows = sqlx::query(concat!(
                "SELECT ",
                key_columns!(),
                " FROM agent_api_key WHERE $1::text IS NULL OR owner = $1 ORDER BY seq DESC"
            ))
            .bind(owner)
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(key).collect::<StoreResult<_>>()?)
        })
        .await
    }

    async fn revoke_api_key(&self, id: &str) -> StoreResult<bool> {
        retrying(|| async {
            let revoked = sqlx::query(
                "UPDATE agent_api_key SET revoked_at = clock_timestamp() WHERE id = $1 AND revoked_at IS NULL",
            )
            .bind(id)
            .execute(&self.pool)
            .await?;
            Ok(revoked.rows_affected() > 0)
        })
        .await
    }

    async fn hosted_connected(
        &self,
        name: &str,
        owner: &str,
        public: bool,
        card: Option<&Value>,
        connection: &HostedConnection,
    ) -> StoreResult<Option<HostedAgent>> {
        check_text("name", name)?;
        check_text("owner", owner)?;
        let card = card.map(|card| public_card(card).to_string());
        retrying(|| async {
            let row = sqlx::query(
                "INSERT INTO hosted_agent AS old (name, owner, public, connected, connection_id, hub, card, last_seen)
                 SELECT $1, $2, $3, true, $4, $5, $6::json, clock_timestamp()
                 WHERE NOT EXISTS (SELECT FROM agent_source WHERE name = $1 AND deleted_at IS NULL)
                 ON CONFLICT (name) DO UPDATE SET
                     public = EXCLUDED.public, connected = true, connection_id = EXCLUDED.connection_id,
                     hub = EXCLUDED.hub, last_seen = EXCLUDED.last_seen, card = coalesce(EXCLUDED.card, old.card)
                 WHERE old.owner = EXCLUDED.owner RETURNING *",
            )
            .bind(name)
            .bind(owner)
            .bind(public)
            .bind(&connection.connection_id)
            .bind(&connection.hub)
            .bind(&card)
            .fetch_optional(&self.pool)
            .await?;
            Ok(row.as_ref().map(hosted).transpose()?)
        })
        .await
    }

    async fn hosted_seen(&self, seen: &[(String, String)]) -> StoreResult<()> {
        if seen.is_empty() {
            return Ok(());
        }
        retrying(|| hosted_seen(&self.pool, seen)).await
    }

    async fn hosted_disconnected(&self, name: &str, connection_id: &str) -> StoreResult<bool> {
        retrying(|| async {
            let ended = sqlx::query(
                "UPDATE hosted_agent SET connected = false WHERE name = $1 AND connection_id = $2 AND connected",
            )
            .bind(name)
            .bind(connection_id)
            .execute(&self.pool)
            .await?;
            Ok(ended.rows_affected() > 0)
        })
        .await
    }

    async fn hosted(&self, name: &str) -> StoreResult<Option<HostedAgent>> {
        retrying(|| async {
            let row = sqlx::query(
                "SELECT h.* FROM hosted_agent h WHERE h.name = $1
                   AND NOT EXISTS (SELECT FROM agent_source s WHERE s.name = h.name AND s.deleted_at IS NULL)",
            )
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
            Ok(row.as_ref().map(hosted).transpose()?)
        })
        .await
    }

    async fn hosted_agents(&self) -> StoreResult<Vec<HostedAgent>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT h.* FROM hosted_agent h
                 WHERE NOT EXISTS (SELECT FROM agent_source s WHERE s.name = h.name AND s.deleted_at IS NULL)
                 ORDER BY h.name COLLATE \"C\"",
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(hosted).collect::<StoreResult<_>>()?)
        })
        .await
    }
}
