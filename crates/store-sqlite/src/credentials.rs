//! Who may connect: managed agents, API keys, and the agents that people run themselves.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use talon_core::presence::{ApiKey, HostedAgent, HubAgent};
use talon_store::network::{CredentialStore, HostedConnection, check_text, public_card};
use talon_store::{StoreResult, codes};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::sql::{Columns, now, now_plus, plus, unreadable};

fn key(row: &SqliteRow) -> StoreResult<ApiKey> {
    let c = Columns(row);
    Ok(ApiKey {
        id: c.text("id")?,
        owner: c.text("owner")?,
        label: c.text("label")?,
        created_at: c.time("created_at")?,
        expires_at: c.maybe_time("expires_at")?,
        revoked_at: c.maybe_time("revoked_at")?,
    })
}

fn hosted(row: &SqliteRow) -> StoreResult<HostedAgent> {
    let c = Columns(row);
    Ok(HostedAgent {
        name: c.text("name")?,
        owner: c.text("owner")?,
        card: c
            .maybe_text("card")?
            .map(|text| serde_json::from_str(&text).map_err(|_| unreadable("card")))
            .transpose()?,
        public: c.flag("public")?,
        connected: c.flag("connected")?,
        last_seen: c.time("last_seen")?,
    })
}

/// Self-hosted agents whose name no live managed agent has.
macro_rules! select_hosted {
    () => {
        "SELECT h.* FROM hosted_agent h
         WHERE NOT EXISTS (SELECT 1 FROM agent_source s WHERE s.name = h.name AND s.deleted_at IS NULL)"
    };
}

#[async_trait]
impl CredentialStore for SqliteStore {
    async fn hub_agent(&self, name: &str) -> StoreResult<Option<HubAgent>> {
        let mut tx = self.reading().await?;
        let row = sqlx::query(
            "SELECT id, owner, keep_alive, deletion_requested_at IS NOT NULL AS deleting
             FROM agent_source WHERE name = ? AND deleted_at IS NULL",
        )
        .bind(name)
        .fetch_optional(&mut *tx)
        .await
        .map_err(translate)?;
        let Some(row) = row else {
            return Ok(None);
        };
        let agent = Columns(&row);
        let tokens = sqlx::query(
            "SELECT sha256, state FROM agent_auth_token WHERE agent_id = ? AND state <> 'retired' ORDER BY try",
        )
        .bind(agent.text("id")?)
        .fetch_all(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        Ok(Some(HubAgent {
            id: agent.word("id")?,
            owner: agent.text("owner")?,
            deleting: agent.flag("deleting")?,
            keep_alive: agent.flag("keep_alive")?,
            tokens: tokens
                .iter()
                .map(|row| {
                    let c = Columns(row);
                    Ok((c.text("sha256")?, c.word("state")?))
                })
                .collect::<StoreResult<_>>()?,
        }))
    }

    async fn deleting_agents(&self) -> StoreResult<Vec<String>> {
        sqlx::query_scalar(
            "SELECT name FROM agent_source WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL ORDER BY name",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(translate)
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
        let mut tx = self.writing().await?;
        let row = sqlx::query(concat!(
            "INSERT INTO agent_api_key (id, owner, label, sha256, created_at, expires_at)",
            " VALUES (lower(hex(randomblob(8))), ?, ?, ?, ",
            now!(),
            // A NULL modifier makes the whole time NULL: it never expires.
            ", ",
            now_plus!(),
            ") ON CONFLICT (sha256) DO NOTHING RETURNING *"
        ))
        .bind(owner)
        .bind(label)
        .bind(sha256)
        .bind(expires_in.map(plus))
        .fetch_optional(&mut *tx)
        .await
        .map_err(translate)?
        .ok_or_else(|| codes::invalid("sha256: this API key is stored already"))?;
        done(tx).await?;
        key(&row)
    }

    async fn api_key(&self, sha256: &str) -> StoreResult<Option<ApiKey>> {
        let row = sqlx::query(concat!(
            "SELECT * FROM agent_api_key WHERE sha256 = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ",
            now!(),
            ")"
        ))
        .bind(sha256)
        .fetch_optional(&self.readers)
        .await
        .map_err(translate)?;
        row.as_ref().map(key).transpose()
    }

    async fn api_keys(&self, owner: Option<&str>) -> StoreResult<Vec<ApiKey>> {
        let rows = sqlx::query(
            "SELECT * FROM agent_api_key WHERE ?1 IS NULL OR owner = ?1 ORDER BY seq DESC",
        )
        .bind(owner)
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter().map(key).collect()
    }

    async fn revoke_api_key(&self, id: &str) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let revoked = sqlx::query(concat!(
            "UPDATE agent_api_key SET revoked_at = ",
            now!(),
            " WHERE id = ? AND revoked_at IS NULL"
        ))
        .bind(id)
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        Ok(revoked.rows_affected() > 0)
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
        let mut tx = self.writing().await?;
        let row = sqlx::query(concat!(
            "INSERT INTO hosted_agent (name, owner, public, connected, connection_id, hub, card, last_seen)",
            " SELECT ?1, ?2, ?3, 1, ?4, ?5, ?6, ",
            now!(),
            " WHERE NOT EXISTS (SELECT 1 FROM agent_source WHERE name = ?1 AND deleted_at IS NULL)",
            " ON CONFLICT (name) DO UPDATE SET public = excluded.public, connected = 1,",
            " connection_id = excluded.connection_id, hub = excluded.hub, last_seen = excluded.last_seen,",
            " card = coalesce(excluded.card, card) WHERE owner = excluded.owner RETURNING *"
        ))
        .bind(name)
        .bind(owner)
        .bind(public)
        .bind(&connection.connection_id)
        .bind(&connection.hub)
        .bind(card.map(|card| public_card(card).to_string()))
        .fetch_optional(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        row.as_ref().map(hosted).transpose()
    }

    async fn hosted_seen(&self, seen: &[(String, String)]) -> StoreResult<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = seen
            .iter()
            .map(|(name, connection)| serde_json::json!([name, connection]))
            .collect();
        let mut tx = self.writing().await?;
        sqlx::query(concat!(
            "UPDATE hosted_agent SET last_seen = max(last_seen, ",
            now!(),
            ") FROM (SELECT json_extract(value, '$[0]') AS agent, json_extract(value, '$[1]') AS connection FROM json_each(?))",
            " WHERE name = agent AND connection_id = connection AND connected = 1"
        ))
        .bind(Value::from(pairs).to_string())
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await
    }

    async fn hosted_disconnected(&self, name: &str, connection_id: &str) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let ended = sqlx::query(
            "UPDATE hosted_agent SET connected = 0 WHERE name = ? AND connection_id = ? AND connected = 1",
        )
        .bind(name)
        .bind(connection_id)
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        Ok(ended.rows_affected() > 0)
    }

    async fn hosted(&self, name: &str) -> StoreResult<Option<HostedAgent>> {
        let row = sqlx::query(concat!(select_hosted!(), " AND h.name = ?"))
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(translate)?;
        row.as_ref().map(hosted).transpose()
    }

    async fn hosted_agents(&self) -> StoreResult<Vec<HostedAgent>> {
        let rows = sqlx::query(concat!(select_hosted!(), " ORDER BY h.name"))
            .fetch_all(&self.readers)
            .await
            .map_err(translate)?;
        rows.iter().map(hosted).collect()
    }
}
