//! One mutation in SQL. Every statement writes only where something differs.

use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteConnection;
use talon_core::card::AgentCard;
use talon_core::condition::Condition;
use talon_core::contact::ContactWrite;
use talon_core::mutation::{Mutation, ResourceWrite, SecretWrite, StatusWrite};
use talon_core::snapshot::AuthTokenState;
use talon_core::{AgentId, TryId};
use talon_store::writes::{self, Stamp};
use talon_store::{StoreError, StoreResult};

use crate::error::translate;
use crate::people::write_event;
use crate::read;
use crate::sql::{Columns, now, plus};

/// Applies one mutation; returns whether it was a latch that is in effect afterwards.
pub(crate) async fn apply(
    db: &mut SqliteConnection,
    id: AgentId,
    mutation: &Mutation,
) -> StoreResult<bool> {
    let key = id.to_string();
    match mutation {
        Mutation::Resource(write) => resource(db, &key, write).await?,
        Mutation::Secret(write) => secret(db, &key, write).await?,
        Mutation::SecretGone { name } => {
            run(
                sqlx::query("DELETE FROM agent_secret WHERE agent_id = ? AND name = ?")
                    .bind(key)
                    .bind(name),
                db,
            )
            .await?;
        }
        Mutation::AuthTokenCandidate { try_id, sha256 } => {
            run(
                sqlx::query(concat!(
                    "INSERT INTO agent_auth_token (agent_id, try, sha256, state, created_at) VALUES (?, ?, ?, 'candidate', ",
                    now!(),
                    ") ON CONFLICT (agent_id, try) DO NOTHING"
                ))
                .bind(key)
                .bind(try_id.as_str())
                .bind(sha256),
                db,
            )
            .await?;
        }
        Mutation::AuthTokenState { try_id, state } => auth_token(db, &key, try_id, *state).await?,
        Mutation::Names {
            worker,
            bucket,
            account,
        } => {
            run(
                sqlx::query(
                    "UPDATE agent_source SET worker_name = ?1, r2_bucket = ?2, cloudflare_account = ?3 WHERE id = ?4
                     AND (worker_name IS NOT ?1 OR r2_bucket IS NOT ?2 OR cloudflare_account IS NOT ?3)",
                )
                .bind(worker)
                .bind(bucket)
                .bind(account)
                .bind(key),
                db,
            )
            .await?;
        }
        Mutation::Identity { markdown, sha256 } => {
            run(
                sqlx::query(
                    "UPDATE agent_source SET identity_md = ?1, identity_sha256 = ?2 WHERE id = ?3
                     AND (identity_md IS NOT ?1 OR identity_sha256 IS NOT ?2)",
                )
                .bind(markdown)
                .bind(sha256)
                .bind(key),
                db,
            )
            .await?;
        }
        Mutation::Latch { generation } => {
            run(
                sqlx::query(concat!(
                    "UPDATE agent_source SET first_deployed_at = ",
                    now!(),
                    " WHERE id = ? AND generation = ? AND first_deployed_at IS NULL"
                ))
                .bind(&key)
                .bind(generation.0),
                db,
            )
            .await?;
            return sqlx::query_scalar(
                "SELECT first_deployed_at IS NOT NULL FROM agent_source WHERE id = ?",
            )
            .bind(key)
            .fetch_one(db)
            .await
            .map_err(translate);
        }
        Mutation::Status(write) => status(db, &key, write).await?,
        Mutation::Contact(write) => contact(db, key, write).await?,
        Mutation::Condition(condition) => write_condition(db, &key, condition).await?,
        Mutation::Event(event) => write_event(db, Some(id), event).await?,
        Mutation::Card(card) => write_card(db, &key, card).await?,
        Mutation::CardGone => {
            run(
                sqlx::query("DELETE FROM agent_card WHERE agent_id = ?").bind(key),
                db,
            )
            .await?;
        }
        Mutation::Archive => {
            run(
                sqlx::query(concat!(
                    "UPDATE agent_source SET deleted_at = ",
                    now!(),
                    " WHERE id = ? AND deleted_at IS NULL"
                ))
                .bind(key),
                db,
            )
            .await?;
        }
    }
    Ok(false)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

async fn run(query: Query<'_>, db: &mut SqliteConnection) -> StoreResult<u64> {
    Ok(query.execute(db).await.map_err(translate)?.rows_affected())
}

/// A time column's new content as SQL: `column = …`.
fn push_stamp(query: &mut QueryBuilder<sqlx::Sqlite>, column: &str, stamp: Stamp) {
    query.push(column).push(" = ");
    match stamp {
        Stamp::Keep => query.push(column),
        Stamp::Now => query.push(now!()),
        Stamp::Clear => query.push("NULL"),
        Stamp::NoEarlierThan(duration) => query
            .push("max(ifnull(")
            .push(column)
            .push(", ''), strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ")
            .push_bind(plus(duration))
            .push("))"),
    };
}

async fn resource(db: &mut SqliteConnection, key: &str, write: &ResourceWrite) -> StoreResult<()> {
    let old = sqlx::query("SELECT * FROM agent_resource WHERE agent_id = ? AND kind = ?")
        .bind(key)
        .bind(write.kind.as_str())
        .fetch_optional(&mut *db)
        .await
        .map_err(translate)?;
    let old = old
        .as_ref()
        .map(|row| read::resource(&Columns(row)))
        .transpose()?;
    let Some(row) = writes::resource(old.as_ref(), write) else {
        return Ok(());
    };
    if old.is_none() {
        let insert = sqlx::query(
            "INSERT INTO agent_resource (agent_id, kind, name, state) VALUES (?, ?, ?, 'absent')",
        )
        .bind(key)
        .bind(write.kind.as_str())
        .bind(&write.name);
        run(insert, db).await?;
    }
    let record = row.record;
    let mut query = QueryBuilder::new("UPDATE agent_resource SET name = ");
    query.push_bind(record.name);
    query.push(", external_id = ").push_bind(record.external_id);
    query
        .push(", try = ")
        .push_bind(record.try_id.map(|t| t.as_str().to_owned()));
    query.push(", state = ").push_bind(record.state.as_str());
    query
        .push(", desired_hash = ")
        .push_bind(record.desired_hash);
    query
        .push(", observed_hash = ")
        .push_bind(record.observed_hash);
    query.push(", version_id = ").push_bind(record.version_id);
    query.push(", attempts = ").push_bind(record.attempts);
    query.push(", last_error = ").push_bind(record.last_error);
    query
        .push(", cleanup_result = ")
        .push_bind(record.cleanup_result.map(|r| r.as_str()));
    query
        .push(", cleanup_error = ")
        .push_bind(record.cleanup_error);
    for (column, stamp) in [
        ("intent_at", row.intent_at),
        ("settle_until", row.settle_until),
        ("confirmed_at", row.confirmed_at),
        ("cleaned_at", row.cleaned_at),
    ] {
        query.push(", ");
        push_stamp(&mut query, column, stamp);
    }
    query.push(" WHERE agent_id = ").push_bind(key.to_owned());
    query.push(" AND kind = ").push_bind(write.kind.as_str());
    query.build().execute(db).await.map_err(translate)?;
    Ok(())
}

async fn secret(db: &mut SqliteConnection, key: &str, write: &SecretWrite) -> StoreResult<()> {
    run(
        sqlx::query(concat!(
            "INSERT INTO agent_secret (agent_id, name, provider, source, reference, state, fingerprint, pushed_at)",
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN ?6 = 'pushed' THEN ",
            now!(),
            " END) ON CONFLICT (agent_id, name) DO UPDATE SET provider = excluded.provider, source = excluded.source,",
            " reference = excluded.reference, state = excluded.state, fingerprint = excluded.fingerprint,",
            " pushed_at = coalesce(excluded.pushed_at, pushed_at)",
            " WHERE excluded.pushed_at IS NOT NULL OR provider IS NOT excluded.provider OR source IS NOT excluded.source",
            " OR reference IS NOT excluded.reference OR state IS NOT excluded.state",
            " OR fingerprint IS NOT excluded.fingerprint"
        ))
        .bind(key)
        .bind(&write.name)
        .bind(&write.provider)
        .bind(write.source.as_str())
        .bind(&write.reference)
        .bind(write.state.as_str())
        .bind(&write.fingerprint),
        db,
    )
    .await?;
    Ok(())
}

async fn auth_token(
    db: &mut SqliteConnection,
    key: &str,
    try_id: &TryId,
    state: AuthTokenState,
) -> StoreResult<()> {
    let known: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM agent_auth_token WHERE agent_id = ? AND try = ?)",
    )
    .bind(key)
    .bind(try_id.as_str())
    .fetch_one(&mut *db)
    .await
    .map_err(translate)?;
    if !known {
        return Ok(());
    }
    if state == AuthTokenState::Current {
        let retire = sqlx::query(
            "UPDATE agent_auth_token SET state = 'retired' WHERE agent_id = ? AND state = 'current' AND try <> ?",
        )
        .bind(key)
        .bind(try_id.as_str());
        run(retire, db).await?;
    }
    let set = sqlx::query(
        "UPDATE agent_auth_token SET state = ?1 WHERE agent_id = ?2 AND try = ?3 AND state <> ?1",
    )
    .bind(state.as_str())
    .bind(key)
    .bind(try_id.as_str());
    run(set, db).await?;
    let copy = sqlx::query(
        "UPDATE agent_source SET auth_token_hash = c.sha256
         FROM (SELECT (SELECT sha256 FROM agent_auth_token WHERE agent_id = ?1 AND state = 'current') AS sha256) c
         WHERE id = ?1 AND auth_token_hash IS NOT c.sha256",
    )
    .bind(key);
    run(copy, db).await?;
    Ok(())
}

