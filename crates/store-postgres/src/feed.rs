//! The change feed.
//!
//! Writers append entries without a number; a reader numbers what has been committed, under a lock that it holds until
//! it has committed itself. So the numbers appear in the order in which they were given, and a reader that goes on from
//! the last one it saw misses nothing, whatever transactions were open meanwhile. A number drawn by the writer would not
//! do: it may become visible after a higher one. (Reading only below `pg_snapshot_xmin` does not help a reader that
//! remembers such numbers and not transaction ids, and stalls behind any long transaction of the cluster.)

use sqlx::PgConnection;
use sqlx::postgres::PgPool;
use talon_core::AgentId;
use talon_store::{Change, ChangeKind, StoreError};

use crate::error::Work;
use crate::snapshot::cell;

/// Entries after `seq`.
pub(crate) async fn after(pool: &PgPool, seq: i64, limit: i64) -> Work<Vec<Change>> {
    publish(pool).await?;
    let rows = sqlx::query(
        "SELECT seq, agent_id, kind FROM agent_change WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(seq)
    .bind(limit.max(0))
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let kind = ChangeKind::parse(cell(row, "kind")?).ok_or_else(|| {
                StoreError::Corrupt("column kind holds an unknown word".to_owned())
            })?;
            Ok(Change {
                seq: cell(row, "seq")?,
                agent_id: AgentId(cell(row, "agent_id")?),
                kind,
            })
        })
        .collect()
}

/// The highest number given so far; pruning does not lower it.
pub(crate) async fn last(pool: &PgPool) -> Work<i64> {
    publish(pool).await?;
    Ok(sqlx::query_scalar("SELECT seq FROM agent_change_head")
        .fetch_one(pool)
        .await?)
}

/// The number from which on every entry is kept.
pub(crate) async fn first(pool: &PgPool) -> Work<i64> {
    publish(pool).await?;
    Ok(sqlx::query_scalar(
        "SELECT coalesce((SELECT min(seq) FROM agent_change), head.seq + 1) FROM agent_change_head head",
    )
    .fetch_one(pool)
    .await?)
}

/// Numbers what has been committed since.
async fn publish(pool: &PgPool) -> Work<()> {
    let pending: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM agent_change WHERE seq IS NULL)")
            .fetch_one(pool)
            .await?;
    if !pending {
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    number(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn number(connection: &mut PgConnection) -> Work<()> {
    // A statement of its own: the next one must see what the previous holder of the lock has committed.
    sqlx::query("SELECT seq FROM agent_change_head FOR UPDATE")
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "WITH numbered AS MATERIALIZED (
             SELECT c.id, head.seq + row_number() OVER (ORDER BY c.id) AS number
             FROM agent_change c, agent_change_head head WHERE c.seq IS NULL
         ), given AS (
             UPDATE agent_change c SET seq = numbered.number FROM numbered WHERE c.id = numbered.id
         )
         UPDATE agent_change_head SET seq = coalesce((SELECT max(number) FROM numbered), seq)",
    )
    .execute(connection)
    .await?;
    Ok(())
}
