//! Tasks.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use talon_core::task::{NewTask, Task, TaskId, TaskState};
use talon_store::StoreResult;
use talon_store::network::{
    Submitted, TaskStore, check_end, check_task, keepable, progress_answer, same_task,
};

use crate::error::translate;
use crate::gather::Write;
use crate::open::{SqliteStore, done};
use crate::sql::{Columns, minus, now, now_plus, parse_time, plus, unreadable};

fn read(row: &SqliteRow) -> StoreResult<Task> {
    let c = Columns(row);
    let id = |column| TaskId::parse(&c.text(column)?).map_err(|_| unreadable(column));
    Ok(Task {
        id: id("id")?,
        agent: c.text("agent")?,
        session: id("session")?,
        text: c.text("text")?,
        metadata: serde_json::from_str(&c.text("metadata")?).map_err(|_| unreadable("metadata"))?,
        asked_by: c.maybe_text("asked_by")?,
        state: c.word("state")?,
        attempts: c.int("attempts")?,
        answer: c.maybe_text("answer")?,
        created_at: c.time("created_at")?,
        sent_at: c.maybe_time("sent_at")?,
        finished_at: c.maybe_time("finished_at")?,
        deadline_at: c.time("deadline_at")?,
    })
}

async fn insert(db: &mut SqliteConnection, task: &NewTask) -> StoreResult<Task> {
    let row = sqlx::query(concat!(
        "INSERT INTO task (created_at, deadline_at, id, agent, session, asked_by, metadata, text) VALUES (",
        now!(),
        ", ",
        now_plus!(),
        ", ?, ?, ?, ?, ?, ?) RETURNING *"
    ))
    .bind(plus(task.deadline_in))
    .bind(task.id.as_str())
    .bind(&task.agent)
    .bind(task.session.as_str())
    .bind(&task.asked_by)
    .bind(task.metadata.to_string())
    .bind(&task.text)
    .fetch_one(db)
    .await
    .map_err(translate)?;
    read(&row)
}

struct Submit {
    task: NewTask,
    max_open: i64,
}

#[async_trait]
impl Write for Submit {
    type Answer = Submitted;

    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<Submitted> {
        let task = &self.task;
        let known = sqlx::query("SELECT * FROM task WHERE id = ?")
            .bind(task.id.as_str())
            .fetch_optional(&mut *db)
            .await
            .map_err(translate)?;
        if let Some(known) = known {
            let known = read(&known)?;
            return Ok(if same_task(&known, task) {
                Submitted::Known(known)
            } else {
                Submitted::Taken
            });
        }
        let deleting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM agent_source
             WHERE name = ? AND deletion_requested_at IS NOT NULL AND deleted_at IS NULL)",
        )
        .bind(&task.agent)
        .fetch_one(&mut *db)
        .await
        .map_err(translate)?;
        if deleting {
            return Ok(Submitted::Deleting);
        }
        let open: i64 =
            sqlx::query_scalar("SELECT count(*) FROM task WHERE agent = ? AND finished_at IS NULL")
                .bind(&task.agent)
                .fetch_one(&mut *db)
                .await
                .map_err(translate)?;
        if open >= self.max_open {
            return Ok(Submitted::Full(open));
        }
        Ok(Submitted::New(insert(db, task).await?))
    }
}

struct Sent(TaskId);

#[async_trait]
impl Write for Sent {
    type Answer = bool;

    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<bool> {
        let sent = sqlx::query(concat!(
            "UPDATE task SET attempts = attempts + 1, sent_at = ",
            now!(),
            " WHERE id = ? AND finished_at IS NULL"
        ))
        .bind(self.0.as_str())
        .execute(db)
        .await
        .map_err(translate)?;
        Ok(sent.rows_affected() > 0)
    }
}

struct Move {
    id: TaskId,
    state: TaskState,
    answer: Option<String>,
}

#[async_trait]
impl Write for Move {
    type Answer = bool;

    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<bool> {
        let moved = sqlx::query(
            "UPDATE task SET state = ?, answer = ? WHERE id = ? AND finished_at IS NULL",
        )
        .bind(self.state.as_str())
        .bind(&self.answer)
        .bind(self.id.as_str())
        .execute(db)
        .await
        .map_err(translate)?;
        Ok(moved.rows_affected() > 0)
    }
}

struct End {
    id: TaskId,
    agent: Option<String>,
    state: TaskState,
    answer: String,
}

#[async_trait]
impl Write for End {
    type Answer = bool;

    async fn run(&self, db: &mut SqliteConnection) -> StoreResult<bool> {
        let ended = sqlx::query(concat!(
            "UPDATE task SET state = ?1, answer = ?2, finished_at = ",
            now!(),
            " WHERE id = ?3 AND finished_at IS NULL AND (?4 IS NULL OR agent = ?4)"
        ))
        .bind(self.state.as_str())
        .bind(&self.answer)
        .bind(self.id.as_str())
        .bind(&self.agent)
        .execute(db)
        .await
        .map_err(translate)?;
        Ok(ended.rows_affected() > 0)
    }
}