async fn status(db: &mut SqliteConnection, key: &str, write: &StatusWrite) -> StoreResult<()> {
    if write.is_empty() {
        return Ok(());
    }
    let row = sqlx::query("SELECT * FROM agent_source WHERE id = ?")
        .bind(key)
        .fetch_optional(&mut *db)
        .await
        .map_err(translate)?
        .ok_or(StoreError::NotFound)?;
    let write = writes::status(&read::status(&Columns(&row))?, write);
    if write.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::new("UPDATE agent_source SET ");
    let mut set = query.separated(", ");
    if let Some(v) = write.deployment_status {
        set.push("deployment_status = ")
            .push_bind_unseparated(v.as_str());
    }
    if let Some(v) = write.deployment_error {
        set.push("deployment_error = ").push_bind_unseparated(v);
    }
    if let Some(v) = write.observed_generation {
        set.push("observed_generation = ")
            .push_bind_unseparated(v.0);
    }
    if let Some(v) = write.worker_url {
        set.push("worker_url = ").push_bind_unseparated(v);
    }
    if let Some(v) = write.r2_token_id {
        set.push("r2_token_id = ").push_bind_unseparated(v);
    }
    if let Some(v) = write.has_anthropic_key {
        set.push("has_anthropic_key = ")
            .push_bind_unseparated(i64::from(v));
    }
    if let Some(v) = write.has_openai_key {
        set.push("has_openai_key = ")
            .push_bind_unseparated(i64::from(v));
    }
    query.push(" WHERE id = ").push_bind(key.to_owned());
    query.build().execute(db).await.map_err(translate)?;
    Ok(())
}

