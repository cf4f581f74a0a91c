//! A fleet at a glance.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};
use talon_core::event::Event;
use talon_core::{Owner, Snapshot};
use talon_store::budget::Slot;
use talon_store::glance::{
    AccountBudget, ControllerState, GlanceCounts, GlanceEvents, GlancePage, GlanceStore, Trouble,
};
use talon_store::{CONTROLLER, StoreResult};

use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::people::event;
use crate::read::{SELECT, readable, snapshots};
use crate::sql::{Columns, now};

/// Conditions by which an agent stands still; word for word as the index of migration 20 has them, or it is not used.
macro_rules! in_trouble {
    () => {
        "c.type IN ('Stalled', 'Held', 'Throttled', 'Drifted') AND c.status = 'True'"
    };
}

/// Reasons to wait; likewise.
macro_rules! waiting {
    () => {
        "c.reason IN ('AwaitingKeys', 'BackingOff', 'SecretValueMissing', 'SecretOutOfScope', 'SecretRefDiscarded')"
    };
}

/// Conditions with their agents, where they speak of the present generation.
macro_rules! present {
    () => {
        " FROM agent_condition c CROSS JOIN agent_source g ON g.id = c.agent_id
           AND g.deleted_at IS NULL AND c.observed_generation >= g.generation WHERE "
    };
}

/// Whether an agent wants a look (`GlancePage::attention`). The few that do are gathered once, by two small indexes, instead
/// of looking at the conditions of each.
const ATTENTION: &str = concat!(
    "(s.deployment_status = 'failed'
    OR s.deletion_requested_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-600 seconds')
    OR s.id IN (SELECT c.agent_id",
    present!(),
    in_trouble!(),
    " AND c.type IN ('Stalled', 'Drifted') UNION ALL SELECT c.agent_id",
    present!(),
    waiting!(),
    " AND (c.type = 'Reconciling' AND c.reason = 'AwaitingKeys'
          OR c.type = 'SecretsReady' AND c.status = 'False'
            AND c.reason IN ('SecretValueMissing', 'SecretOutOfScope', 'SecretRefDiscarded'))))"
);

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

async fn controller_state(db: &mut SqliteConnection) -> StoreResult<ControllerState> {
    let row = sqlx::query(concat!(
        "SELECT ",
        now!(),
        " AS now, count(*) FILTER (WHERE w.due AND NOT w.leased) AS due,",
        " min(w.next_due_at) FILTER (WHERE w.due AND NOT w.leased) AS oldest,",
        " count(*) FILTER (WHERE NOT w.due) AS scheduled, count(*) FILTER (WHERE w.failure_count > 0) AS failing",
        " FROM (SELECT next_due_at, failure_count, next_due_at <= ",
        now!(),
        " AS due, coalesce(lease_until > ",
        now!(),
        ", 0) AS leased FROM agent_work",
        " WHERE agent_id IN (SELECT id FROM agent_source WHERE deleted_at IS NULL)) w"
    ))
    .fetch_one(&mut *db)
    .await
    .map_err(translate)?;
    let c = Columns(&row);
    let mut state = ControllerState {
        now: c.time("now")?,
        due: count(c.int("due")?),
        oldest_due: c.maybe_time("oldest")?,
        scheduled: count(c.int("scheduled")?),
        failing: count(c.int("failing")?),
        replicas: Vec::new(),
        budgets: Vec::new(),
        troubles: Vec::new(),
    };
    leases(db, &mut state).await?;
    budgets(db, &mut state).await?;
    troubles(db, &mut state).await?;
    state.arrange();
    Ok(state)
}

async fn leases(db: &mut SqliteConnection, state: &mut ControllerState) -> StoreResult<()> {
    let rows = sqlx::query(concat!(
        "SELECT lease_owner AS holder, count(*) AS agents, NULL AS duty, max(lease_until) AS until FROM agent_work",
        " WHERE lease_until > ",
        now!(),
        " GROUP BY lease_owner UNION ALL SELECT holder, 0, name, until FROM controller_lease WHERE until > ",
        now!()
    ))
    .fetch_all(&mut *db)
    .await
    .map_err(translate)?;
    for row in &rows {
        let c = Columns(row);
        let duty = c.maybe_text("duty")?;
        let (agents, until) = (count(c.int("agents")?), c.time("until")?);
        state.add_lease(&c.text("holder")?, agents, duty.as_deref(), until);
    }
    Ok(())
}

async fn budgets(db: &mut SqliteConnection, state: &mut ControllerState) -> StoreResult<()> {
    let rows = sqlx::query(concat!(
        "SELECT account, slot_ms, used, NULL AS until FROM api_budget",
        " UNION ALL SELECT account, NULL, 0, until FROM api_pause WHERE until > ",
        now!(),
        " ORDER BY account, slot_ms"
    ))
    .fetch_all(&mut *db)
    .await
    .map_err(translate)?;
    for row in &rows {
        let c = Columns(row);
        let account = c.text("account")?;
        if state.budgets.last().is_none_or(|b| b.account != account) {
            state.budgets.push(AccountBudget {
                account,
                slots: Vec::new(),
                paused_until: None,
            });
        }
        let until = c.maybe_time("until")?;
        if let Some(budget) = state.budgets.last_mut() {
            match until {
                Some(until) => budget.paused_until = Some(until),
                None => budget.slots.push(Slot {
                    start_ms: c.int("slot_ms")?,
                    used: u32::try_from(c.int("used")?).unwrap_or(u32::MAX),
                }),
            }
        }
    }
    Ok(())
}

