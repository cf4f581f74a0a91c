//! Tokens of the HTTP API, the audit log, and requests that may come twice.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use talon_core::Owner;
use talon_store::access::{
    AccessStore, ApiToken, Attempt, Attempted, Audit, KEEP_ATTEMPTS, NewAudit, NewToken, Outcome,
};
use talon_store::fleet::Actor;
use talon_store::network::check_text;
use talon_store::{StoreResult, codes};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::sql::{Columns, minus, now, now_plus, plus, time_text, unreadable};

fn token(row: &SqliteRow) -> StoreResult<ApiToken> {
    let c = Columns(row);
    Ok(ApiToken {
        id: c.text("id")?,
        label: c.text("label")?,
        role: c.word("role")?,
        owner: c.maybe_text("owner")?.map(Owner),
        created_at: c.time("created_at")?,
        expires_at: c.maybe_time("expires_at")?,
        last_used_at: c.maybe_time("last_used_at")?,
        revoked_at: c.maybe_time("revoked_at")?,
    })
}

fn audit(row: &SqliteRow) -> StoreResult<Audit> {
    let c = Columns(row);
    Ok(Audit {
        at: c.time("at")?,
        actor: c.text("actor")?,
        source: c.maybe_text("source")?,
        action: c.text("action")?,
        object: c.text("object")?,
        fields: serde_json::from_str(&c.text("fields")?).map_err(|_| unreadable("fields"))?,
    })
}

/// What is known of an attempt that was made before; `None` if it was given up.
fn known(row: &SqliteRow, attempt: &Attempt) -> StoreResult<Option<Attempted>> {
    let c = Columns(row);
    if c.text("request")? != attempt.request {
        return Ok(Some(Attempted::Another));
    }
    if let Some(agent) = c.maybe_text("agent")? {
        let status = u16::try_from(c.int("status")?).map_err(|_| unreadable("status"))?;
        return Ok(Some(Attempted::Done(Outcome { status, agent })));
    }
    Ok((!c.flag("given_up")?).then_some(Attempted::Running))
}

async fn note(connection: &mut SqliteConnection, attempt: &Attempt) -> StoreResult<()> {
    sqlx::query(concat!(
        "INSERT INTO api_attempt (caller, key, request, at) VALUES (?, ?, ?, ",
        now!(),
        ") ON CONFLICT (caller, key) DO UPDATE SET at = excluded.at"
    ))
    .bind(&attempt.caller)
    .bind(&attempt.key)
    .bind(&attempt.request)
    .execute(connection)
    .await
    .map_err(translate)?;
    Ok(())
}

#[async_trait]
impl AccessStore for SqliteStore {
    async fn create_token(&self, new: &NewToken) -> StoreResult<ApiToken> {
        check_text("label", &new.label)?;
        let mut tx = self.writing().await?;
        let row = sqlx::query(concat!(
            "INSERT INTO api_token (id, label, role, owner, sha256, created_at, expires_at)",
            " VALUES (lower(hex(randomblob(8))), ?, ?, ?, ?, ",
            now!(),
            // A NULL modifier makes the whole time NULL: it never expires.
            ", ",
            now_plus!(),
            ") ON CONFLICT (sha256) DO NOTHING RETURNING *"
        ))
        .bind(&new.label)
        .bind(new.role.as_str())
        .bind(new.owner.as_ref().map(|owner| owner.0.as_str()))
        .bind(&new.sha256)
        .bind(new.expires_in.map(plus))
        .fetch_optional(&mut *tx)
        .await
        .map_err(translate)?
        .ok_or_else(|| codes::invalid("sha256: this token is stored already"))?;
        done(tx).await?;
        token(&row)
    }

    async fn token(&self, sha256: &str) -> StoreResult<Option<ApiToken>> {
        let row = sqlx::query(concat!(
            "SELECT * FROM api_token WHERE sha256 = ? AND revoked_at IS NULL",
            " AND (expires_at IS NULL OR expires_at > ",
            now!(),
            ")"
        ))
        .bind(sha256)
        .fetch_optional(&self.readers)
        .await
        .map_err(translate)?;
        row.as_ref().map(token).transpose()
    }

