//! A fleet at a glance.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::postgres::PgPool;
use talon_core::event::Event;
use talon_core::{Owner, Snapshot};
use talon_store::budget::Slot;
use talon_store::glance::{
    AccountBudget, ControllerState, GlanceCounts, GlanceEvents, GlancePage, GlanceStore, Trouble,
};
use talon_store::{CONTROLLER, StoreResult};
use tokio::sync::OnceCell;

use crate::PostgresStore;
use crate::error::Work;
use crate::events::event;
use crate::presence::presence_columns;
use crate::snapshot::{
    Sight, assemble, cell, read, readable, select_agents, sight, spec_columns, status_columns, word,
};

/// Whether an agent wants a look (`GlancePage::attention`).
macro_rules! attention {
    () => {
        "(s.deployment_status = 'failed'
          OR s.deletion_requested_at < clock_timestamp() - interval '600 seconds'
          OR EXISTS (SELECT FROM agent_condition c WHERE c.agent_id = s.id AND c.observed_generation >= s.generation
              AND (c.type IN ('Stalled', 'Drifted') AND c.status = 'True'
                  OR c.type = 'SecretsReady' AND c.status = 'False'
                      AND c.reason IN ('SecretValueMissing', 'SecretOutOfScope', 'SecretRefDiscarded')
                  OR c.type = 'Reconciling' AND c.reason = 'AwaitingKeys')))"
    };
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn shown(owner: Option<&Owner>) -> Option<&str> {
    owner.map(|owner| owner.0.as_str())
}

async fn counts(pool: &PgPool, owner: Option<&Owner>) -> Work<GlanceCounts> {
    let rows = sqlx::query(concat!(
        "SELECT s.deployment_status, count(*) AS agents, count(*) FILTER (WHERE ",
        attention!(),
        ") AS attention FROM agent_source s WHERE s.deleted_at IS NULL AND ($1::text IS NULL OR s.owner = $1)
         GROUP BY s.deployment_status"
    ))
    .bind(shown(owner))
    .fetch_all(pool)
    .await?;
    let mut counts = GlanceCounts::default();
    for row in &rows {
        counts.add(word(row, "deployment_status")?, count(cell(row, "agents")?));
        counts.attention += count(cell(row, "attention")?);
    }
    Ok(counts)
}

async fn page(pool: &PgPool, known: &OnceCell<Sight>, ask: &GlancePage) -> Work<Vec<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        concat!(
            "WHERE s.deleted_at IS NULL AND ($1::text IS NULL OR s.owner = $1)
             AND ($2::text IS NULL OR s.deployment_status = $2) AND (NOT $3 OR ",
            attention!(),
            ") AND ($4::text IS NULL OR strpos(lower(s.name COLLATE \"C\"), $4) > 0
                 OR strpos(lower(s.display_name COLLATE \"C\"), $4) > 0)
             AND ($5::text IS NULL OR s.name COLLATE \"C\" > $5) ORDER BY s.name COLLATE \"C\" LIMIT $6"
        )
    ))
    .bind(shown(ask.owner.as_ref()))
    .bind(ask.status.map(|status| status.as_str()))
    .bind(ask.attention)
    .bind(ask.text.as_deref().map(str::to_ascii_lowercase))
    .bind(ask.after.as_deref())
    .bind(ask.limit.max(0))
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?;
    tx.commit().await?;
    Ok(readable(found))
}

async fn cleanup(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    owner: Option<&Owner>,
    limit: i64,
) -> Work<Vec<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        "WHERE ($1::text IS NULL OR s.owner = $1)
           AND (s.deleted_at IS NULL AND s.deletion_requested_at IS NOT NULL OR s.deleted_at IS NOT NULL
             AND s.id IN (SELECT agent_id FROM agent_resource WHERE cleanup_result = 'failed'))
         ORDER BY s.deleted_at DESC NULLS FIRST, s.deletion_requested_at, s.name COLLATE \"C\" LIMIT $2"
    ))
    .bind(shown(owner))
    .bind(limit.max(0))
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?;
    tx.commit().await?;
    Ok(readable(found))
}

async fn left_over(
    pool: &PgPool,
    known: &OnceCell<Sight>,
    owner: Option<&Owner>,
    limit: i64,
) -> Work<Vec<Snapshot>> {
    let mut tx = read(pool).await?;
    let sight = sight(&mut tx, known).await?;
    let rows = sqlx::query(select_agents!(
        sight,
        "WHERE ($1::text IS NULL OR s.owner = $1) AND s.deleted_at IS NOT NULL
           AND s.id IN (SELECT agent_id FROM agent_resource WHERE cleanup_result = 'failed')
         ORDER BY s.deleted_at DESC, s.name COLLATE \"C\" LIMIT $2"
    ))
    .bind(shown(owner))
    .bind(limit.max(0))
    .fetch_all(&mut *tx)
    .await?;
    let found = assemble(&mut tx, sight, rows).await?;
    tx.commit().await?;
    Ok(readable(found))
}

async fn events(pool: &PgPool, ask: &GlanceEvents) -> Work<Vec<Event>> {
    let rows = sqlx::query(
        "SELECT * FROM (
             SELECT e.*, coalesce(s.name, $1) AS agent
             FROM agent_event e LEFT JOIN agent_source s ON s.id = e.agent_id
             WHERE ($2::text IS NULL OR s.owner = $2) AND ($3::uuid IS NULL OR e.agent_id = $3)
               AND ($4::text IS NULL OR e.severity = $4)
             ORDER BY e.last_at DESC, e.id DESC LIMIT $5
         ) latest ORDER BY last_at, id",
    )
    .bind(CONTROLLER)
    .bind(shown(ask.owner.as_ref()))
    .bind(ask.agent.map(|id| id.0))
    .bind(ask.severity.map(|severity| severity.as_str()))
    .bind(ask.limit.max(0))
    .fetch_all(pool)
    .await?;
    let events: StoreResult<Vec<Event>> = rows.iter().map(event).collect();
    Ok(events?)
}

