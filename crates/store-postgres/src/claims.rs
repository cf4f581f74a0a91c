//! Leases: who works on which agent, until when, and with which fencing number.
//!
//! Lock order everywhere in this crate: a row of `agent_source` before its row of `agent_work`, and never the rows of
//! two agents while waiting. A statement over many agents passes over rows that somebody else has locked and comes back
//! to each alone, so that neither a pass nor a transaction left open in a shell can deadlock with it or hold up the
//! other agents.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::postgres::PgPool;
use talon_core::{AgentId, Epoch};
use talon_store::{Claim, StoreError};
use uuid::Uuid;

use crate::error::{Work, sqlstate};

/// How long a renewal waits, in all, for rows that somebody else has locked.
const RENEW_PATIENCE: Duration = Duration::from_secs(2);

/// The longest duration that is sent to the database, in seconds (ten years).
const LONGEST: f64 = 315_360_000.0;

/// Seconds, for `make_interval(secs => …)`.
pub(crate) fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64().min(LONGEST)
}

/// Claims due agents.
pub(crate) async fn claim_due(
    pool: &PgPool,
    holder: &str,
    lease: Duration,
    limit: usize,
) -> Work<Vec<Claim>> {
    let rows = sqlx::query(
        "WITH due AS MATERIALIZED (
             SELECT w.agent_id, s.deletion_requested_at IS NULL AS ordinary, w.next_due_at
             FROM agent_work w JOIN agent_source s ON s.id = w.agent_id
             WHERE w.next_due_at <= now() AND (w.lease_until IS NULL OR w.lease_until <= now())
               AND s.deleted_at IS NULL
             ORDER BY ordinary, w.next_due_at, w.agent_id
             LIMIT $3 FOR NO KEY UPDATE OF w SKIP LOCKED
         ), claimed AS (
             UPDATE agent_work w
             SET lease_epoch = w.lease_epoch + 1,
                 woken = false,
                 lease_owner = $1,
                 lease_until = clock_timestamp() + make_interval(secs => $2),
                 unclean_until = CASE WHEN w.lease_owner IS NULL THEN w.unclean_until
                                      ELSE greatest(w.unclean_until, w.lease_until) END
             FROM due WHERE w.agent_id = due.agent_id
             RETURNING w.agent_id, w.lease_epoch
         )
         SELECT claimed.agent_id, claimed.lease_epoch FROM claimed JOIN due USING (agent_id)
         ORDER BY due.ordinary, due.next_due_at, due.agent_id",
    )
    .bind(holder)
    .bind(secs(lease))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Claim {
                agent_id: AgentId(row.try_get("agent_id")?),
                epoch: Epoch(row.try_get("lease_epoch")?),
            })
        })
        .collect()
}

/// Prolongs leases; returns the agents whose lease is lost. A row that stays locked counts as lost: its pass must stop,
/// since nobody can say how long its lease will hold.
pub(crate) async fn renew(pool: &PgPool, claims: &[Claim], lease: Duration) -> Work<Vec<AgentId>> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.agent_id.0).collect();
    let epochs: Vec<i64> = claims.iter().map(|claim| claim.epoch.0).collect();
    let renewed: HashSet<(Uuid, i64)> = sqlx::query_as(
        "WITH mine AS MATERIALIZED (
             SELECT w.agent_id
             FROM agent_work w JOIN unnest($1::uuid[], $2::bigint[]) AS c (agent_id, epoch) USING (agent_id)
             WHERE w.lease_epoch = c.epoch AND w.lease_owner IS NOT NULL
             FOR NO KEY UPDATE OF w SKIP LOCKED
         )
         UPDATE agent_work w SET lease_until = clock_timestamp() + make_interval(secs => $3)
         FROM mine WHERE w.agent_id = mine.agent_id RETURNING w.agent_id, w.lease_epoch",
    )
    .bind(&ids)
    .bind(&epochs)
    .bind(secs(lease))
    .fetch_all(pool)
    .await?
    .into_iter()
    .collect();

    let deadline = Instant::now() + RENEW_PATIENCE;
    let mut lost = Vec::new();
    for claim in claims
        .iter()
        .filter(|claim| !renewed.contains(&(claim.agent_id.0, claim.epoch.0)))
    {
        if !renew_alone(pool, claim, lease, deadline).await? {
            lost.push(claim.agent_id);
        }
    }
    Ok(lost)
}

