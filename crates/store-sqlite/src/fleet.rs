//! Pages of the fleet, and writes in somebody's name.

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite};
use talon_core::{AgentName, AgentSpec, Owner, Snapshot};
use talon_store::fleet::{Actor, Decided, FleetStore, PageFilter, PagePlace};
use talon_store::{Applied, ApplyOptions, Hold, HoldKind, StoreResult};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::read::{SELECT, readable, snapshots};

/// `WHERE` and the conditions on `s` that the filter means.
fn push_filter(query: &mut QueryBuilder<Sqlite>, filter: &PageFilter) {
    query.push("WHERE 1");
    if !filter.include_archived {
        query.push(" AND s.deleted_at IS NULL");
    }
    if let Some(status) = filter.status {
        query
            .push(" AND s.deployment_status = ")
            .push_bind(status.as_str());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND s.owner = ").push_bind(owner.0.clone());
    }
    if let Some(text) = &filter.text {
        // lower() knows ASCII only, as it must here.
        query
            .push(" AND (instr(s.name, lower(")
            .push_bind(text.clone())
            .push(")) > 0 OR instr(lower(s.display_name), lower(")
            .push_bind(text.clone())
            .push(")) > 0)");
    }
}

#[async_trait]
impl FleetStore for SqliteStore {
    async fn page(
        &self,
        filter: &PageFilter,
        after: Option<&PagePlace>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        push_filter(&mut query, filter);
        if let Some(after) = after {
            query
                .push(" AND (s.name, s.id) > (")
                .push_bind(after.name.clone())
                .push(", ")
                .push_bind(after.id.to_string())
                .push(")");
        }
        query
            .push(" ORDER BY s.name, s.id LIMIT ")
            .push_bind(limit.max(0));
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        Ok(readable(found))
    }

    async fn count(&self, filter: &PageFilter) -> StoreResult<i64> {
        let mut query = QueryBuilder::new("SELECT count(*) FROM agent_source s ");
        push_filter(&mut query, filter);
        query
            .build_query_scalar()
            .fetch_one(&self.readers)
            .await
            .map_err(translate)
    }

    async fn first_change(&self) -> StoreResult<i64> {
        sqlx::query_scalar("SELECT coalesce(min(seq), 0) FROM agent_change")
            .fetch_one(&self.readers)
            .await
            .map_err(translate)
    }

    async fn apply_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        self.do_apply(Some(actor), name, owner, spec, options).await
    }

    async fn request_deletion_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        keep_bucket: bool,
    ) -> StoreResult<()> {
        self.do_request_deletion(Some(actor), name, decided, keep_bucket)
            .await
    }

    async fn set_suspend_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        suspend: bool,
    ) -> StoreResult<bool> {
        self.do_set_suspend(Some(actor), name, decided, suspend)
            .await
    }

    async fn request_reconcile_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
    ) -> StoreResult<()> {
        self.do_request_reconcile(Some(actor), name, decided).await
    }

    async fn set_hold_as(&self, actor: &Actor, reason: &str) -> StoreResult<bool> {
        self.do_set_hold(Some(actor), HoldKind::Operator, reason)
            .await
    }

    async fn release_hold_as(&self, actor: &Actor) -> StoreResult<Option<Hold>> {
        self.do_release_hold(Some(actor)).await
    }
}
