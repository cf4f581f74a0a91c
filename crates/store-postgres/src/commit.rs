//! The writes of a pass: one transaction, fenced by the lease's epoch.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Row};
use talon_core::AgentId;
use talon_core::mutation::{Finish, Mutation, Progress};
use talon_store::{Claim, Committed, StoreError};

use crate::claims::secs;
use crate::error::Work;
use crate::mutation::Writer;

/// Applies the mutations in order if the claim's epoch is current.
pub(crate) async fn commit(
    pool: &PgPool,
    claim: &Claim,
    mutations: &[Mutation],
) -> Work<Committed> {
    let mut tx = pool.begin().await?;
    fence(&mut tx, claim).await?;
    let committed = write(&mut tx, claim.agent_id, mutations).await?;
    tx.commit().await?;
    Ok(committed)
}

/// The last commit of a pass; frees the lease.
pub(crate) async fn finish(pool: &PgPool, claim: &Claim, finish: &Finish) -> Work<()> {
    let mut tx = pool.begin().await?;
    fence(&mut tx, claim).await?;
    write(&mut tx, claim.agent_id, &finish.mutations).await?;
    schedule(&mut tx, claim.agent_id, finish).await?;
    tx.commit().await?;
    Ok(())
}

/// Locks the agent, row first, and refuses a claim that a newer one has overtaken. Only what is read after this, in
/// another statement, is sure to be the latest.
async fn fence(connection: &mut PgConnection, claim: &Claim) -> Work<()> {
    sqlx::query("SELECT FROM agent_source WHERE id = $1 FOR NO KEY UPDATE")
        .bind(claim.agent_id.0)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(StoreError::NotFound)?;
    let epoch: Option<i64> = sqlx::query_scalar(
        "SELECT lease_epoch FROM agent_work WHERE agent_id = $1 FOR NO KEY UPDATE",
    )
    .bind(claim.agent_id.0)
    .fetch_optional(connection)
    .await?;
    match epoch {
        None => Err(StoreError::NotFound.into()),
        Some(epoch) if epoch != claim.epoch.0 => Err(StoreError::StaleEpoch.into()),
        Some(_) => Ok(()),
    }
}

async fn write(
    connection: &mut PgConnection,
    id: AgentId,
    mutations: &[Mutation],
) -> Work<Committed> {
    let mut committed = Committed::default();
    if mutations.is_empty() {
        return Ok(committed);
    }
    let mut writer = Writer::new(connection, id).await?;
    for mutation in mutations {
        if let Some(latched) = writer.write(mutation).await? {
            committed.latched |= latched;
        }
    }
    Ok(committed)
}

/// Whether the hold that the pass worked under is no longer in force. Locks the hold, so that whoever releases it after
/// this waits until the pass is finished, and finds its agent as the pass has left it.
async fn released(connection: &mut PgConnection, since: Option<DateTime<Utc>>) -> Work<bool> {
    let Some(since) = since else { return Ok(false) };
    let in_force: Option<bool> =
        sqlx::query_scalar("SELECT kind IS NOT NULL AND since = $1 FROM controller_hold FOR SHARE")
            .bind(since)
            .fetch_one(connection)
            .await?;
    Ok(in_force != Some(true))
}

async fn schedule(connection: &mut PgConnection, id: AgentId, finish: &Finish) -> Work<()> {
    let row = sqlx::query(
        "SELECT generation <> $2 OR reconcile_requested_at IS DISTINCT FROM $3 AS moved, deleted_at IS NOT NULL AS gone
         FROM agent_source WHERE id = $1",
    )
    .bind(id.0)
    .bind(finish.loaded_generation.0)
    .bind(finish.loaded_reconcile_requested_at)
    .fetch_one(&mut *connection)
    .await?;
    let moved: bool = row.try_get("moved")? || released(connection, finish.loaded_hold).await?;
    let gone: bool = row.try_get("gone")?;
    let due_in = match (gone, moved) {
        (true, _) => None,
        (false, true) => Some(0.0),
        (false, false) => finish.next_due_in.map(secs),
    };
    let (progress, throttled) = match finish.progress {
        Progress::Ok => ("ok", 0),
        Progress::Failed => ("failed", 0),
        Progress::Waiting => ("waiting", 0),
        Progress::Throttled { seconds } => ("throttled", seconds.max(0)),
    };
    sqlx::query(
        "UPDATE agent_work SET
             lease_owner = NULL,
             lease_until = NULL,
             woken = false,
             next_due_at = clock_timestamp() + make_interval(secs => CASE WHEN woken AND NOT $6 THEN 0 ELSE $2 END),
             failure_count = CASE $3 WHEN 'ok' THEN 0 WHEN 'failed' THEN failure_count + 1 ELSE failure_count END,
             failing_since = CASE $3 WHEN 'ok' THEN NULL WHEN 'failed' THEN coalesce(failing_since, clock_timestamp())
                                     ELSE failing_since END,
             throttled_seconds = CASE WHEN $3 = 'ok' THEN 0
                                      WHEN failing_since IS NOT NULL THEN throttled_seconds + $4
                                      ELSE throttled_seconds END,
             plan_report = coalesce($5, plan_report)
         WHERE agent_id = $1",
    )
    .bind(id.0)
    .bind(due_in)
    .bind(progress)
    .bind(throttled)
    .bind(finish.plan_report.as_ref())
    .bind(gone)
    .execute(connection)
    .await?;
    Ok(())
}
