//! Events: appended or folded, read, pruned together with the change feed.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Postgres, QueryBuilder};
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
    let mut query: QueryBuilder<Postgres> =
        QueryBuilder::new("SELECT * FROM (SELECT e.*, coalesce(s.name, ");
    query.push_bind(CONTROLLER).push(
        ") AS agent FROM agent_event e LEFT JOIN agent_source s ON s.id = e.agent_id WHERE true",
    );
    match filter.agent.as_deref() {
        None => {}
        Some(CONTROLLER) => {
            query.push(" AND e.agent_id IS NULL");
        }
        Some(agent) => {
            query
                .push(" AND e.agent_id IN (SELECT id FROM agent_source WHERE name = ")
                .push_bind(agent)
                .push(")");
        }
    }
    if let Some(severity) = filter.severity {
        query
            .push(" AND e.severity = ")
            .push_bind(severity.as_str());
    }
    if let Some(after) = filter.after {
        query.push(" AND e.last_at > ").push_bind(after);
    }
    query
        .push(" ORDER BY e.last_at DESC, e.id DESC LIMIT ")
        .push_bind(limit)
        .push(") latest ORDER BY last_at, id");
    let rows = query.build().fetch_all(pool).await?;
    let events: StoreResult<Vec<Event>> = rows.iter().map(event).collect();
    Ok(events?)
}

/// One row of `agent_event`, with the agent's name.
pub(crate) fn event(row: &PgRow) -> StoreResult<Event> {
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
}

/// Removes what is older of events, the change feed and the audit log, and retired auth tokens.
pub(crate) async fn prune(pool: &PgPool, keep: Duration) -> Work<u64> {
    let mut gone = 0;
    for (delete, keep) in [
        (
            "DELETE FROM agent_event WHERE last_at < now() - make_interval(secs => $1)",
            keep,
        ),
        (
            "DELETE FROM agent_change WHERE at < now() - make_interval(secs => $1)",
            keep,
        ),
        // Not a statement of our own: who may delete from the log could hide what he did.
        (
            "SELECT FROM prune_audit_log(make_interval(secs => $1))",
            keep,
        ),
        (
            "DELETE FROM agent_auth_token WHERE state = 'retired' AND created_at < now() - make_interval(secs => $1)",
            keep.min(KEEP_RETIRED_TOKENS),
        ),
    ] {
        gone += sqlx::query(delete)
            .bind(secs(keep))
            .execute(pool)
            .await?
            .rows_affected();
    }
    Ok(gone)
}