async fn troubles(db: &mut SqliteConnection, state: &mut ControllerState) -> StoreResult<()> {
    let rows = sqlx::query(concat!(
        "SELECT c.type, c.reason, count(*) AS agents",
        present!(),
        in_trouble!(),
        " GROUP BY c.type, c.reason UNION ALL SELECT c.type, c.reason, count(*)",
        present!(),
        waiting!(),
        " AND c.type = 'Reconciling' AND c.reason IN ('AwaitingKeys', 'BackingOff') GROUP BY c.type, c.reason"
    ))
    .fetch_all(&mut *db)
    .await
    .map_err(translate)?;
    for row in &rows {
        let c = Columns(row);
        // A word of a newer program's says nothing to this one.
        if let (Ok(kind), Ok(reason)) = (c.word("type"), c.word("reason")) {
            state.troubles.push(Trouble {
                kind,
                reason,
                agents: count(c.int("agents")?),
            });
        }
    }
    Ok(())
}

fn of_owner(query: &mut QueryBuilder<Sqlite>, owner: Option<&Owner>) {
    if let Some(owner) = owner {
        query.push(" AND s.owner = ").push_bind(owner.0.clone());
    }
}

#[async_trait]
impl GlanceStore for SqliteStore {
    async fn glance_counts(&self, owner: Option<&Owner>) -> StoreResult<GlanceCounts> {
        let mut query = QueryBuilder::new(
            "SELECT s.deployment_status, count(*) AS agents, count(*) FILTER (WHERE ",
        );
        query
            .push(ATTENTION)
            .push(") AS attention FROM agent_source s WHERE s.deleted_at IS NULL");
        of_owner(&mut query, owner);
        query.push(" GROUP BY s.deployment_status");
        let rows = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(translate)?;
        let mut counts = GlanceCounts::default();
        for row in &rows {
            let c = Columns(row);
            counts.add(c.word("deployment_status")?, count(c.int("agents")?));
            counts.attention += count(c.int("attention")?);
        }
        Ok(counts)
    }

    async fn glance_page(&self, ask: &GlancePage) -> StoreResult<Vec<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        query.push("WHERE s.deleted_at IS NULL");
        of_owner(&mut query, ask.owner.as_ref());
        if let Some(status) = ask.status {
            query
                .push(" AND s.deployment_status = ")
                .push_bind(status.as_str());
        }
        if ask.attention {
            query.push(" AND ").push(ATTENTION);
        }
        if let Some(text) = &ask.text {
            let text = text.to_ascii_lowercase();
            query
                .push(" AND (instr(lower(s.name), ")
                .push_bind(text.clone())
                .push(") > 0 OR instr(lower(ifnull(s.display_name, '')), ")
                .push_bind(text)
                .push(") > 0)");
        }
        if let Some(after) = &ask.after {
            query.push(" AND s.name > ").push_bind(after.clone());
        }
        query
            .push(" ORDER BY s.name LIMIT ")
            .push_bind(ask.limit.max(0));
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        Ok(readable(found))
    }

    async fn glance_cleanup(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        query.push(
            "WHERE (s.deleted_at IS NULL AND s.deletion_requested_at IS NOT NULL OR s.deleted_at IS NOT NULL
               AND s.id IN (SELECT agent_id FROM agent_resource WHERE cleanup_result = 'failed'))",
        );
        of_owner(&mut query, owner);
        query
            .push(
                " ORDER BY s.deleted_at IS NOT NULL, s.deleted_at DESC, s.deletion_requested_at, s.name LIMIT ",
            )
            .push_bind(limit.max(0));
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        Ok(readable(found))
    }

    async fn glance_left_over(
        &self,
        owner: Option<&Owner>,
        limit: i64,
    ) -> StoreResult<Vec<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        query.push(
            "WHERE s.deleted_at IS NOT NULL AND s.id IN (SELECT agent_id FROM agent_resource WHERE cleanup_result = 'failed')",
        );
        of_owner(&mut query, owner);
        query
            .push(" ORDER BY s.deleted_at DESC, s.name LIMIT ")
            .push_bind(limit.max(0));
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        Ok(readable(found))
    }

    async fn glance_events(&self, ask: &GlanceEvents) -> StoreResult<Vec<Event>> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT e.*, coalesce(s.name, ");
        query.push_bind(CONTROLLER);
        query.push(
            ") AS agent FROM agent_event e LEFT JOIN agent_source s ON s.id = e.agent_id WHERE 1",
        );
        of_owner(&mut query, ask.owner.as_ref());
        if let Some(agent) = ask.agent {
            query
                .push(" AND e.agent_id = ")
                .push_bind(agent.to_string());
        }
        if let Some(severity) = ask.severity {
            query
                .push(" AND e.severity = ")
                .push_bind(severity.as_str());
        }
        query
            .push(" ORDER BY e.last_at DESC, e.id DESC LIMIT ")
            .push_bind(ask.limit.max(0));
        let rows = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(translate)?;
        // What a newer program has written and this one cannot name is left out.
        let mut events: Vec<Event> = rows
            .iter()
            .filter_map(|row| event(&Columns(row)).ok())
            .collect();
        events.reverse();
        Ok(events)
    }

    async fn controller_state(&self) -> StoreResult<ControllerState> {
        let mut tx = self.reading().await?;
        let state = controller_state(&mut tx).await?;
        done(tx).await?;
        Ok(state)
    }
}
