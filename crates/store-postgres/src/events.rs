//! Events: appended or folded, read, pruned together with the change feed.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::PgPool;
use talon_core::AgentId;
use talon_core::event::{Event, NewEvent};
use talon_store::{CONTROLLER, EventFilter, KEEP_RETIRED_TOKENS, StoreResult};

use crate::claims::secs;
use crate::error::Work;
use crate::snapshot::{cell, word};

/// How many events are read if nobody says.
const DEFAULT_LIMIT: i64 = 1000;

/// Appends an event, or counts it if there is an equal one.
pub(crate) async fn record(
    connection: &mut PgConnection,
    agent: Option<AgentId>,
    event: &NewEvent,
) -> Work<()> {
    sqlx::query(
        "INSERT INTO agent_event AS old (agent_id, severity, reason, object, message, first_at, last_at)
         SELECT $1, $2, $3, $4, $5, at, at FROM clock_timestamp() AS at
         ON CONFLICT (coalesce(agent_id, '00000000-0000-0000-0000-000000000000'::uuid), severity, reason, object,
                      text_digest(message))
         DO UPDATE SET count = old.count + 1, last_at = greatest(old.last_at, EXCLUDED.last_at)",
    )
    .bind(agent.map(|id| id.0))
    .bind(event.severity.as_str())
    .bind(event.reason.as_str())
    .bind(&event.object)
    .bind(&event.message)
    .execute(connection)
    .await?;
    Ok(())
}

/// The latest events, oldest first.
pub(crate) async fn read(pool: &PgPool, filter: &EventFilter) -> Work<Vec<Event>> {
    let limit = if filter.limit > 0 {
        filter.limit
    } else {
        DEFAULT_LIMIT
    };
    let rows = sqlx::query(
        "SELECT * FROM (
             SELECT e.id, coalesce(s.name, $5) AS agent, e.severity, e.reason, e.object, e.message, e.count, e.first_at,
                    e.last_at
             FROM agent_event e LEFT JOIN agent_source s ON s.id = e.agent_id
             WHERE ($1::text IS NULL OR coalesce(s.name, $5) = $1)
               AND ($2::text IS NULL OR e.severity = $2)
               AND ($3::timestamptz IS NULL OR e.last_at > $3)
             ORDER BY e.last_at DESC, e.id DESC LIMIT $4
         ) latest ORDER BY last_at, id",
    )
    .bind(&filter.agent)
    .bind(filter.severity.map(|s| s.as_str()))
    .bind(filter.after)
    .bind(limit)
    .bind(CONTROLLER)
    .fetch_all(pool)
    .await?;
    let events: StoreResult<Vec<Event>> = rows
        .iter()
        .map(|row| {
            Ok(Event {
                agent: cell(row, "agent")?,
                event: NewEvent {
                    severity: word(row, "severity")?,
                    reason: word(row, "reason")?,
                    object: cell(row, "object")?,
                    message: cell(row, "message")?,
                },
                count: cell(row, "count")?,
                first_at: cell(row, "first_at")?,
                last_at: cell(row, "last_at")?,
            })
        })
        .collect();
    Ok(events?)
}

/// Removes events and entries of the change feed that are older, and retired auth tokens.
pub(crate) async fn prune(pool: &PgPool, keep: Duration) -> Work<u64> {
    let events =
        sqlx::query("DELETE FROM agent_event WHERE last_at < now() - make_interval(secs => $1)")
            .bind(secs(keep))
            .execute(pool)
            .await?;
    let changes =
        sqlx::query("DELETE FROM agent_change WHERE at < now() - make_interval(secs => $1)")
            .bind(secs(keep))
            .execute(pool)
            .await?;
    let tokens = sqlx::query(
        "DELETE FROM agent_auth_token WHERE state = 'retired' AND created_at < now() - make_interval(secs => $1)",
    )
    .bind(secs(keep.min(KEEP_RETIRED_TOKENS)))
    .execute(pool)
    .await?;
    Ok(events.rows_affected() + changes.rows_affected() + tokens.rows_affected())
}
