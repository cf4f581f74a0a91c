//! In whose name a transaction writes, and as which role.
//!
//! The daemon's role may write no spec: what it does by itself never changes what people want. What it is asked to write
//! over HTTP it writes as `talon_writer`, for that one transaction, and with no more rights than a writer has.

use sqlx::PgTransaction;
use sqlx::postgres::PgPool;
use talon_store::fleet::Actor;

use crate::error::Work;

/// A transaction whose entries in the audit log bear the actor's name. The database believes it of roles that could write
/// the log themselves.
pub(crate) async fn begin_as(pool: &PgPool, actor: Option<&Actor>) -> Work<PgTransaction<'static>> {
    let mut tx = pool.begin().await?;
    if let Some(actor) = actor {
        // For this transaction only.
        sqlx::query(
            "SELECT set_config('talon.actor', $1, true), set_config('talon.source', $2, true)",
        )
        .bind(&actor.name)
        .bind(&actor.source)
        .execute(&mut *tx)
        .await?;
    }
    Ok(tx)
}

/// As [`begin_as`], to write a spec: where the role may not but may become `talon_writer`, it is that until the end of the
/// transaction. Without an actor the role is what it is: whoever runs a command is no daemon.
pub(crate) async fn begin_writer_as(
    pool: &PgPool,
    actor: Option<&Actor>,
) -> Work<PgTransaction<'static>> {
    let mut tx = begin_as(pool, actor).await?;
    if actor.is_some() {
        sqlx::query(
            "SELECT set_config('role', rolname, true) FROM pg_roles
             WHERE rolname = 'talon_writer' AND pg_has_role(oid, 'MEMBER')
               AND NOT has_table_privilege('talon.agent_source', 'DELETE')",
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(tx)
}
