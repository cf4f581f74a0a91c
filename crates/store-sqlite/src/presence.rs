//! Who is connected to the Hub, and the wake-ups that follow.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use talon_core::AgentId;
use talon_core::presence::Presence;
use talon_store::network::{PresenceStore, Registration, keepable};
use talon_store::{StoreError, StoreResult};

use crate::error::translate;
use crate::gather::Write;
use crate::open::{SqliteStore, done};
use crate::sql::{Columns, now};

/// The columns of `agent_presence p`, as [`read`] reads them.
macro_rules! presence_columns {
    () => {
        "p.connected, p.connection_id, p.hub, p.token_sha256, p.runtime, p.connected_at, p.last_seen, p.disconnected_at"
    };
}
pub(crate) use presence_columns;

/// Reads [`presence_columns`].
pub(crate) fn read(c: &Columns<'_>) -> StoreResult<Presence> {
    Ok(Presence {
        connected: c.flag("connected")?,
        connection_id: c.text("connection_id")?,
        hub: c.text("hub")?,
        token_sha256: c.text("token_sha256")?,
        runtime: c.maybe_text("runtime")?,
        connected_at: c.time("connected_at")?,
        last_seen: c.time("last_seen")?,
        disconnected_at: c.maybe_time("disconnected_at")?,
    })
}

/// Makes agents (a JSON array of ids) due now, and again when the pass that may be under way ends.
async fn wake(db: &mut SqliteConnection, ids: String) -> StoreResult<()> {
    sqlx::query(concat!(
        "UPDATE agent_work SET woken = 1, next_due_at = CASE WHEN next_due_at <= ",
        now!(),
        " THEN next_due_at ELSE ",
        now!(),
        " END WHERE agent_id IN (SELECT value FROM json_each(?))",
        " AND agent_id IN (SELECT id FROM agent_source WHERE deleted_at IS NULL)"
    ))
    .bind(ids)
    .execute(db)
    .await
    .map_err(translate)?;
    Ok(())
}

fn json_list(ids: Vec<String>) -> String {
    serde_json::Value::from(ids).to_string()
}

struct Connected {
    id: AgentId,
    registration: Registration,
}

#[async_trait]
impl Write for Connected {
    type Answer = ();

    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<()> {
        let registration = &self.registration;
        let stored = sqlx::query(concat!(
            "INSERT INTO agent_presence (agent_id, connected, connection_id, hub, token_sha256, runtime, connected_at,",
            " last_seen) SELECT id, 1, ?, ?, ?, ?, ",
            now!(),
            ", ",
            now!(),
            " FROM agent_source WHERE id = ? AND deleted_at IS NULL",
            " ON CONFLICT (agent_id) DO UPDATE SET connected = 1, connection_id = excluded.connection_id,",
            " hub = excluded.hub, token_sha256 = excluded.token_sha256, runtime = excluded.runtime,",
            " connected_at = excluded.connected_at, last_seen = excluded.last_seen, disconnected_at = NULL"
        ))
        .bind(&registration.connection_id)
        .bind(&registration.hub)
        .bind(&registration.token_sha256)
        .bind(registration.runtime.as_deref().map(keepable).as_deref())
        .bind(self.id.to_string())
        .execute(&mut *db)
        .await
        .map_err(translate)?;
        if stored.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        wake(db, json_list(vec![self.id.to_string()])).await
    }
}

struct Disconnected {
    id: AgentId,
    connection_id: String,
}

#[async_trait]
impl Write for Disconnected {
    type Answer = bool;

    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<bool> {
        let ended = sqlx::query(concat!(
            "UPDATE agent_presence SET connected = 0, disconnected_at = ",
            now!(),
            " WHERE agent_id = ? AND connection_id = ? AND connected = 1"
        ))
        .bind(self.id.to_string())
        .bind(&self.connection_id)
        .execute(&mut *db)
        .await
        .map_err(translate)?;
        if ended.rows_affected() == 0 {
            return Ok(false);
        }
        wake(db, json_list(vec![self.id.to_string()])).await?;
        Ok(true)
    }
}

#[async_trait]
impl PresenceStore for SqliteStore {
    async fn agent_connected(&self, id: AgentId, registration: &Registration) -> StoreResult<()> {
        let registration = registration.clone();
        self.gather.write(Connected { id, registration }).await?;
        self.watch.announce();
        Ok(())
    }

    async fn agents_seen(&self, seen: &[(AgentId, String)]) -> StoreResult<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = seen
            .iter()
            .map(|(id, connection)| serde_json::json!([id.to_string(), connection]))
            .collect();
        let mut tx = self.writing().await?;
        sqlx::query(concat!(
            "UPDATE agent_presence SET last_seen = max(last_seen, ",
            now!(),
            ") FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS connection FROM json_each(?))",
            " WHERE agent_id = id AND connection_id = connection AND connected = 1"
        ))
        .bind(serde_json::Value::from(pairs).to_string())
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await
    }

    async fn agent_disconnected(&self, id: AgentId, connection_id: &str) -> StoreResult<bool> {
        let connection_id = connection_id.to_owned();
        let ended = self
            .gather
            .write(Disconnected { id, connection_id })
            .await?;
        if ended {
            self.watch.announce();
        }
        Ok(ended)
    }

    async fn hub_started(&self, hub: &str) -> StoreResult<u64> {
        let mut tx = self.writing().await?;
        let gone: Vec<String> = sqlx::query_scalar(concat!(
            "UPDATE agent_presence SET connected = 0, disconnected_at = ",
            now!(),
            " WHERE hub = ? AND connected = 1 RETURNING agent_id"
        ))
        .bind(hub)
        .fetch_all(&mut *tx)
        .await
        .map_err(translate)?;
        let hosted =
            sqlx::query("UPDATE hosted_agent SET connected = 0 WHERE hub = ? AND connected = 1")
                .bind(hub)
                .execute(&mut *tx)
                .await
                .map_err(translate)?
                .rows_affected();
        let ended = gone.len() as u64 + hosted;
        if ended > 0 {
            wake(&mut tx, json_list(gone)).await?;
            done(tx).await?;
            self.watch.announce();
        }
        Ok(ended)
    }

    async fn presence(&self, id: AgentId) -> StoreResult<Option<Presence>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            presence_columns!(),
            " FROM agent_presence p WHERE p.agent_id = ?"
        ))
        .bind(id.to_string())
        .fetch_optional(&self.readers)
        .await
        .map_err(translate)?;
        row.as_ref().map(|row| read(&Columns(row))).transpose()
    }

    async fn online(&self) -> StoreResult<Vec<(String, Presence)>> {
        let rows = sqlx::query(concat!(
            "SELECT s.name, ",
            presence_columns!(),
            " FROM agent_presence p JOIN agent_source s ON s.id = p.agent_id",
            " WHERE p.connected = 1 AND s.deleted_at IS NULL ORDER BY s.name"
        ))
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter()
            .map(|row| {
                let c = Columns(row);
                Ok((c.text("name")?, read(&c)?))
            })
            .collect()
    }
}
