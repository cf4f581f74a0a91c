//! Pages of the fleet, and writes in somebody's name.

use async_trait::async_trait;
use talon_core::{AgentName, AgentSpec, Owner, Snapshot};
use talon_store::fleet::{Actor, Decided, FleetStore, PageFilter, PagePlace};
use talon_store::{Applied, ApplyOptions, Hold, HoldKind, StoreResult};

use crate::error::retrying;
use crate::{PostgresStore, feed, installation, people, snapshot};

#[async_trait]
impl FleetStore for PostgresStore {
    async fn page(
        &self,
        filter: &PageFilter,
        after: Option<&PagePlace>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        retrying(|| snapshot::fleet(&self.pool, &self.sight, filter, after, limit)).await
    }

    async fn count(&self, filter: &PageFilter) -> StoreResult<i64> {
        retrying(|| async {
            Ok(sqlx::query_scalar(
                "SELECT count(*) FROM agent_source s
                 WHERE ($1::text IS NULL OR s.deployment_status = $1) AND ($2::text IS NULL OR s.owner = $2)
                   AND (s.deleted_at IS NULL OR $3) AND ($4::text IS NULL
                        OR position(lower($4 COLLATE \"C\") in s.name) > 0
                        OR position(lower($4 COLLATE \"C\") in lower(s.display_name COLLATE \"C\")) > 0)",
            )
            .bind(filter.status.map(|status| status.as_str()))
            .bind(filter.owner.as_ref().map(|owner| owner.0.as_str()))
            .bind(filter.include_archived)
            .bind(filter.text.as_deref())
            .fetch_one(&self.pool)
            .await?)
        })
        .await
    }

    async fn first_change(&self) -> StoreResult<i64> {
        retrying(|| feed::first(&self.pool)).await
    }

    async fn apply_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        retrying(|| people::apply(&self.pool, Some(actor), name, owner, spec, options)).await
    }

    async fn request_deletion_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        keep_bucket: bool,
    ) -> StoreResult<()> {
        retrying(|| people::request_deletion(&self.pool, Some(actor), name, decided, keep_bucket))
            .await
    }

    async fn set_suspend_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
        suspend: bool,
    ) -> StoreResult<bool> {
        retrying(|| people::set_suspend(&self.pool, Some(actor), name, decided, suspend)).await
    }

    async fn request_reconcile_as(
        &self,
        actor: &Actor,
        name: &AgentName,
        decided: Option<Decided>,
    ) -> StoreResult<()> {
        retrying(|| people::request_reconcile(&self.pool, Some(actor), name, decided)).await
    }

    async fn set_hold_as(&self, actor: &Actor, reason: &str) -> StoreResult<bool> {
        retrying(|| installation::set_hold(&self.pool, Some(actor), HoldKind::Operator, reason))
            .await
    }

    async fn release_hold_as(&self, actor: &Actor) -> StoreResult<Option<Hold>> {
        retrying(|| installation::release_hold(&self.pool, Some(actor))).await
    }
}
