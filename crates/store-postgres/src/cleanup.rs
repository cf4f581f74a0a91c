//! What is left when an agent is gone, and whose it was.

use std::collections::BTreeSet;

use sqlx::postgres::PgPool;
use talon_core::AgentId;
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_store::{Leftover, RowState, StoreError, StoreResult, columns};
use uuid::Uuid;

use crate::error::Work;
use crate::snapshot::{cell, word};

/// Resources of archived agents that cleanup could not remove, by agent name.
pub(crate) async fn leftovers(pool: &PgPool) -> Work<Vec<Leftover>> {
    let rows = sqlx::query(
        "SELECT s.id, s.name AS agent, r.kind, r.name, r.external_id, r.cleanup_error,
                s.r2::text AS r2
         FROM agent_resource r JOIN agent_source s ON s.id = r.agent_id
         WHERE r.cleanup_result = 'failed' AND s.deleted_at IS NOT NULL",
    )
    .fetch_all(pool)
    .await?;
    let found: StoreResult<Vec<Leftover>> = rows
        .iter()
        .map(|row| {
            Ok(Leftover {
                agent_id: AgentId(cell(row, "id")?),
                agent: cell(row, "agent")?,
                kind: word(row, "kind")?,
                name: cell(row, "name")?,
                external_id: cell(row, "external_id")?,
                jurisdiction: columns::jurisdiction(cell(row, "r2")?),
                error: cell(row, "cleanup_error")?,
            })
        })
        .collect();
    let mut found = found?;
    found.sort_by(|a, b| (&a.agent, a.agent_id, a.kind).cmp(&(&b.agent, b.agent_id, b.kind)));
    Ok(found)
}

/// Corrects how the cleanup of an archived agent's resource ended.
pub(crate) async fn correct(
    pool: &PgPool,
    id: AgentId,
    kind: ResourceKind,
    result: CleanupResult,
    error: Option<&str>,
) -> Work<()> {
    let corrected = sqlx::query(
        "UPDATE agent_resource r SET
             cleanup_result = $3,
             cleanup_error = $4,
             cleaned_at = CASE WHEN $3 <> 'failed' THEN clock_timestamp() END
         FROM agent_source s
         WHERE r.agent_id = $1 AND r.kind = $2 AND s.id = r.agent_id AND s.deleted_at IS NOT NULL",
    )
    .bind(id.0)
    .bind(kind.as_str())
    .bind(result.as_str())
    .bind(error)
    .execute(pool)
    .await?;
    if corrected.rows_affected() == 0 {
        return Err(StoreError::NotFound.into());
    }
    Ok(())
}

/// Which agents have a row, and whether it is archived.
pub(crate) async fn ownership(pool: &PgPool, ids: &[AgentId]) -> Work<Vec<(AgentId, RowState)>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query(
        "SELECT id, deleted_at IS NOT NULL AS archived FROM agent_source WHERE id = ANY ($1)",
    )
    .bind(&ids)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let archived: bool = cell(row, "archived")?;
            let state = if archived {
                RowState::Archived
            } else {
                RowState::Live
            };
            Ok((AgentId(cell(row, "id")?), state))
        })
        .collect()
}

/// Which of these bucket names stand in a row.
pub(crate) async fn owned_buckets(pool: &PgPool, buckets: &[String]) -> Work<BTreeSet<String>> {
    let found: Vec<String> =
        sqlx::query_scalar("SELECT r2_bucket FROM agent_source WHERE r2_bucket = ANY ($1)")
            .bind(buckets)
            .fetch_all(pool)
            .await?;
    Ok(found.into_iter().collect())
}
