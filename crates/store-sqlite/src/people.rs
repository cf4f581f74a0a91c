//! What people ask for.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};
use talon_core::event::{Event, NewEvent};
use talon_core::{AgentId, AgentName, AgentSpec, Generation, Owner, Snapshot};
use talon_store::columns::{self, Cell};
use talon_store::fleet::{Actor, Decided};
use talon_store::{
    Applied, ApplyOptions, ApplyOutcome, CONTROLLER, Change, ChangeKind, EventFilter, ListFilter,
    StoreError, StoreResult, codes,
};

use crate::actor::{begin_as, done_as};
use crate::error::translate;
use crate::open::{SqliteStore, done};
use crate::read::{SELECT, live, readable, snapshots};
use crate::sql::{Columns, now, time_text, unreadable};

fn push_cell(query: &mut QueryBuilder<Sqlite>, cell: Cell) {
    match cell {
        Cell::Text(text) | Cell::Json(text) => query.push_bind(text),
        Cell::Int(number) => query.push_bind(number),
        Cell::Bool(flag) => query.push_bind(i64::from(flag)),
    };
}

async fn insert(
    connection: &mut SqliteConnection,
    name: &AgentName,
    owner: &Owner,
    cells: Vec<(&'static str, Cell)>,
) -> StoreResult<()> {
    let mut query = QueryBuilder::new("INSERT INTO agent_source (name, owner");
    for (column, _) in &cells {
        query.push(", ").push(column);
    }
    query.push(") VALUES (").push_bind(name.as_str().to_owned());
    query.push(", ").push_bind(owner.0.clone());
    for (_, cell) in cells {
        query.push(", ");
        push_cell(&mut query, cell);
    }
    query.push(")");
    query.build().execute(connection).await.map_err(translate)?;
    Ok(())
}

async fn update(
    connection: &mut SqliteConnection,
    id: AgentId,
    cells: Vec<(&'static str, Cell)>,
) -> StoreResult<()> {
    let mut query = QueryBuilder::new("UPDATE agent_source SET ");
    for (at, (column, cell)) in cells.into_iter().enumerate() {
        query
            .push(if at == 0 { "" } else { ", " })
            .push(column)
            .push(" = ");
        push_cell(&mut query, cell);
    }
    query.push(" WHERE id = ").push_bind(id.to_string());
    query.build().execute(connection).await.map_err(translate)?;
    Ok(())
}

/// Appends an event or folds it into an equal one of the same agent.
pub(crate) async fn write_event(
    connection: &mut SqliteConnection,
    agent: Option<AgentId>,
    event: &NewEvent,
) -> StoreResult<()> {
    sqlx::query(concat!(
        "INSERT INTO agent_event (agent_id, severity, reason, object, message, first_at, last_at) VALUES (?, ?, ?, ?, ?, ",
        now!(),
        ", ",
        now!(),
        ") ON CONFLICT (ifnull(agent_id, ''), severity, reason, object, message)",
        " DO UPDATE SET count = count + 1, last_at = max(last_at, excluded.last_at)"
    ))
    .bind(agent.map(|id| id.to_string()))
    .bind(event.severity.as_str())
    .bind(event.reason.as_str())
    .bind(&event.object)
    .bind(&event.message)
    .execute(connection)
    .await
    .map_err(translate)?;
    Ok(())
}

impl SqliteStore {
    pub(crate) async fn do_apply(
        &self,
        actor: Option<&Actor>,
        name: &AgentName,
        owner: &Owner,
        spec: &AgentSpec,
        options: ApplyOptions,
    ) -> StoreResult<Applied> {
        columns::check_owner(owner)?;
        let wanted = columns::encode(spec)?;
        let mut tx = self.writing().await?;
        begin_as(&mut tx, actor).await?;
        let found = live(&mut tx, name.as_str()).await?;
        let living = found.as_ref().map(|agent| (agent.id, agent.generation.0));
        options.check(living)?;
        let outcome = match &found {
            None => {
                insert(&mut tx, name, owner, wanted).await?;
                ApplyOutcome::Created
            }
            Some(agent) if agent.owner != *owner => return Err(codes::rejected(codes::FIXED)),
            // An equal spec as well: it brings back nothing.
            Some(agent) if agent.is_deleting() => return Err(codes::rejected(codes::DELETING)),
            Some(agent) => {
                let changed = columns::changed(wanted, &agent.spec, &agent.violations);
                if changed.is_empty() {
                    ApplyOutcome::Unchanged
                } else {
                    update(&mut tx, agent.id, changed).await?;
                    ApplyOutcome::Updated
                }
            }
        };
        let after = match (outcome, found) {
            (ApplyOutcome::Unchanged, Some(agent)) => agent,
            // The triggers have written since: read again.
            _ => live(&mut tx, name.as_str())
                .await?
                .ok_or(StoreError::NotFound)?,
        };
        if options.dry_run || outcome == ApplyOutcome::Unchanged {
            tx.rollback().await.map_err(translate)?;
        } else {
            done_as(tx).await?;
            self.watch.announce();
        }
        Ok(Applied {
            id: after.id,
            generation: after.generation,
            outcome,
        })
    }

    pub(crate) async fn do_get(
        &self,
        name: &str,
        include_archived: bool,
    ) -> StoreResult<Option<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
        query.push("WHERE s.name = ").push_bind(name.to_owned());
        if !include_archived {
            query.push(" AND s.deleted_at IS NULL");
        }
        query.push(" ORDER BY s.deleted_at IS NOT NULL, s.deleted_at DESC, s.seq DESC LIMIT 1");
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        found.into_iter().next().transpose()
    }

    pub(crate) async fn do_list(&self, filter: &ListFilter) -> StoreResult<Vec<Snapshot>> {
        let mut query = QueryBuilder::new(SELECT);
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
        query.push(" ORDER BY s.name, s.seq");
        let mut tx = self.reading().await?;
        let found = snapshots(&mut tx, query).await?;
        done(tx).await?;
        Ok(readable(found))
    }

    pub(crate) async fn do_request_deletion(
        &self,
        actor: Option<&Actor>,
        name: &AgentName,
        decided: Option<Decided>,
        keep_bucket: bool,
    ) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        begin_as(&mut tx, actor).await?;
        let agent = live(&mut tx, name.as_str())
            .await?
            .ok_or(StoreError::NotFound)?;
        if let Some(decided) = decided {
            decided.check(agent.id, agent.generation.0)?;
        }
        if agent.is_deleting() {
            return tx.rollback().await.map_err(translate);
        }
        sqlx::query(
            "UPDATE agent_source SET deletion_requested_at = 'requested',
             deletion_policy = CASE WHEN ? THEN 'keep_bucket' ELSE deletion_policy END WHERE id = ?",
        )
        .bind(keep_bucket)
        .bind(agent.id.to_string())
        .execute(&mut *tx)
        .await
        .map_err(translate)?;
        done_as(tx).await?;
        self.watch.announce();
        Ok(())
    }

    pub(crate) async fn do_request_reconcile(
        &self,
        actor: Option<&Actor>,
        name: &AgentName,
        decided: Option<Decided>,
    ) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        begin_as(&mut tx, actor).await?;
        let agent = live(&mut tx, name.as_str())
            .await?
            .ok_or(StoreError::NotFound)?;
        if let Some(decided) = decided {
            decided.check(agent.id, agent.generation.0)?;
        }
        // The trigger puts the time in place of the word.
        sqlx::query("UPDATE agent_source SET reconcile_requested_at = 'requested' WHERE id = ?")
            .bind(agent.id.to_string())
            .execute(&mut *tx)
            .await
            .map_err(translate)?;
        done_as(tx).await?;
        self.watch.announce();
        Ok(())
    }

    pub(crate) async fn do_set_suspend(
        &self,
        actor: Option<&Actor>,
        name: &AgentName,
        decided: Option<Decided>,
        suspend: bool,
    ) -> StoreResult<bool> {
        let mut tx = self.writing().await?;
        begin_as(&mut tx, actor).await?;
        let agent = live(&mut tx, name.as_str())
            .await?
            .ok_or(StoreError::NotFound)?;
        if let Some(decided) = decided {
            decided.check(agent.id, agent.generation.0)?;
        }
        if agent.spec.suspend == suspend {
            tx.rollback().await.map_err(translate)?;
            return Ok(false);
        }
        update(&mut tx, agent.id, vec![("suspend", Cell::Bool(suspend))]).await?;
        done_as(tx).await?;
        self.watch.announce();
        Ok(true)
    }

    pub(crate) async fn do_events(&self, filter: &EventFilter) -> StoreResult<Vec<Event>> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT e.*, coalesce(s.name, ");
        query.push_bind(CONTROLLER);
        query.push(
            ") AS agent FROM agent_event e LEFT JOIN agent_source s ON s.id = e.agent_id WHERE 1",
        );
        match filter.agent.as_deref() {
            None => {}
            Some(CONTROLLER) => {
                query.push(" AND e.agent_id IS NULL");
            }
            Some(agent) => {
                query.push(" AND s.name = ").push_bind(agent.to_owned());
            }
        }
        if let Some(severity) = filter.severity {
            query
                .push(" AND e.severity = ")
                .push_bind(severity.as_str());
        }
        if let Some(after) = filter.after {
            query.push(" AND e.last_at > ").push_bind(time_text(after));
        }
        let limit = if filter.limit > 0 { filter.limit } else { 1000 };
        query
            .push(" ORDER BY e.last_at DESC, e.id DESC LIMIT ")
            .push_bind(limit);
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

    pub(crate) async fn do_record_event(
        &self,
        agent: Option<AgentId>,
        event: &NewEvent,
    ) -> StoreResult<()> {
        let mut tx = self.writing().await?;
        write_event(&mut tx, agent, event).await?;
        done(tx).await
    }

    pub(crate) async fn do_changes_after(&self, seq: i64, limit: i64) -> StoreResult<Vec<Change>> {
        let rows = sqlx::query(
            "SELECT seq, agent_id, kind FROM agent_change WHERE seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(seq)
        .bind(limit.max(0))
        .fetch_all(&self.readers)
        .await
        .map_err(translate)?;
        rows.iter()
            .map(|row| {
                let c = Columns(row);
                Ok(Change {
                    seq: c.int("seq")?,
                    agent_id: c.word("agent_id")?,
                    kind: ChangeKind::parse(&c.text("kind")?).ok_or_else(|| unreadable("kind"))?,
                })
            })
            .collect()
    }

    pub(crate) async fn do_last_change(&self) -> StoreResult<i64> {
        // Pruning always leaves the last entry.
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM agent_change")
            .fetch_one(&self.readers)
            .await
            .map_err(translate)
    }
}

pub(crate) fn event(c: &Columns<'_>) -> StoreResult<Event> {
    Ok(Event {
        agent: c.text("agent")?,
        event: NewEvent {
            severity: c.word("severity")?,
            reason: c.word("reason")?,
            object: c.text("object")?,
            message: c.text("message")?,
        },
        count: c.int("count")?,
        first_at: c.time("first_at")?,
        last_at: c.time("last_at")?,
    })
}

/// The generation and the last request of an agent, as a pass has to compare them at its end.
pub(crate) async fn moved(
    connection: &mut SqliteConnection,
    id: AgentId,
    generation: Generation,
    request: Option<chrono::DateTime<chrono::Utc>>,
) -> StoreResult<bool> {
    sqlx::query_scalar(
        "SELECT generation IS NOT ? OR reconcile_requested_at IS NOT ? FROM agent_source WHERE id = ?",
    )
    .bind(generation.0)
    .bind(request.map(time_text))
    .bind(id.to_string())
    .fetch_one(connection)
    .await
    .map_err(translate)
}