    async fn tokens(&self, owner: Option<&Owner>) -> StoreResult<Vec<ApiToken>> {
        let owner = owner.map(|owner| owner.0.as_str());
        let rows =
            sqlx::query("SELECT * FROM api_token WHERE ?1 IS NULL OR owner = ?1 ORDER BY seq DESC")
                .bind(owner)
                .fetch_all(&self.readers)
                .await
                .map_err(translate)?;
        rows.iter().map(token).collect()
    }

    async fn revoke_token(&self, id: &str) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        let revoked = sqlx::query(concat!(
            "UPDATE api_token SET revoked_at = ",
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

    async fn token_used(&self, id: &str) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        sqlx::query(concat!(
            "UPDATE api_token SET last_used_at = max(coalesce(last_used_at, ''), ",
            now!(),
            ") WHERE id = ?"
        ))
        .bind(id)
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await
    }

    async fn attempt(&self, attempt: &Attempt, patience: Duration) -> StoreResult<Attempted> {
        let mut tx = self.writing().await?;
        sqlx::query(concat!("DELETE FROM api_attempt WHERE at <= ", now_plus!()))
            .bind(minus(KEEP_ATTEMPTS))
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        let row = sqlx::query(concat!(
            "SELECT request, status, agent, at <= ",
            now_plus!(),
            " AS given_up FROM api_attempt WHERE caller = ? AND key = ?"
        ))
        .bind(minus(patience))
        .bind(&attempt.caller)
        .bind(&attempt.key)
        .fetch_optional(&mut *tx)
        .await
        .map_err(translate)?;
        let before = row.map(|row| known(&row, attempt)).transpose()?.flatten();
        if before.is_none() {
            note(&mut tx, attempt).await?;
        }
        done(tx).await?;
        Ok(before.unwrap_or(Attempted::First))
    }

    async fn attempted(&self, attempt: &Attempt, outcome: Option<&Outcome>) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        let query = match outcome {
            None => sqlx::query("DELETE FROM api_attempt WHERE caller = ? AND key = ?"),
            Some(outcome) => sqlx::query(
                "UPDATE api_attempt SET status = ?, agent = ? WHERE caller = ? AND key = ?",
            )
            .bind(i64::from(outcome.status))
            .bind(&outcome.agent),
        };
        query
            .bind(&attempt.caller)
            .bind(&attempt.key)
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        done(tx).await
    }

    async fn audit(&self, actor: &Actor, entry: &NewAudit) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        let fields = serde_json::Value::from(entry.fields.clone()).to_string();
        sqlx::query(concat!(
            "INSERT INTO audit_log (at, actor, source, action, object, fields) VALUES (",
            now!(),
            ", ?, ?, ?, ?, ?)"
        ))
        .bind(&actor.name)
        .bind(&actor.source)
        .bind(&entry.action)
        .bind(&entry.object)
        .bind(fields)
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await
    }

    async fn audit_log(&self, limit: i64) -> StoreResult<Vec<Audit>> {
        let rows = sqlx::query("SELECT * FROM audit_log ORDER BY id DESC LIMIT ?")
            .bind(limit.max(0))
            .fetch_all(&self.readers)
            .await
            .map_err(translate)?;
        rows.iter().map(audit).collect()
    }

    async fn audit_about(
        &self,
        object: &str,
        since: DateTime<Utc>,
        limit: i64,
    ) -> StoreResult<Vec<Audit>> {
        let rows = sqlx::query(
            "SELECT * FROM audit_log WHERE object = ? AND at >= ? ORDER BY id DESC LIMIT ?",
        )
        .bind(object)
        .bind(time_text(since))
        .bind(limit.max(0))
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter().map(audit).collect()
    }
}