async fn renew_alone(
    pool: &PgPool,
    claim: &Claim,
    lease: Duration,
    deadline: Instant,
) -> Work<bool> {
    let ours: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM agent_work WHERE agent_id = $1 AND lease_epoch = $2 AND lease_owner IS NOT NULL)",
    )
    .bind(claim.agent_id.0)
    .bind(claim.epoch.0)
    .fetch_one(pool)
    .await?;
    let patience = deadline.saturating_duration_since(Instant::now());
    if !ours || patience.is_zero() {
        return Ok(false);
    }
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(format!("{}ms", patience.as_millis().max(1)))
        .execute(&mut *tx)
        .await?;
    let renewed = sqlx::query(
        "UPDATE agent_work SET lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE agent_id = $1 AND lease_epoch = $2 AND lease_owner IS NOT NULL",
    )
    .bind(claim.agent_id.0)
    .bind(claim.epoch.0)
    .bind(secs(lease))
    .execute(&mut *tx)
    .await;
    match renewed {
        Ok(done) => {
            tx.commit().await?;
            Ok(done.rows_affected() > 0)
        }
        Err(error) if sqlstate(&error).as_deref() == Some("55P03") => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Frees a lease; the agent stays due.
pub(crate) async fn release(pool: &PgPool, claim: &Claim) -> Work<()> {
    let freed = sqlx::query(
        "UPDATE agent_work SET lease_owner = NULL, lease_until = NULL WHERE agent_id = $1 AND lease_epoch = $2",
    )
    .bind(claim.agent_id.0)
    .bind(claim.epoch.0)
    .execute(pool)
    .await?;
    if freed.rows_affected() > 0 {
        return Ok(());
    }
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM agent_work WHERE agent_id = $1)")
            .bind(claim.agent_id.0)
            .fetch_one(pool)
            .await?;
    Err(if there {
        StoreError::StaleEpoch
    } else {
        StoreError::NotFound
    }
    .into())
}

/// Makes agents due now, unless they are already. Returns how many moved.
pub(crate) async fn enqueue(pool: &PgPool, ids: &[AgentId]) -> Work<u64> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let idle = "SELECT w.agent_id FROM agent_work w JOIN agent_source s ON s.id = w.agent_id
         WHERE w.agent_id = ANY ($1) AND s.deleted_at IS NULL
           AND (w.next_due_at IS NULL OR w.next_due_at > clock_timestamp())";
    let wanted: Vec<Uuid> = sqlx::query_scalar(idle).bind(&ids).fetch_all(pool).await?;
    make_due(pool, &wanted).await
}

/// Makes every agent due that is not archived. Returns how many moved.
pub(crate) async fn enqueue_all(pool: &PgPool) -> Work<u64> {
    let wanted: Vec<Uuid> = sqlx::query_scalar(
        "SELECT w.agent_id FROM agent_work w JOIN agent_source s ON s.id = w.agent_id
         WHERE s.deleted_at IS NULL AND (w.next_due_at IS NULL OR w.next_due_at > clock_timestamp())",
    )
    .fetch_all(pool)
    .await?;
    make_due(pool, &wanted).await
}

async fn make_due(pool: &PgPool, wanted: &[Uuid]) -> Work<u64> {
    if wanted.is_empty() {
        return Ok(0);
    }
    let moved: HashSet<Uuid> = sqlx::query_scalar(
        "WITH idle AS MATERIALIZED (
             SELECT agent_id FROM agent_work
             WHERE agent_id = ANY ($1) AND (next_due_at IS NULL OR next_due_at > clock_timestamp())
             FOR NO KEY UPDATE SKIP LOCKED
         )
         UPDATE agent_work w SET next_due_at = clock_timestamp()
         FROM idle WHERE w.agent_id = idle.agent_id RETURNING w.agent_id",
    )
    .bind(wanted)
    .fetch_all(pool)
    .await?
    .into_iter()
    .collect();
    let mut count = moved.len() as u64;
    for id in wanted.iter().filter(|id| !moved.contains(id)) {
        count += sqlx::query(
            "UPDATE agent_work SET next_due_at = clock_timestamp()
             WHERE agent_id = $1 AND (next_due_at IS NULL OR next_due_at > clock_timestamp())",
        )
        .bind(id)
        .execute(pool)
        .await?
        .rows_affected();
    }
    if count > 0 {
        // No id: whoever listens looks for itself.
        sqlx::query("SELECT pg_notify('talon', '')")
            .execute(pool)
            .await?;
    }
    Ok(count)
}

/// How long until the next agent can be claimed.
pub(crate) async fn next_due_in(pool: &PgPool) -> Work<Option<Duration>> {
    let seconds: Option<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM min(greatest(w.next_due_at, w.lease_until)) - clock_timestamp())::float8
         FROM agent_work w JOIN agent_source s ON s.id = w.agent_id
         WHERE w.next_due_at IS NOT NULL AND s.deleted_at IS NULL",
    )
    .fetch_one(pool)
    .await?;
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, LONGEST))))
}