async fn contact(db: &mut SqliteConnection, key: String, write: &ContactWrite) -> StoreResult<()> {
    run(
        sqlx::query(concat!(
            "INSERT INTO agent_contact (agent_id, mark, tries, tried_at, answered_at, problem, repairs, try, runtime)",
            " VALUES (?1, ?2, ?3, ",
            now!(),
            ", CASE WHEN ?4 THEN ",
            now!(),
            " END, ?5, ?6, ?7, ?8) ON CONFLICT (agent_id) DO UPDATE SET mark = excluded.mark, tries = excluded.tries,",
            " tried_at = excluded.tried_at, answered_at = coalesce(excluded.answered_at, answered_at),",
            " problem = excluded.problem, repairs = excluded.repairs, try = excluded.try, runtime = excluded.runtime"
        ))
        .bind(key)
        .bind(&write.mark)
        .bind(write.tries)
        .bind(write.answered)
        .bind(&write.problem)
        .bind(write.repairs)
        .bind(write.try_id.as_ref().map(|t| t.as_str().to_owned()))
        .bind(&write.runtime),
        db,
    )
    .await?;
    Ok(())
}

async fn write_condition(
    db: &mut SqliteConnection,
    key: &str,
    condition: &Condition,
) -> StoreResult<()> {
    run(
        sqlx::query(concat!(
            "INSERT INTO agent_condition (agent_id, type, status, reason, message, observed_generation, last_transition_at)",
            " VALUES (?, ?, ?, ?, ?, ?, ",
            now!(),
            ") ON CONFLICT (agent_id, type) DO UPDATE SET status = excluded.status, reason = excluded.reason,",
            " message = excluded.message, observed_generation = excluded.observed_generation,",
            " last_transition_at = CASE WHEN status IS excluded.status THEN last_transition_at",
            " ELSE excluded.last_transition_at END",
            " WHERE status IS NOT excluded.status OR reason IS NOT excluded.reason OR message IS NOT excluded.message",
            " OR observed_generation IS NOT excluded.observed_generation"
        ))
        .bind(key)
        .bind(condition.kind.as_str())
        .bind(condition.status.as_str())
        .bind(condition.reason.as_str())
        .bind(&condition.message)
        .bind(condition.observed_generation.0),
        db,
    )
    .await?;
    Ok(())
}

async fn write_card(db: &mut SqliteConnection, key: &str, card: &AgentCard) -> StoreResult<()> {
    let json = serde_json::to_string(card).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    run(
        sqlx::query(concat!(
            "INSERT INTO agent_card (agent_id, hash, card, updated_at) VALUES (?, ?, ?, ",
            now!(),
            ") ON CONFLICT (agent_id) DO UPDATE SET hash = excluded.hash, card = excluded.card,",
            " updated_at = excluded.updated_at WHERE card IS NOT excluded.card OR hash IS NOT excluded.hash"
        ))
        .bind(key)
        .bind(card.hash())
        .bind(json),
        db,
    )
    .await?;
    Ok(())
}
