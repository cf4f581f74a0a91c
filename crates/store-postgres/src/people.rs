//! What people ask for: apply, delete, reconcile, suspend.

use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use talon_core::{AgentId, AgentName, AgentSpec, Generation, Owner};
use talon_store::columns::{self, Cell};
use talon_store::fleet::{Actor, Decided};
use talon_store::{Applied, ApplyOptions, ApplyOutcome, StoreError, codes};

use crate::actor::begin_writer_as;
use crate::error::Work;
use crate::snapshot::{cell, raw_spec, spec_columns};

/// One upsert. The spec is checked before anything of it leaves this process.
pub(crate) async fn apply(
    pool: &PgPool,
    actor: Option<&Actor>,
    name: &AgentName,
    owner: &Owner,
    spec: &AgentSpec,
    options: ApplyOptions,
) -> Work<Applied> {
    let wanted = columns::encode(spec)?;
    let mut tx = begin_writer_as(pool, actor).await?;
    let applied = loop {
        if let Some(applied) = update(&mut tx, name, owner, &wanted, options).await? {
            break applied;
        }
        options.check(None)?;
        if let Some(applied) = insert(&mut tx, name, owner, &wanted).await? {
            break applied;
        }
        // Somebody created it between the two: look again.
    };
    if options.dry_run {
        tx.rollback().await?;
    } else {
        tx.commit().await?;
    }
    Ok(applied)
}

/// Brings a living agent to the spec; `None` if there is none.
async fn update(
    connection: &mut PgConnection,
    name: &AgentName,
    owner: &Owner,
    wanted: &[(&'static str, Cell)],
    options: ApplyOptions,
) -> Work<Option<Applied>> {
    let Some(row) = sqlx::query(concat!(
        "SELECT s.id, s.owner, s.generation, s.deletion_requested_at IS NOT NULL AS deleting, ",
        spec_columns!(),
        " FROM agent_source s WHERE s.name = $1 AND s.deleted_at IS NULL FOR NO KEY UPDATE"
    ))
    .bind(name.as_str())
    .fetch_optional(&mut *connection)
    .await?
    else {
        return Ok(None);
    };
    let id = AgentId(cell(&row, "id")?);
    let actual: i64 = cell(&row, "generation")?;
    options.check(Some((id, actual)))?;
    if cell::<&str>(&row, "owner")? != owner.0 {
        return Err(codes::rejected(codes::FIXED).into());
    }
    // An equal spec as well: it brings back nothing.
    if cell(&row, "deleting")? {
        return Err(codes::rejected(codes::DELETING).into());
    }
    let (stored, violations) = columns::decode(raw_spec(&row)?);
    let changed = columns::changed(wanted.to_vec(), &stored, &violations);
    if changed.is_empty() {
        return Ok(Some(Applied {
            id,
            generation: Generation(actual),
            outcome: ApplyOutcome::Unchanged,
        }));
    }
    let mut query = QueryBuilder::<Postgres>::new("UPDATE agent_source SET ");
    for (i, (column, value)) in changed.iter().enumerate() {
        query
            .push(if i == 0 { "" } else { ", " })
            .push(column)
            .push(" = ");
        push_cell(&mut query, value);
    }
    query
        .push(" WHERE id = ")
        .push_bind(id.0)
        .push(" RETURNING generation");
    let generation: i64 = query.build_query_scalar().fetch_one(connection).await?;
    let outcome = if generation == actual {
        ApplyOutcome::Unchanged
    } else {
        ApplyOutcome::Updated
    };
    Ok(Some(Applied {
        id,
        generation: Generation(generation),
        outcome,
    }))
}

/// Creates an agent; `None` if a living one has the name.
async fn insert(
    connection: &mut PgConnection,
    name: &AgentName,
    owner: &Owner,
    wanted: &[(&'static str, Cell)],
) -> Work<Option<Applied>> {
    let mut query = QueryBuilder::<Postgres>::new("INSERT INTO agent_source (name, owner");
    for (column, _) in wanted {
        query.push(", ").push(column);
    }
    query
        .push(") VALUES (")
        .push_bind(name.as_str())
        .push(", ")
        .push_bind(owner.0.as_str());
    for (_, value) in wanted {
        query.push(", ");
        push_cell(&mut query, value);
    }
    query.push(") ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING RETURNING id, generation");
    let row = query.build().fetch_optional(connection).await?;
    Ok(row
        .map(|row| {
            Ok::<_, StoreError>(Applied {
                id: AgentId(cell(&row, "id")?),
                generation: Generation(cell(&row, "generation")?),
                outcome: ApplyOutcome::Created,
            })
        })
        .transpose()?)
}

fn push_cell(query: &mut QueryBuilder<Postgres>, value: &Cell) {
    match value {
        Cell::Text(text) => query.push_bind(text.clone()),
        Cell::Json(json) => query.push_bind(json.clone()).push("::jsonb"),
        Cell::Int(number) => query.push_bind(*number),
        Cell::Bool(flag) => query.push_bind(*flag),
    };
}

/// What `DELETE FROM` becomes.
pub(crate) async fn request_deletion(
    pool: &PgPool,
    actor: Option<&Actor>,
    name: &AgentName,
    decided: Option<Decided>,
    keep_bucket: bool,
) -> Work<()> {
    let mut tx = begin_writer_as(pool, actor).await?;
    let id = locked(&mut tx, name, decided).await?;
    sqlx::query(
        "UPDATE agent_source SET deletion_requested_at = clock_timestamp(),
            deletion_policy = CASE WHEN $2 THEN 'keep_bucket' ELSE deletion_policy END
         WHERE id = $1 AND deletion_requested_at IS NULL",
    )
    .bind(id.0)
    .bind(keep_bucket)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Makes a pass due now.
pub(crate) async fn request_reconcile(
    pool: &PgPool,
    actor: Option<&Actor>,
    name: &AgentName,
    decided: Option<Decided>,
) -> Work<()> {
    let mut tx = begin_writer_as(pool, actor).await?;
    let id = locked(&mut tx, name, decided).await?;
    sqlx::query("UPDATE agent_source SET reconcile_requested_at = clock_timestamp() WHERE id = $1")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Sets `suspend`; whether it changed.
pub(crate) async fn set_suspend(
    pool: &PgPool,
    actor: Option<&Actor>,
    name: &AgentName,
    decided: Option<Decided>,
    suspend: bool,
) -> Work<bool> {
    let mut tx = begin_writer_as(pool, actor).await?;
    let id = locked(&mut tx, name, decided).await?;
    let changed =
        sqlx::query("UPDATE agent_source SET suspend = $2 WHERE id = $1 AND suspend <> $2")
            .bind(id.0)
            .bind(suspend)
            .execute(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(changed.rows_affected() > 0)
}

/// The living agent of this name, which nobody else writes until the transaction ends; it must be the one decided about.
async fn locked(
    connection: &mut PgConnection,
    name: &AgentName,
    decided: Option<Decided>,
) -> Work<AgentId> {
    let row = sqlx::query(
        "SELECT id, generation FROM agent_source WHERE name = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
    )
    .bind(name.as_str())
    .fetch_optional(connection)
    .await?
    .ok_or(StoreError::NotFound)?;
    let id = AgentId(cell(&row, "id")?);
    if let Some(decided) = decided {
        decided.check(id, cell(&row, "generation")?)?;
    }
    Ok(id)
}
