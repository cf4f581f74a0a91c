//! The tasks of one connection: at most so many sent and not yet answered, the oldest first; the others wait in the
//! database. A task is stored before it is sent, sent again on the agent's next connection, and ends once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use talon_core::task::{Task, TaskId, TaskState};
use tokio::time::Instant;

use crate::directory::Link;
use crate::end::End;
use crate::fields::Report;
use crate::frame;
use crate::outbox::Outbox;
use crate::shared::Shared;

/// Wait before the database is asked again for what there is to do.
const RETRY: Duration = Duration::from_secs(1);

/// See the module.
pub struct Window {
    shared: Arc<Shared>,
    link: Arc<Link>,
    outbox: Outbox,
    sent: HashMap<TaskId, Sent>,
    last_request: u64,
    /// The database may hold tasks that were not sent on this connection.
    backlog: bool,
    retry_at: Option<Instant>,
}

struct Sent {
    request: u64,
    working: bool,
}

/// The frame that hands a task to an agent.
pub fn execute_frame(
    request: u64,
    id: &TaskId,
    session: &TaskId,
    text: &str,
    metadata: &serde_json::Value,
) -> String {
    let metadata = if metadata.is_object() {
        metadata
    } else {
        &json!({})
    };
    let params = json!({
        "id": id,
        "sessionId": session,
        "message": {"role": "user", "parts": [{"type": "text", "text": text}]},
        "metadata": metadata,
    });
    frame::request(request, "task.execute", params)
}

impl Window {
    /// Nothing sent yet.
    pub fn new(shared: Arc<Shared>, link: Arc<Link>, outbox: Outbox) -> Self {
        Self {
            shared,
            link,
            outbox,
            sent: HashMap::new(),
            last_request: 0,
            backlog: true,
            retry_at: None,
        }
    }

    /// When to look again although nothing happened.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether the agent owes answers, or tasks wait for it.
    pub fn is_busy(&self) -> bool {
        self.backlog || !self.sent.is_empty()
    }

    /// A task was stored.
    pub async fn offer(&mut self, task: &Task) -> Result<(), End> {
        if self.backlog || self.sent.len() >= self.shared.config.window {
            self.backlog = true;
            return self.refill().await;
        }
        self.send(task).await
    }

    /// Tasks may wait in the database, and tasks that were sent may have ended without us.
    pub async fn look(&mut self) -> Result<(), End> {
        self.backlog = true;
        if !self.stop_ended().await? {
            self.retry_at = Some(Instant::now() + RETRY);
            return Ok(());
        }
        self.refill().await
    }

    /// Tells the agent to stop what has ended without it. `false` if the database does not answer.
    pub async fn stop_ended(&mut self) -> Result<bool, End> {
        let ids: Vec<TaskId> = self.sent.keys().cloned().collect();
        for id in ids {
            match self.shared.store.task(&id).await {
                Ok(Some(task)) if !task.state.is_final() => {}
                Ok(_) => self.stop(&id).await?,
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn stop(&mut self, id: &TaskId) -> Result<(), End> {
        self.sent.remove(id);
        let stop = frame::notification("task.cancel", json!({"id": id, "task_id": id}));
        Ok(self.outbox.send(stop).await?)
    }

    /// Sends what waits in the database, as far as there is room.
    pub async fn refill(&mut self) -> Result<(), End> {
        self.retry_at = None;
        let size = self.shared.config.window;
        if !self.backlog || self.sent.len() >= size {
            return Ok(());
        }
        let limit = i64::try_from(size).unwrap_or(i64::MAX);
        let Ok(tasks) = self.shared.store.open_tasks(&self.link.name, limit).await else {
            self.retry_at = Some(Instant::now() + RETRY);
            return Ok(());
        };
        let all = tasks.len() < size;
        for task in &tasks {
            if self.sent.len() >= size {
                return Ok(());
            }
            self.send(task).await?;
        }
        if all && self.retry_at.is_none() {
            self.backlog = false;
        }
        Ok(())
    }

    async fn send(&mut self, task: &Task) -> Result<(), End> {
        if self.sent.contains_key(&task.id) {
            return Ok(());
        }
        match self.shared.store.task_sent(&task.id).await {
            Ok(true) => {}
            Ok(false) => return Ok(()), // ended meanwhile
            Err(_) => {
                self.backlog = true;
                self.retry_at = Some(Instant::now() + RETRY);
                return Ok(());
            }
        }
        self.last_request += 1;
        let request = self.last_request;
        let frame = execute_frame(request, &task.id, &task.session, &task.text, &task.metadata);
        let sent = Sent {
            request,
            working: false,
        };
        self.sent.insert(task.id.clone(), sent);
        tracing::debug!(agent = %self.link.name, task = %task.id, bytes = task.text.len(), attempt = task.attempts + 1, "task sent");
        Ok(self.outbox.send(frame).await?)
    }

    /// `task.status`: `true` if the task is under way here.
    pub async fn status(&mut self, report: &Report) -> Result<bool, End> {
        let state = match report.state {
            Some(end @ (TaskState::Completed | TaskState::Failed | TaskState::Canceled)) => {
                return self.end(&report.task, end, &report.text).await;
            }
            Some(TaskState::InputRequired) => TaskState::InputRequired,
            Some(TaskState::Submitted | TaskState::Working) | None => TaskState::Working,
        };
        let Ok(id) = TaskId::parse(&report.task) else {
            return Ok(false);
        };
        let Some(sent) = self.sent.get_mut(&id) else {
            return Ok(false);
        };
        let told = state == TaskState::Working && sent.working;
        sent.working = state == TaskState::Working;
        if !told {
            let progress = || self.shared.store.task_progress(&id, state, &report.text);
            self.shared.insist(progress).await.map_err(End::database)?;
        }
        self.shared.streams.piece(&id, state, &report.text);
        Ok(true)
    }

    /// `task.complete`: `true` if this was the end of the task.
    pub async fn complete(&mut self, report: &Report) -> Result<bool, End> {
        let end = match report.state {
            Some(TaskState::InputRequired) => return self.status(report).await,
            Some(end @ (TaskState::Completed | TaskState::Failed | TaskState::Canceled)) => end,
            Some(TaskState::Submitted | TaskState::Working) | None => TaskState::Completed,
        };
        self.end(&report.task, end, &report.text).await
    }

    /// The agent answered a request of ours with an error: it will not do the task.
    pub async fn refused(&mut self, request: u64, why: &str) -> Result<(), End> {
        let refused = self.sent.iter().find(|(_, sent)| sent.request == request);
        let Some(id) = refused.map(|(id, _)| id.to_string()) else {
            return Ok(());
        };
        let text = format!("the agent refused the task: {why}");
        self.end(&id, TaskState::Failed, &text).await?;
        Ok(())
    }

    async fn end(&mut self, id: &str, state: TaskState, text: &str) -> Result<bool, End> {
        let Ok(id) = TaskId::parse(id) else {
            return Ok(false);
        };
        let name = self.link.name.as_str();
        let end = || self.shared.store.end_task(&id, Some(name), state, text);
        let first = self.shared.insist(end).await.map_err(End::database)?;
        self.sent.remove(&id);
        if first {
            tracing::debug!(agent = name, task = %id, %state, bytes = text.len(), "task ended");
            self.shared.streams.end(&id, state, text);
        }
        self.refill().await?;
        Ok(first)
    }

    /// The task ended without the agent.
    pub async fn ended(&mut self, id: &TaskId) -> Result<(), End> {
        if self.sent.contains_key(id) {
            self.stop(id).await?;
            self.refill().await?;
        }
        Ok(())
    }
}
