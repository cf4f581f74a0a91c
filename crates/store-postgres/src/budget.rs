//! The call budget that all replicas share: an account's slots are decided about under the lock of its pause row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgPool;
use talon_store::budget::{Slot, decide};
use talon_store::{BudgetAsk, Grant, StoreResult};

use crate::claims::secs;
use crate::error::Work;
use crate::snapshot::cell;

/// Takes calls out of the window, as many as it has above the reserve.
pub(crate) async fn take(pool: &PgPool, account: &str, ask: BudgetAsk) -> Work<Grant> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO api_pause (account) VALUES ($1) ON CONFLICT (account) DO NOTHING")
        .bind(account)
        .execute(&mut *tx)
        .await?;
    let until: Option<DateTime<Utc>> =
        sqlx::query_scalar("SELECT until FROM api_pause WHERE account = $1 FOR UPDATE")
            .bind(account)
            .fetch_one(&mut *tx)
            .await?;
    // Read after the lock was taken, so that a grant is never dated before an earlier one.
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *tx)
        .await?;
    let pause = until.and_then(|until| (until - now).to_std().ok());
    if let Some(retry_in) = pause.filter(|pause| !pause.is_zero()) {
        return Ok(Grant::paused(retry_in));
    }
    let rows = sqlx::query("SELECT slot_ms, used FROM api_budget WHERE account = $1")
        .bind(account)
        .fetch_all(&mut *tx)
        .await?;
    let slots: StoreResult<Vec<Slot>> = rows
        .iter()
        .map(|row| {
            Ok(Slot {
                start_ms: cell(row, "slot_ms")?,
                used: u32::try_from(cell::<i64>(row, "used")?).unwrap_or(u32::MAX),
            })
        })
        .collect();
    let decision = decide(&slots?, now.timestamp_millis(), ask);
    if decision.grant.calls > 0 {
        sqlx::query("DELETE FROM api_budget WHERE account = $1 AND slot_ms < $2")
            .bind(account)
            .bind(decision.forget_before_ms)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO api_budget AS old (account, slot_ms, used) VALUES ($1, $2, $3)
             ON CONFLICT (account, slot_ms) DO UPDATE SET used = old.used + EXCLUDED.used",
        )
        .bind(account)
        .bind(decision.slot_ms)
        .bind(i64::from(decision.grant.calls))
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(decision.grant)
}

/// Has every replica wait; a shorter pause ends no longer one.
pub(crate) async fn pause(pool: &PgPool, account: &str, pause: Duration) -> Work<()> {
    sqlx::query(
        "INSERT INTO api_pause AS old (account, until)
         VALUES ($1, clock_timestamp() + make_interval(secs => $2))
         ON CONFLICT (account) DO UPDATE SET until = greatest(old.until, EXCLUDED.until)",
    )
    .bind(account)
    .bind(secs(pause))
    .execute(pool)
    .await?;
    Ok(())
}