impl SqliteStore {
    async fn tasks_of(
        &self,
        select: &'static str,
        agent: &str,
        limit: i64,
    ) -> StoreResult<Vec<Task>> {
        let rows = sqlx::query(select)
            .bind(agent)
            .bind(limit.max(0))
            .fetch_all(&self.readers)
            .await
            .map_err(translate)?;
        rows.iter().map(read).collect()
    }
}

#[async_trait]
impl TaskStore for SqliteStore {
    async fn submit_task(&self, task: &NewTask, max_open: i64) -> StoreResult<Submitted> {
        check_task(task)?;
        let task = task.clone();
        self.gather.write(Submit { task, max_open }).await
    }

    async fn task(&self, id: &TaskId) -> StoreResult<Option<Task>> {
        let row = sqlx::query("SELECT * FROM task WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(translate)?;
        row.as_ref().map(read).transpose()
    }

    async fn open_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        let select =
            "SELECT * FROM task WHERE agent = ? AND finished_at IS NULL ORDER BY seq LIMIT ?";
        self.tasks_of(select, agent, limit).await
    }

    async fn agents_with_open_tasks(&self) -> StoreResult<Vec<String>> {
        sqlx::query_scalar(
            "SELECT DISTINCT agent FROM task WHERE finished_at IS NULL ORDER BY agent",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(translate)
    }

    async fn task_sent(&self, id: &TaskId) -> StoreResult<bool> {
        self.gather.write(Sent(id.clone())).await
    }

    async fn task_progress(&self, id: &TaskId, state: TaskState, text: &str) -> StoreResult<bool> {
        let answer = progress_answer(state, text)?;
        let stands: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM task WHERE id = ? AND state = ? AND answer IS ?)",
        )
        .bind(id.as_str())
        .bind(state.as_str())
        .bind(answer.as_deref())
        .fetch_one(&self.readers)
        .await
        .map_err(translate)?;
        if stands {
            return Ok(true);
        }
        let (id, answer) = (id.clone(), answer.map(Cow::into_owned));
        self.gather.write(Move { id, state, answer }).await
    }

    async fn end_task(
        &self,
        id: &TaskId,
        agent: Option<&str>,
        state: TaskState,
        text: &str,
    ) -> StoreResult<bool> {
        check_end(state)?;
        let end = End {
            id: id.clone(),
            agent: agent.map(str::to_owned),
            state,
            answer: keepable(text).into_owned(),
        };
        self.gather.write(end).await
    }

    async fn expire_tasks(&self, text: &str) -> StoreResult<Vec<Task>> {
        // Looking costs no write lock; most looks find nothing.
        if self.next_task_deadline().await? != Some(Duration::ZERO) {
            return Ok(Vec::new());
        }
        let mut tx = self.writing().await?;
        let rows = sqlx::query(concat!(
            "UPDATE task SET state = 'failed', answer = ?, finished_at = ",
            now!(),
            " WHERE finished_at IS NULL AND deadline_at <= ",
            now!(),
            " RETURNING *"
        ))
        .bind(keepable(text).as_ref())
        .fetch_all(&mut *tx)
        .await
        .map_err(translate)?;
        done(tx).await?;
        let mut expired = rows.iter().map(read).collect::<StoreResult<Vec<_>>>()?;
        expired.sort_by_key(|task| (task.deadline_at, task.created_at));
        Ok(expired)
    }

    async fn next_task_deadline(&self) -> StoreResult<Option<Duration>> {
        let row = sqlx::query(concat!(
            "SELECT ",
            now!(),
            " AS now, min(deadline_at) AS next FROM task WHERE finished_at IS NULL"
        ))
        .fetch_one(&self.readers)
        .await
        .map_err(translate)?;
        let c = Columns(&row);
        let Some(next) = c.maybe_text("next")? else {
            return Ok(None);
        };
        let left = parse_time("deadline_at", &next)? - c.time("now")?;
        Ok(Some(left.to_std().unwrap_or(Duration::ZERO)))
    }

    async fn recent_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        let select = "SELECT * FROM task WHERE agent = ? ORDER BY seq DESC LIMIT ?";
        self.tasks_of(select, agent, limit).await
    }

    async fn prune_tasks(&self, keep: Duration) -> StoreResult<u64> {
        let mut tx = self.writing().await?;
        let gone = sqlx::query(concat!(
            "DELETE FROM task WHERE finished_at < ",
            now_plus!()
        ))
        .bind(minus(keep))
        .execute(&mut *tx)
        .await
        .map_err(translate)?
        .rows_affected();
        done(tx).await?;
        Ok(gone)
    }
}