async fn controller_state(pool: &PgPool) -> Work<ControllerState> {
    let mut tx = read(pool).await?;
    let row = sqlx::query(
        "SELECT clock_timestamp() AS read_at, count(*) FILTER (WHERE due AND NOT leased) AS due,
             min(next_due_at) FILTER (WHERE due AND NOT leased) AS oldest,
             count(*) FILTER (WHERE NOT due) AS scheduled, count(*) FILTER (WHERE failure_count > 0) AS failing
         FROM (SELECT w.next_due_at, w.failure_count, w.next_due_at <= clock_timestamp() AS due,
                   coalesce(w.lease_until > clock_timestamp(), false) AS leased
               FROM agent_work w JOIN agent_source s ON s.id = w.agent_id WHERE s.deleted_at IS NULL) w",
    )
    .fetch_one(&mut *tx)
    .await?;
    let mut state = ControllerState {
        now: cell(&row, "read_at")?,
        due: count(cell(&row, "due")?),
        oldest_due: cell(&row, "oldest")?,
        scheduled: count(cell(&row, "scheduled")?),
        failing: count(cell(&row, "failing")?),
        replicas: Vec::new(),
        budgets: Vec::new(),
        troubles: Vec::new(),
    };
    leases(&mut tx, &mut state).await?;
    budgets(&mut tx, &mut state).await?;
    troubles(&mut tx, &mut state).await?;
    tx.commit().await?;
    state.arrange();
    Ok(state)
}

async fn leases(db: &mut PgConnection, state: &mut ControllerState) -> Work<()> {
    let rows = sqlx::query(
        "SELECT lease_owner AS holder, count(*) AS agents, NULL::text AS duty, max(lease_until) AS until
         FROM agent_work WHERE lease_until > clock_timestamp() GROUP BY lease_owner
         UNION ALL SELECT holder, 0, name, until FROM controller_lease WHERE until > clock_timestamp()",
    )
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let holder: &str = cell(row, "holder")?;
        let duty: Option<&str> = cell(row, "duty")?;
        state.add_lease(
            holder,
            count(cell(row, "agents")?),
            duty,
            cell(row, "until")?,
        );
    }
    Ok(())
}

async fn budgets(db: &mut PgConnection, state: &mut ControllerState) -> Work<()> {
    let rows = sqlx::query(
        "SELECT account, slot_ms, used, NULL::timestamptz AS until FROM api_budget
         UNION ALL SELECT account, NULL, 0, until FROM api_pause WHERE until > clock_timestamp()
         ORDER BY account, slot_ms NULLS FIRST",
    )
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let account: String = cell(row, "account")?;
        if state.budgets.last().is_none_or(|b| b.account != account) {
            state.budgets.push(AccountBudget {
                account,
                slots: Vec::new(),
                paused_until: None,
            });
        }
        let until: Option<DateTime<Utc>> = cell(row, "until")?;
        if let Some(budget) = state.budgets.last_mut() {
            match until {
                Some(until) => budget.paused_until = Some(until),
                None => budget.slots.push(Slot {
                    start_ms: cell(row, "slot_ms")?,
                    used: u32::try_from(cell::<i64>(row, "used")?).unwrap_or(u32::MAX),
                }),
            }
        }
    }
    Ok(())
}

async fn troubles(db: &mut PgConnection, state: &mut ControllerState) -> Work<()> {
    let rows = sqlx::query(
        "SELECT c.type, c.reason, count(*) AS agents FROM agent_condition c JOIN agent_source s ON s.id = c.agent_id
         WHERE s.deleted_at IS NULL AND c.observed_generation >= s.generation
           AND (c.type IN ('Stalled', 'Held', 'Throttled', 'Drifted') AND c.status = 'True'
             OR c.type = 'Reconciling' AND c.reason IN ('AwaitingKeys', 'BackingOff'))
         GROUP BY c.type, c.reason",
    )
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        // A word of a newer program's says nothing to this one.
        if let (Ok(kind), Ok(reason)) = (word(row, "type"), word(row, "reason")) {
            state.troubles.push(Trouble {
                kind,
                reason,
                agents: count(cell(row, "agents")?),
            });
        }
    }
    Ok(())
}

#[async_trait]
impl GlanceStore for PostgresStore {
    async fn glance_counts(&self, owner: Option<&Owner>) -> StoreResult<GlanceCounts> {
        Ok(counts(&self.pool, owner).await?)
    }

    async fn glance_page(&self, ask: &GlancePage) -> StoreResult<Vec<Snapshot>> {
        Ok(page(&self.pool, &self.sight, ask).await?)
    }

    async fn glance_cleanup(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        Ok(cleanup(&self.pool, &self.sight, owner, limit).await?)
    }

    async fn glance_left_over(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        Ok(left_over(&self.pool, &self.sight, owner, limit).await?)
    }

    async fn glance_events(&self, ask: &GlanceEvents) -> StoreResult<Vec<Event>> {
        Ok(events(&self.pool, ask).await?)
    }

    async fn controller_state(&self) -> StoreResult<ControllerState> {
        Ok(controller_state(&self.pool).await?)
    }
}
