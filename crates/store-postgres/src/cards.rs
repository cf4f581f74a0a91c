//! Agent Cards of the embedded Registry.

use sqlx::postgres::PgPool;
use talon_core::AgentId;
use talon_core::card::AgentCard;
use talon_store::StoreError;

use crate::error::Work;
use crate::snapshot::cell;

/// The card of an agent.
pub(crate) async fn card(pool: &PgPool, id: AgentId) -> Work<Option<AgentCard>> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT card::text FROM agent_card WHERE agent_id = $1")
            .bind(id.0)
            .fetch_optional(pool)
            .await?;
    Ok(text
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|_| StoreError::Corrupt("a stored card cannot be read".to_owned()))?)
}

/// The hash of every card.
pub(crate) async fn hashes(pool: &PgPool) -> Work<Vec<(AgentId, String)>> {
    let rows = sqlx::query("SELECT agent_id, hash FROM agent_card ORDER BY agent_id")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| Ok((AgentId(cell(row, "agent_id")?), cell(row, "hash")?)))
        .collect()
}
