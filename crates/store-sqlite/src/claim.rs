//! Claims of one agent, due or not.

use std::time::Duration;

use async_trait::async_trait;
use talon_core::{AgentId, Epoch};
use talon_store::{Claim, ClaimStore, StoreError, StoreResult};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::sql::{now, now_plus, plus};

#[async_trait]
impl ClaimStore for SqliteStore {
    async fn claim_agent(
        &self,
        id: AgentId,
        holder: &str,
        lease: Duration,
    ) -> StoreResult<Option<Claim>> {
        let mut tx = self.writing().await?;
        let live: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM agent_source WHERE id = ? AND deleted_at IS NULL)",
        )
        .bind(id.to_string())
        .fetch_one(&mut *tx)
        .await
        .map_err(translate)?;
        if !live {
            return Err(StoreError::NotFound);
        }
        let epoch: Option<i64> = sqlx::query_scalar(concat!(
            "UPDATE agent_work SET unclean_until = CASE WHEN lease_owner IS NULL THEN unclean_until",
            " ELSE max(ifnull(unclean_until, lease_until), lease_until) END,",
            " lease_epoch = lease_epoch + 1, lease_owner = ?, lease_until = ",
            now_plus!(),
            " WHERE agent_id = ? AND (lease_owner IS NULL OR lease_until <= ",
            now!(),
            ") RETURNING lease_epoch"
        ))
        .bind(holder)
        .bind(plus(lease))
        .bind(id.to_string())
        .fetch_optional(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        Ok(epoch.map(|epoch| Claim {
            agent_id: id,
            epoch: Epoch(epoch),
        }))
    }
}
