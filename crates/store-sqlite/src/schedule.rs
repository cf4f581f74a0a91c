//! Claims, leases and what is due; leftovers, ownership and pruning.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteConnection;
use talon_core::resource::{CleanupResult, ResourceKind};
use talon_core::{AgentId, Epoch, Snapshot};
use talon_store::access::KEEP_AUDIT;
use talon_store::{
    Claim, KEEP_RETIRED_TOKENS, Leftover, RowState, StoreError, StoreResult, columns,
};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::read::{SELECT, readable, snapshots};
use crate::sql::{Columns, id_list, minus, now, now_plus, parse_time, plus};

/// Due, and nobody has it.
macro_rules! due_and_free {
    () => {
        concat!(
            " FROM agent_work w JOIN agent_source s ON s.id = w.agent_id WHERE w.next_due_at <= ",
            now!(),
            " AND s.deleted_at IS NULL AND (w.lease_owner IS NULL OR w.lease_until <= ",
            now!(),
            ")"
        )
    };
}

/// Checks that the claim's epoch is current. Only meaningful inside a writing transaction.
pub(crate) async fn fence(connection: &mut SqliteConnection, claim: &Claim) -> StoreResult<()> {
    let epoch: Option<i64> =
        sqlx::query_scalar("SELECT lease_epoch FROM agent_work WHERE agent_id = ?")
            .bind(claim.agent_id.to_string())
            .fetch_optional(connection)
            .await
            .map_err(translate)?;
    match epoch {
        None => Err(StoreError::NotFound),
        Some(epoch) if epoch == claim.epoch.0 => Ok(()),
        Some(_) => Err(StoreError::StaleEpoch),
    }
}

impl SqliteStore {
    pub(crate) async fn do_claim_due(
        &self,
        holder: &str,
        lease: Duration,
        limit: usize,
    ) -> StoreResult<Vec<Claim>> {
        // Looking costs no write lock; most looks find nothing.
        let any: bool =
            sqlx::query_scalar(concat!("SELECT EXISTS (SELECT 1", due_and_free!(), ")"))
                .fetch_one(&self.readers)
                .await
                .map_err(translate)?;
        if !any || limit == 0 {
            return Ok(Vec::new());
        }
        let mut tx = self.writing().await?;
        let order: Vec<String> = sqlx::query_scalar(concat!(
            "SELECT w.agent_id",
            due_and_free!(),
            " ORDER BY s.deletion_requested_at IS NULL, w.next_due_at, s.seq LIMIT ?"
        ))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await
        .map_err(translate)?;
        let rows = sqlx::query(concat!(
            "UPDATE agent_work SET unclean_until = CASE WHEN lease_owner IS NULL THEN unclean_until",
            " ELSE max(ifnull(unclean_until, lease_until), lease_until) END,",
            " lease_epoch = lease_epoch + 1, woken = 0, lease_owner = ?, lease_until = ",
            now_plus!(),
            " WHERE agent_id IN (SELECT value FROM json_each(?)) RETURNING agent_id, lease_epoch"
        ))
        .bind(holder)
        .bind(plus(lease))
        .bind(serde_json::Value::from(order.clone()).to_string())
        .fetch_all(&mut *tx)
        .await
        .map_err(translate)?;
        let mut claims = HashMap::new();
        for row in &rows {
            let c = Columns(row);
            let claim = Claim {
                agent_id: c.word("agent_id")?,
                epoch: Epoch(c.int("lease_epoch")?),
            };
            claims.insert(c.text("agent_id")?, claim);
        }
        done(tx).await?;
        Ok(order.iter().filter_map(|id| claims.remove(id)).collect())
    }

