//! Tokens of the HTTP API, the audit log, and requests that may come twice.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgPool, PgRow};
use talon_core::Owner;
use talon_store::access::{
    AccessStore, ApiToken, Attempt, Attempted, Audit, KEEP_ATTEMPTS, NewAudit, NewToken, Outcome,
};
use talon_store::fleet::Actor;
use talon_store::network::check_text;
use talon_store::{StoreError, StoreResult, codes};

use crate::PostgresStore;
use crate::claims::secs;
use crate::error::{Work, retrying};
use crate::snapshot::{cell, word};

fn token(row: &PgRow) -> StoreResult<ApiToken> {
    Ok(ApiToken {
        id: cell(row, "id")?,
        label: cell(row, "label")?,
        role: word(row, "role")?,
        owner: cell::<Option<String>>(row, "owner")?.map(Owner),
        created_at: cell(row, "created_at")?,
        expires_at: cell(row, "expires_at")?,
        last_used_at: cell(row, "last_used_at")?,
        revoked_at: cell(row, "revoked_at")?,
    })
}

fn audit(row: &PgRow) -> StoreResult<Audit> {
    Ok(Audit {
        at: cell(row, "at")?,
        actor: cell(row, "actor")?,
        source: cell(row, "source")?,
        action: cell(row, "action")?,
        object: cell(row, "object")?,
        fields: cell(row, "fields")?,
    })
}

async fn create(pool: &PgPool, new: &NewToken) -> Work<ApiToken> {
    let row = sqlx::query(
        "INSERT INTO api_token (label, role, owner, sha256, created_at, expires_at)
         SELECT $1, $2, $3, $4, at, at + make_interval(secs => $5) FROM clock_timestamp() AS at
         ON CONFLICT (sha256) DO NOTHING RETURNING *",
    )
    .bind(&new.label)
    .bind(new.role.as_str())
    .bind(new.owner.as_ref().map(|owner| owner.0.as_str()))
    .bind(&new.sha256)
    .bind(new.expires_in.map(secs))
    .fetch_optional(pool)
    .await?
    .ok_or_else(|| codes::invalid("sha256: this token is stored already"))?;
    Ok(token(&row)?)
}

async fn attempt(pool: &PgPool, attempt: &Attempt, patience: Duration) -> Work<Attempted> {
    sqlx::query(
        "DELETE FROM api_attempt WHERE at <= clock_timestamp() - make_interval(secs => $1)",
    )
    .bind(secs(KEEP_ATTEMPTS))
    .execute(pool)
    .await?;
    // The first, or one that was given up: this statement alone decides who of several is it.
    let first = sqlx::query(
        "INSERT INTO api_attempt AS old (caller, key, request, at) VALUES ($1, $2, $3, clock_timestamp())
         ON CONFLICT (caller, key) DO UPDATE SET at = EXCLUDED.at
         WHERE old.request = EXCLUDED.request AND old.agent IS NULL
           AND old.at <= clock_timestamp() - make_interval(secs => $4)",
    )
    .bind(&attempt.caller)
    .bind(&attempt.key)
    .bind(&attempt.request)
    .bind(secs(patience))
    .execute(pool)
    .await?;
    if first.rows_affected() > 0 {
        return Ok(Attempted::First);
    }
    let row = sqlx::query(
        "SELECT request, status, agent FROM api_attempt WHERE caller = $1 AND key = $2",
    )
    .bind(&attempt.caller)
    .bind(&attempt.key)
    .fetch_optional(pool)
    .await?;
    // Forgotten between the two statements: the caller is told to try again.
    let Some(row) = row else {
        return Ok(Attempted::Running);
    };
    if cell::<&str>(&row, "request")? != attempt.request {
        return Ok(Attempted::Another);
    }
    Ok(match cell::<Option<String>>(&row, "agent")? {
        None => Attempted::Running,
        Some(agent) => {
            let status: i32 = cell(&row, "status")?;
            let status = u16::try_from(status)
                .map_err(|_| StoreError::Corrupt("column status holds no status".to_owned()))?;
            Attempted::Done(Outcome { status, agent })
        }
    })
}

