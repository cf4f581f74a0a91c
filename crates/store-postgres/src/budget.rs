//! The call budget that all replicas share: one row for each account, locked while it is decided about.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use talon_store::Grant;
use talon_store::budget::{Slot, decide};

use crate::claims::secs;
use crate::error::Work;
use crate::snapshot::cell;

/// Takes calls out of the window, as many as it has.
pub(crate) async fn take(
    pool: &PgPool,
    account: &str,
    want: u32,
    ceiling: u32,
    window: Duration,
) -> Work<Grant> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO api_budget (account) VALUES ($1) ON CONFLICT (account) DO NOTHING")
        .bind(account)
        .execute(&mut *tx)
        .await?;
    let row =
        sqlx::query("SELECT slots, paused_until FROM api_budget WHERE account = $1 FOR UPDATE")
            .bind(account)
            .fetch_one(&mut *tx)
            .await?;
    // Read after the lock was taken, so that a grant is never dated before an earlier one.
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *tx)
        .await?;
    let paused_until: Option<DateTime<Utc>> = cell(&row, "paused_until")?;
    if let Some(pause) = paused_until
        .and_then(|until| (until - now).to_std().ok())
        .filter(|p| !p.is_zero())
    {
        return Ok(Grant {
            calls: 0,
            retry_in: pause,
        });
    }
    let mut slots = read_slots(&cell(&row, "slots")?);
    let decision = decide(&slots, now.timestamp_millis(), want, ceiling, window);
    if decision.grant.calls > 0 {
        slots.retain(|slot| slot.start_ms >= decision.forget_before_ms);
        match slots
            .iter_mut()
            .find(|slot| slot.start_ms == decision.slot_ms)
        {
            Some(slot) => slot.used = slot.used.saturating_add(decision.grant.calls),
            None => slots.push(Slot {
                start_ms: decision.slot_ms,
                used: decision.grant.calls,
            }),
        }
        sqlx::query("UPDATE api_budget SET slots = $2 WHERE account = $1")
            .bind(account)
            .bind(write_slots(&slots))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(decision.grant)
}

/// What does not parse counts for nothing: it cannot have been written by this program.
fn read_slots(stored: &Value) -> Vec<Slot> {
    stored
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| {
            Some(Slot {
                start_ms: pair.get(0)?.as_i64()?,
                used: u32::try_from(pair.get(1)?.as_u64()?).ok()?,
            })
        })
        .collect()
}

fn write_slots(slots: &[Slot]) -> Value {
    slots
        .iter()
        .map(|slot| json!([slot.start_ms, slot.used]))
        .collect()
}

/// Has every replica wait; a shorter pause ends no longer one.
pub(crate) async fn pause(pool: &PgPool, account: &str, pause: Duration) -> Work<()> {
    sqlx::query(
        "INSERT INTO api_budget AS old (account, paused_until)
         VALUES ($1, clock_timestamp() + make_interval(secs => $2))
         ON CONFLICT (account) DO UPDATE SET paused_until = greatest(old.paused_until, EXCLUDED.paused_until)",
    )
    .bind(account)
    .bind(secs(pause))
    .execute(pool)
    .await?;
    Ok(())
}
