//! Tasks.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgRow};
use talon_core::task::{NewTask, Task, TaskId, TaskState};
use talon_store::network::{
    Submitted, TaskStore, check_end, check_task, keepable, progress_answer, same_task,
};
use talon_store::{StoreError, StoreResult};

use crate::PostgresStore;
use crate::claims::secs;
use crate::error::{Work, retrying};
use crate::snapshot::{cell, word};

fn read(row: &PgRow) -> StoreResult<Task> {
    let id = |column| {
        TaskId::parse(cell(row, column)?)
            .map_err(|_| StoreError::Corrupt(format!("column {column} holds no id of a task")))
    };
    Ok(Task {
        id: id("id")?,
        agent: cell(row, "agent")?,
        session: id("session")?,
        text: cell(row, "text")?,
        metadata: cell(row, "metadata")?,
        asked_by: cell(row, "asked_by")?,
        state: word(row, "state")?,
        attempts: cell(row, "attempts")?,
        answer: cell(row, "answer")?,
        created_at: cell(row, "created_at")?,
        sent_at: cell(row, "sent_at")?,
        finished_at: cell(row, "finished_at")?,
        deadline_at: cell(row, "deadline_at")?,
    })
}

fn read_all(rows: &[PgRow]) -> Work<Vec<Task>> {
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

async fn submit(pool: &PgPool, task: &NewTask, max_open: i64) -> Work<Submitted> {
    let metadata = task.metadata.to_string();
    loop {
        let mut tx = pool.begin().await?;
        // One after the other for each agent: else two that count at once would both find the last place free. What is
        // counted must be read in a later statement than the lock is taken in.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('talon task ' || $1, 0))")
            .bind(&task.agent)
            .execute(&mut *tx)
            .await?;
        let new = sqlx::query(
            "INSERT INTO task (id, agent, session, asked_by, metadata, text, created_at, deadline_at)
             SELECT $1, $2, $3, $4, $5::json, $6, at, at + make_interval(secs => $7) FROM clock_timestamp() AS at
             WHERE (SELECT count(*) FROM task WHERE agent = $2 AND finished_at IS NULL) < $8
             AND NOT EXISTS (SELECT FROM agent_source
                 WHERE name = $2 AND deletion_requested_at IS NOT NULL AND deleted_at IS NULL)
             ON CONFLICT (id) DO NOTHING RETURNING *",
        )
        .bind(task.id.as_str())
        .bind(&task.agent)
        .bind(task.session.as_str())
        .bind(&task.asked_by)
        .bind(&metadata)
        .bind(&task.text)
        .bind(secs(task.deadline_in))
        .bind(max_open)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(new) = new {
            tx.commit().await?;
            return Ok(Submitted::New(read(&new)?));
        }
        // Whoever has the id has committed by now.
        let known = sqlx::query("SELECT * FROM task WHERE id = $1")
            .bind(task.id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(known) = known {
            let known = read(&known)?;
            return Ok(if same_task(&known, task) {
                Submitted::Known(known)
            } else {
                Submitted::Taken
            });
        }
        let deleting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM agent_source
             WHERE name = $1 AND deletion_requested_at IS NOT NULL AND deleted_at IS NULL)",
        )
        .bind(&task.agent)
        .fetch_one(&mut *tx)
        .await?;
        if deleting {
            return Ok(Submitted::Deleting);
        }
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM task WHERE agent = $1 AND finished_at IS NULL",
        )
        .bind(&task.agent)
        .fetch_one(&mut *tx)
        .await?;
        if open >= max_open {
            return Ok(Submitted::Full(open));
        }
        // A place became free, the other task was pruned, or the agent was archived, between two statements: look again.
        tx.rollback().await?;
    }
}

async fn progress(
    pool: &PgPool,
    id: &TaskId,
    state: TaskState,
    answer: Option<&str>,
) -> Work<bool> {
    let moved = sqlx::query(
        "UPDATE task SET state = $2, answer = $3
         WHERE id = $1 AND finished_at IS NULL AND (state <> $2 OR answer IS DISTINCT FROM $3)",
    )
    .bind(id.as_str())
    .bind(state.as_str())
    .bind(answer)
    .execute(pool)
    .await?;
    if moved.rows_affected() > 0 {
        return Ok(true);
    }
    Ok(
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM task WHERE id = $1 AND finished_at IS NULL)",
        )
        .bind(id.as_str())
        .fetch_one(pool)
        .await?,
    )
}

