//! Claims of one agent, due or not.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgPool;
use talon_core::{AgentId, Epoch};
use talon_store::{Claim, ClaimStore, StoreError, StoreResult};

use crate::PostgresStore;
use crate::claims::secs;
use crate::error::{Work, retrying};

#[async_trait]
impl ClaimStore for PostgresStore {
    async fn claim_agent(
        &self,
        id: AgentId,
        holder: &str,
        lease: Duration,
    ) -> StoreResult<Option<Claim>> {
        retrying(|| claim(&self.pool, id, holder, lease)).await
    }
}

async fn claim(pool: &PgPool, id: AgentId, holder: &str, lease: Duration) -> Work<Option<Claim>> {
    // A row that somebody holds locked is one that somebody works on.
    let epoch: Option<i64> = sqlx::query_scalar(
        "WITH free AS MATERIALIZED (
             SELECT w.agent_id FROM agent_work w JOIN agent_source s ON s.id = w.agent_id
             WHERE w.agent_id = $1 AND s.deleted_at IS NULL AND (w.lease_until IS NULL OR w.lease_until <= now())
             FOR NO KEY UPDATE OF w SKIP LOCKED
         )
         UPDATE agent_work w
         SET lease_epoch = w.lease_epoch + 1,
             lease_owner = $2,
             lease_until = clock_timestamp() + make_interval(secs => $3),
             unclean_until = CASE WHEN w.lease_owner IS NULL THEN w.unclean_until
                                  ELSE greatest(w.unclean_until, w.lease_until) END
         FROM free WHERE w.agent_id = free.agent_id RETURNING w.lease_epoch",
    )
    .bind(id.0)
    .bind(holder)
    .bind(secs(lease))
    .fetch_optional(pool)
    .await?;
    if let Some(epoch) = epoch {
        return Ok(Some(Claim {
            agent_id: id,
            epoch: Epoch(epoch),
        }));
    }
    let live: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM agent_source WHERE id = $1 AND deleted_at IS NULL)",
    )
    .bind(id.0)
    .fetch_one(pool)
    .await?;
    if live {
        Ok(None)
    } else {
        Err(StoreError::NotFound.into())
    }
}
