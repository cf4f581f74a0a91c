//! What concerns the installation as a whole: its row, named leases, holds and what the brake looks at.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use talon_core::InstallId;
use talon_store::fleet::Actor;
use talon_store::{BrakeFacts, Hold, HoldKind, Install, StoreError, StoreResult};

use crate::actor::begin_as;
use crate::claims::{enqueue_all, secs};
use crate::error::Work;
use crate::snapshot::cell;

/// The install's row.
pub(crate) async fn install(pool: &PgPool) -> Work<Option<Install>> {
    let row = sqlx::query("SELECT id, key_check FROM install")
        .fetch_optional(pool)
        .await?;
    Ok(row.as_ref().map(read_install).transpose()?)
}

fn read_install(row: &PgRow) -> StoreResult<Install> {
    let id: &str = cell(row, "id")?;
    Ok(Install {
        id: InstallId::parse(id).ok_or_else(|| {
            StoreError::Corrupt("the install id has not the shape of one".to_owned())
        })?,
        key_check: cell(row, "key_check")?,
    })
}

/// Makes the row unless there is one; returns the one that stands.
pub(crate) async fn init_install(pool: &PgPool, id: &InstallId, key_check: &str) -> Work<Install> {
    sqlx::query("INSERT INTO install (id, key_check) VALUES ($1, $2) ON CONFLICT (one) DO NOTHING")
        .bind(id.as_str())
        .bind(key_check)
        .execute(pool)
        .await?;
    Ok(install(pool).await?.ok_or(StoreError::NotFound)?)
}

/// Takes or prolongs a named lease.
pub(crate) async fn try_lease(
    pool: &PgPool,
    name: &str,
    holder: &str,
    ttl: Duration,
) -> Work<bool> {
    let taken = sqlx::query(
        "INSERT INTO controller_lease AS old (name, holder, until)
         VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
         ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until
         WHERE old.holder = EXCLUDED.holder OR old.until <= clock_timestamp()",
    )
    .bind(name)
    .bind(holder)
    .bind(secs(ttl))
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// Gives a named lease back, if it is ours.
pub(crate) async fn release_lease(pool: &PgPool, name: &str, holder: &str) -> Work<()> {
    sqlx::query("DELETE FROM controller_lease WHERE name = $1 AND holder = $2")
        .bind(name)
        .bind(holder)
        .execute(pool)
        .await?;
    Ok(())
}

fn read_hold(row: &PgRow) -> StoreResult<Hold> {
    let kind: &str = cell(row, "kind")?;
    Ok(Hold {
        kind: HoldKind::parse(kind)
            .ok_or_else(|| StoreError::Corrupt("column kind holds an unknown word".to_owned()))?,
        reason: cell(row, "reason")?,
        since: cell(row, "since")?,
    })
}

/// The hold in force.
pub(crate) async fn hold(pool: &PgPool) -> Work<Option<Hold>> {
    let row = sqlx::query("SELECT kind, reason, since FROM controller_hold WHERE kind IS NOT NULL")
        .fetch_optional(pool)
        .await?;
    Ok(row.as_ref().map(read_hold).transpose()?)
}

/// Puts a hold in force unless one is; whether it is new.
pub(crate) async fn set_hold(
    pool: &PgPool,
    actor: Option<&Actor>,
    kind: HoldKind,
    reason: &str,
) -> Work<bool> {
    let mut tx = begin_as(pool, actor).await?;
    let set = sqlx::query(
        "UPDATE controller_hold SET kind = $1, reason = $2, since = clock_timestamp() WHERE kind IS NULL",
    )
    .bind(kind.as_str())
    .bind(reason)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(set.rows_affected() > 0)
}

/// Ends the hold; every agent that is not archived becomes due.
pub(crate) async fn release_hold(pool: &PgPool, actor: Option<&Actor>) -> Work<Option<Hold>> {
    let mut tx = begin_as(pool, actor).await?;
    let row = sqlx::query(
        "SELECT kind, reason, since FROM controller_hold WHERE kind IS NOT NULL FOR UPDATE",
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(released) = row.as_ref().map(read_hold).transpose()? else {
        return Ok(None);
    };
    sqlx::query("UPDATE controller_hold SET kind = NULL, reason = NULL, since = NULL, last_release = clock_timestamp()")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    enqueue_all(pool).await?;
    Ok(Some(released))
}

/// What the brake looks at.
pub(crate) async fn brake_facts(pool: &PgPool, window: Duration) -> Work<BrakeFacts> {
    let row = sqlx::query(
        "WITH last AS (SELECT last_release AS release FROM controller_hold)
         SELECT last.release, (
             SELECT count(*) FROM agent_source
             WHERE deletion_requested_at > greatest(clock_timestamp() - make_interval(secs => $1), last.release)
               AND deleted_at IS NULL
         ) AS recent FROM last",
    )
    .bind(secs(window))
    .fetch_one(pool)
    .await?;
    let recent: i64 = cell(&row, "recent")?;
    Ok(BrakeFacts {
        recent_deletions: u64::try_from(recent).unwrap_or(0),
        last_release: cell(&row, "release")?,
    })
}