async fn attempted(pool: &PgPool, attempt: &Attempt, outcome: Option<&Outcome>) -> Work<()> {
    let query = match outcome {
        None => sqlx::query("DELETE FROM api_attempt WHERE caller = $1 AND key = $2"),
        Some(_) => sqlx::query(
            "UPDATE api_attempt SET status = $3, agent = $4 WHERE caller = $1 AND key = $2",
        ),
    };
    let query = query.bind(&attempt.caller).bind(&attempt.key);
    let query = match outcome {
        None => query,
        Some(outcome) => query.bind(i32::from(outcome.status)).bind(&outcome.agent),
    };
    query.execute(pool).await?;
    Ok(())
}

#[async_trait]
impl AccessStore for PostgresStore {
    async fn create_token(&self, new: &NewToken) -> StoreResult<ApiToken> {
        check_text("label", &new.label)?;
        retrying(|| create(&self.pool, new)).await
    }

    async fn token(&self, sha256: &str) -> StoreResult<Option<ApiToken>> {
        retrying(|| async {
            let row = sqlx::query(
                "SELECT * FROM api_token WHERE sha256 = $1 AND revoked_at IS NULL
                   AND (expires_at IS NULL OR expires_at > clock_timestamp())",
            )
            .bind(sha256)
            .fetch_optional(&self.pool)
            .await?;
            Ok(row.as_ref().map(token).transpose()?)
        })
        .await
    }

    async fn tokens(&self, owner: Option<&Owner>) -> StoreResult<Vec<ApiToken>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT * FROM api_token WHERE $1::text IS NULL OR owner = $1 ORDER BY seq DESC",
            )
            .bind(owner.map(|owner| owner.0.as_str()))
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(token).collect::<StoreResult<_>>()?)
        })
        .await
    }

    async fn revoke_token(&self, id: &str) -> StoreResult<bool> {
        retrying(|| async {
            let revoked = sqlx::query(
                "UPDATE api_token SET revoked_at = clock_timestamp() WHERE id = $1 AND revoked_at IS NULL",
            )
            .bind(id)
            .execute(&self.pool)
            .await?;
            Ok(revoked.rows_affected() > 0)
        })
        .await
    }

    async fn token_used(&self, id: &str) -> StoreResult<()> {
        retrying(|| async {
            sqlx::query(
                "UPDATE api_token SET last_used_at = greatest(last_used_at, clock_timestamp()) WHERE id = $1",
            )
            .bind(id)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    async fn attempt(&self, one: &Attempt, patience: Duration) -> StoreResult<Attempted> {
        retrying(|| attempt(&self.pool, one, patience)).await
    }

    async fn attempted(&self, one: &Attempt, outcome: Option<&Outcome>) -> StoreResult<()> {
        retrying(|| attempted(&self.pool, one, outcome)).await
    }

    async fn audit(&self, actor: &Actor, entry: &NewAudit) -> StoreResult<()> {
        retrying(|| async {
            sqlx::query(
                "INSERT INTO audit_log (principal, source, action, object, fields)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&actor.name)
            .bind(&actor.source)
            .bind(&entry.action)
            .bind(&entry.object)
            .bind(&entry.fields)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    async fn audit_log(&self, limit: i64) -> StoreResult<Vec<Audit>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT at, coalesce(principal, actor) AS actor, source, action, object, fields
                 FROM audit_log ORDER BY id DESC LIMIT $1",
            )
            .bind(limit.max(0))
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(audit).collect::<StoreResult<_>>()?)
        })
        .await
    }

    async fn audit_about(
        &self,
        object: &str,
        since: DateTime<Utc>,
        limit: i64,
    ) -> StoreResult<Vec<Audit>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT at, coalesce(principal, actor) AS actor, source, action, object, fields
                 FROM audit_log WHERE object = $1 AND at >= $2 ORDER BY id DESC LIMIT $3",
            )
            .bind(object)
            .bind(since)
            .bind(limit.max(0))
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.iter().map(audit).collect::<StoreResult<_>>()?)
        })
        .await
    }
}