async fn expire(pool: &PgPool, text: &str) -> Work<Vec<Task>> {
    // A row that somebody else has locked is being ended by them.
    let rows = sqlx::query(
        "WITH late AS MATERIALIZED (
             SELECT seq FROM task WHERE finished_at IS NULL AND deadline_at <= clock_timestamp()
             FOR NO KEY UPDATE SKIP LOCKED
         )
         UPDATE task t SET state = 'failed', answer = $1, finished_at = clock_timestamp()
         FROM late WHERE t.seq = late.seq RETURNING t.*",
    )
    .bind(text)
    .fetch_all(pool)
    .await?;
    let mut expired = read_all(&rows)?;
    expired.sort_by_key(|task| (task.deadline_at, task.created_at));
    Ok(expired)
}

#[async_trait]
impl TaskStore for PostgresStore {
    async fn submit_task(&self, task: &NewTask, max_open: i64) -> StoreResult<Submitted> {
        check_task(task)?;
        retrying(|| submit(&self.pool, task, max_open)).await
    }

    async fn task(&self, id: &TaskId) -> StoreResult<Option<Task>> {
        retrying(|| async {
            let row = sqlx::query("SELECT * FROM task WHERE id = $1")
                .bind(id.as_str())
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.as_ref().map(read).transpose()?)
        })
        .await
    }

    async fn open_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        retrying(|| async {
            let rows = sqlx::query(
                "SELECT * FROM task WHERE agent = $1 AND finished_at IS NULL ORDER BY seq LIMIT $2",
            )
            .bind(agent)
            .bind(limit.max(0))
            .fetch_all(&self.pool)
            .await?;
            read_all(&rows)
        })
        .await
    }

    async fn agents_with_open_tasks(&self) -> StoreResult<Vec<String>> {
        retrying(|| async {
            Ok(sqlx::query_scalar(
                "SELECT agent FROM task WHERE finished_at IS NULL GROUP BY agent ORDER BY agent COLLATE \"C\"",
            )
            .fetch_all(&self.pool)
            .await?)
        })
        .await
    }

    async fn task_sent(&self, id: &TaskId) -> StoreResult<bool> {
        retrying(|| async {
            let sent = sqlx::query(
                "UPDATE task SET attempts = attempts + 1, sent_at = clock_timestamp()
                 WHERE id = $1 AND finished_at IS NULL",
            )
            .bind(id.as_str())
            .execute(&self.pool)
            .await?;
            Ok(sent.rows_affected() > 0)
        })
        .await
    }

    async fn task_progress(&self, id: &TaskId, state: TaskState, text: &str) -> StoreResult<bool> {
        let answer = progress_answer(state, text)?;
        retrying(|| progress(&self.pool, id, state, answer.as_deref())).await
    }

    async fn end_task(
        &self,
        id: &TaskId,
        agent: Option<&str>,
        state: TaskState,
        text: &str,
    ) -> StoreResult<bool> {
        check_end(state)?;
        let answer = keepable(text);
        retrying(|| async {
            let ended = sqlx::query(
                "UPDATE task SET state = $2, answer = $3, finished_at = clock_timestamp()
                 WHERE id = $1 AND finished_at IS NULL AND ($4::text IS NULL OR agent = $4)",
            )
            .bind(id.as_str())
            .bind(state.as_str())
            .bind(answer.as_ref())
            .bind(agent)
            .execute(&self.pool)
            .await?;
            Ok(ended.rows_affected() > 0)
        })
        .await
    }

    async fn expire_tasks(&self, text: &str) -> StoreResult<Vec<Task>> {
        let text = keepable(text);
        retrying(|| expire(&self.pool, &text)).await
    }

    async fn next_task_deadline(&self) -> StoreResult<Option<Duration>> {
        retrying(|| async {
            let seconds: Option<f64> = sqlx::query_scalar(
                "SELECT extract(epoch FROM min(deadline_at) - clock_timestamp())::float8
                 FROM task WHERE finished_at IS NULL",
            )
            .fetch_one(&self.pool)
            .await?;
            Ok(seconds
                .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)))
        })
        .await
    }

    async fn recent_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        retrying(|| async {
            let rows =
                sqlx::query("SELECT * FROM task WHERE agent = $1 ORDER BY seq DESC LIMIT $2")
                    .bind(agent)
                    .bind(limit.max(0))
                    .fetch_all(&self.pool)
                    .await?;
            read_all(&rows)
        })
        .await
    }

    async fn prune_tasks(&self, keep: Duration) -> StoreResult<u64> {
        retrying(|| async {
            let gone = sqlx::query(
                "DELETE FROM task WHERE finished_at < clock_timestamp() - make_interval(secs => $1)",
            )
            .bind(secs(keep))
            .execute(&self.pool)
            .await?;
            Ok(gone.rows_affected())
        })
        .await
    }
}