    pub(crate) async fn do_renew(
        &self,
        claims: &[Claim],
        lease: Duration,
    ) -> StoreResult<Vec<AgentId>> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let mut lost = Vec::new();
        let mut tx = self.writing().await?;
        for claim in claims {
            let rows = sqlx::query(concat!(
                "UPDATE agent_work SET lease_until = ",
                now_plus!(),
                " WHERE agent_id = ? AND lease_epoch = ? AND lease_owner IS NOT NULL"
            ))
            .bind(plus(lease))
            .bind(claim.agent_id.to_string())
            .bind(claim.epoch.0)
            .execute(&mut *tx)
            .await
            .map_err(translate)?
            .rows_affected();
            if rows == 0 {
                lost.push(claim.agent_id);
            }
        }
        done(tx).await?;
        Ok(lost)
    }

    pub(crate) async fn do_release(&self, claim: &Claim) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        fence(&mut tx, claim).await?;
        sqlx::query(
            "UPDATE agent_work SET lease_owner = NULL, lease_until = NULL WHERE agent_id = ?",
        )
        .bind(claim.agent_id.to_string())
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        self.watch.announce();
        Ok(())
    }

    pub(crate) async fn do_load(&self, id: AgentId) -> StoreResult<Option<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        query.push("WHERE s.id = ").push_bind(id.to_string());
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        found.into_iter().next().transpose()
    }

    pub(crate) async fn do_load_page(
        &self,
        after: Option<AgentId>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        query.push("WHERE s.deleted_at IS NULL");
        if let Some(after) = after {
            query.push(" AND s.id > ").push_bind(after.to_string());
        }
        query.push(" ORDER BY s.id LIMIT ").push_bind(limit.max(0));
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        Ok(readable(found))
    }

    pub(crate) async fn do_enqueue(&self, ids: &[AgentId]) -> StoreResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut tx = self.writing().await?;
        let moved = sqlx::query(concat!(
            "UPDATE agent_work SET next_due_at = ",
            now!(),
            " WHERE agent_id IN (SELECT value FROM json_each(?)) AND (next_due_at IS NULL OR next_due_at > ",
            now!(),
            ") AND agent_id IN (SELECT id FROM agent_source WHERE deleted_at IS NULL)"
        ))
        .bind(id_list(ids))
        .execute(&mut *tx)
        .await
        .map_err(translate)?
        .rows_affected();
        done(tx).await?;
        if moved > 0 {
            self.watch.announce();
        }
        Ok(moved)
    }

    pub(crate) async fn do_next_due_in(&self) -> StoreResult<Option<Duration>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            now!(),
            " AS now, min(CASE WHEN w.lease_until > ",
            now!(),
            " THEN max(w.next_due_at, w.lease_until) ELSE w.next_due_at END) AS due",
            " FROM agent_work w JOIN agent_source s ON s.id = w.agent_id",
            " WHERE w.next_due_at IS NOT NULL AND s.deleted_at IS NULL"
        ))
        .fetch_one(&self.readers)
        .await
        .map_err(translate)?;
        let c = Columns(&row);
        let Some(due) = c.maybe_text("due")? else {
            return Ok(None);
        };
        let left = parse_time("next_due_at", &due)? - c.time("now")?;
        Ok(Some(left.to_std().unwrap_or(Duration::ZERO)))
    }

    pub(crate) async fn do_leftovers(&self) -> StoreResult<Vec<Leftover>> {
        let rows = sqlx::query(
            "SELECT s.id, s.name AS agent, r.kind, r.name, r.external_id, r.cleanup_error, s.r2
             FROM agent_source s JOIN agent_resource r ON r.agent_id = s.id
             WHERE s.deleted_at IS NOT NULL AND r.cleanup_result = 'failed'",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        let mut left = rows
            .iter()
            .map(|row| {
                let c = Columns(row);
                Ok(Leftover {
                    agent_id: c.word("id")?,
                    agent: c.text("agent")?,
                    kind: c.word("kind")?,
                    name: c.text("name")?,
                    external_id: c.maybe_text("external_id")?,
                    jurisdiction: columns::jurisdiction(&c.text("r2")?),
                    error: c.maybe_text("cleanup_error")?,
                })
            })
            .collect::<StoreResult<Vec<_>>>()?;
        left.sort_by(|a, b| (&a.agent, a.agent_id, a.kind).cmp(&(&b.agent, b.agent_id, b.kind)));
        Ok(left)
    }

    pub(crate) async fn do_correct_cleanup(
        &self,
        id: AgentId,
        kind: ResourceKind,
        result: CleanupResult,
        error: Option<&str>,
    ) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        let rows = sqlx::query(concat!(
            "UPDATE agent_resource SET cleanup_result = ?1,",
            " cleanup_error = ?2, cleaned_at = CASE WHEN ?1 <> 'failed' THEN ",
            now!(),
            " END WHERE agent_id = ?3 AND kind = ?4",
            " AND agent_id IN (SELECT id FROM agent_source WHERE deleted_at IS NOT NULL)"
        ))
        .bind(result.as_str())
        .bind(error)
        .bind(id.to_string())
        .bind(kind.as_str())
        .execute(&mut *tx)
        .await
        .map_err(translate)?
        .rows_affected();
        if rows == 0 {
            return Err(StoreError::NotFound);
        }
        done(tx).await
    }

    pub(crate) async fn do_ownership(
        &self,
        ids: &[AgentId],
    ) -> StoreResult<Vec<(AgentId, RowState)>> {
        let rows = sqlx::query(
            "SELECT id, deleted_at IS NOT NULL AS archived FROM agent_source
             WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
        )
        .bind(id_list(ids))
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter()
            .map(|row| {
                let c = Columns(row);
                let state = if c.flag("archived")? {
                    RowState::Archived
                } else {
                    RowState::Live
                };
                Ok((c.word("id")?, state))
            })
            .collect()
    }

    pub(crate) async fn do_owned_buckets(
        &self,
        buckets: &[String],
    ) -> StoreResult<BTreeSet<String>> {
        let asked = serde_json::Value::from(buckets).to_string();
        let found: Vec<String> = sqlx::query_scalar(
            "SELECT r2_bucket FROM agent_source WHERE r2_bucket IN (SELECT value FROM json_each(?))",
        )
        .bind(asked)
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        Ok(found.into_iter().collect())
    }

    pub(crate) async fn do_prune(&self, keep: Duration) -> StoreResult<u64> {
        let kept = minus(keep);
        let tokens_kept = minus(keep.min(KEEP_RETIRED_TOKENS));
        let mut tx = self.writing().await?;
        let mut gone = 0;
        let audit_kept = minus(keep.max(KEEP_AUDIT));
        for (delete, kept) in [
            (
                concat!("DELETE FROM audit_log WHERE at < ", now_plus!()),
                &audit_kept,
            ),
            (
                concat!("DELETE FROM agent_event WHERE last_at < ", now_plus!()),
                &kept,
            ),
            // The last entry stays: the feed's number never goes back.
            (
                concat!(
                    "DELETE FROM agent_change WHERE at < ",
                    now_plus!(),
                    " AND seq < (SELECT max(seq) FROM agent_change)"
                ),
                &kept,
            ),
            (
                concat!(
                    "DELETE FROM agent_auth_token WHERE state = 'retired' AND created_at < ",
                    now_plus!()
                ),
                &tokens_kept,
            ),
        ] {
            gone += sqlx::query(delete)
                .bind(kept)
                .execute(&mut *tx)
                .await
                .map_err(translate)?
                .rows_affected();
        }
        done(tx).await?;
        Ok(gone)
    }
}
