//! Tasks, and the indexes that the databases have on theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use talon_core::task::{NewTask, Task, TaskId, TaskState};

use super::MemoryStore;
use super::state::Now;
use crate::StoreResult;
use crate::network::{
    AGENT_DELETED, Submitted, TaskStore, check_end, check_task, keepable, progress_answer,
    same_task,
};
use crate::writes::later;

/// The table.
#[derive(Clone, Default)]
pub(super) struct Tasks {
    /// By the order in which they were stored.
    rows: BTreeMap<u64, Task>,
    by_id: BTreeMap<TaskId, u64>,
    by_agent: BTreeSet<(String, u64)>,
    open: BTreeSet<(String, u64)>,
    last: u64,
}

impl Tasks {
    fn get(&self, id: &TaskId) -> Option<&Task> {
        self.rows.get(self.by_id.get(id)?)
    }

    fn open_mut(&mut self, id: &TaskId) -> Option<(u64, &mut Task)> {
        let seq = *self.by_id.get(id)?;
        let task = self.rows.get_mut(&seq)?;
        (!task.state.is_final()).then_some((seq, task))
    }

    fn open_of(&self, agent: &str) -> impl Iterator<Item = &Task> {
        self.open
            .range((agent.to_owned(), 0)..=(agent.to_owned(), u64::MAX))
            .filter_map(|(_, seq)| self.rows.get(seq))
    }

    fn submit(&mut self, new: &NewTask, max_open: i64, deleting: bool, now: Now) -> Submitted {
        if let Some(known) = self.get(&new.id) {
            return if same_task(known, new) {
                Submitted::Known(known.clone())
            } else {
                Submitted::Taken
            };
        }
        if deleting {
            return Submitted::Deleting;
        }
        let open = self.open_of(&new.agent).count() as i64;
        if open >= max_open {
            return Submitted::Full(open);
        }
        let task = Task {
            id: new.id.clone(),
            agent: new.agent.clone(),
            session: new.session.clone(),
            text: new.text.clone(),
            metadata: new.metadata.clone(),
            asked_by: new.asked_by.clone(),
            state: TaskState::Submitted,
            attempts: 0,
            answer: None,
            created_at: now,
            sent_at: None,
            finished_at: None,
            deadline_at: later(now, new.deadline_in),
        };
        self.last += 1;
        self.by_id.insert(task.id.clone(), self.last);
        self.by_agent.insert((task.agent.clone(), self.last));
        self.open.insert((task.agent.clone(), self.last));
        self.rows.insert(self.last, task.clone());
        Submitted::New(task)
    }

    fn sent(&mut self, id: &TaskId, now: Now) -> bool {
        let Some((_, task)) = self.open_mut(id) else {
            return false;
        };
        task.attempts += 1;
        task.sent_at = Some(now);
        true
    }

    fn progress(&mut self, id: &TaskId, state: TaskState, answer: Option<String>) -> bool {
        let Some((_, task)) = self.open_mut(id) else {
            return false;
        };
        task.state = state;
        task.answer = answer;
        true
    }

    fn end(
        &mut self,
        id: &TaskId,
        agent: Option<&str>,
        state: TaskState,
        text: &str,
        now: Now,
    ) -> bool {
        let Some((seq, task)) = self.open_mut(id) else {
            return false;
        };
        if agent.is_some_and(|agent| agent != task.agent) {
            return false;
        }
        task.state = state;
        task.answer = Some(keepable(text).into_owned());
        task.finished_at = Some(now);
        let key = (task.agent.clone(), seq);
        self.open.remove(&key);
        true
    }

    /// Ends what an agent has open, which is being deleted.
    pub(super) fn end_of_deleted(&mut self, agent: &str, now: Now) {
        let open: Vec<TaskId> = self.open_of(agent).map(|task| task.id.clone()).collect();
        for id in open {
            self.end(&id, None, TaskState::Failed, AGENT_DELETED, now);
        }
    }

    fn expire(&mut self, text: &str, now: Now) -> Vec<Task> {
        let mut due: Vec<_> = self
            .open
            .iter()
            .filter_map(|(_, seq)| Some((*seq, self.rows.get(seq)?)))
            .filter(|(_, task)| task.deadline_at <= now)
            .map(|(seq, task)| (task.deadline_at, seq, task.id.clone()))
            .collect();
        due.sort();
        due.into_iter()
            .filter_map(|(_, _, id)| {
                self.end(&id, None, TaskState::Failed, text, now);
                self.get(&id).cloned()
            })
            .collect()
    }

    fn prune(&mut self, keep: Duration, now: Now) -> u64 {
        let gone: Vec<u64> = self
            .rows
            .iter()
            .filter(|(_, task)| task.finished_at.is_some_and(|at| later(at, keep) < now))
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &gone {
            if let Some(task) = self.rows.remove(seq) {
                self.by_id.remove(&task.id);
                self.by_agent.remove(&(task.agent, *seq));
            }
        }
        gone.len() as u64
    }
}

/// As many as a caller asks for.
fn at_most(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn submit_task(&self, task: &NewTask, max_open: i64) -> StoreResult<Submitted> {
        check_task(task)?;
        Ok(self.write(|s, now| {
            let deleting = s.is_deleting(&task.agent);
            s.tasks.submit(task, max_open, deleting, now)
        }))
    }

    async fn task(&self, id: &TaskId) -> StoreResult<Option<Task>> {
        Ok(self.read(|s, _| s.tasks.get(id).cloned()))
    }

    async fn open_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        Ok(self.read(|s, _| {
            let open = s.tasks.open_of(agent);
            open.take(at_most(limit)).cloned().collect()
        }))
    }

    async fn agents_with_open_tasks(&self) -> StoreResult<Vec<String>> {
        Ok(self.read(|s, _| {
            let mut agents: Vec<String> = s.tasks.open.iter().map(|(a, _)| a.clone()).collect();
            agents.dedup();
            agents
        }))
    }

    async fn task_sent(&self, id: &TaskId) -> StoreResult<bool> {
        Ok(self.write(|s, now| s.tasks.sent(id, now)))
    }

    async fn task_progress(&self, id: &TaskId, state: TaskState, text: &str) -> StoreResult<bool> {
        let answer = progress_answer(state, text)?.map(|text| text.into_owned());
        Ok(self.write(|s, _| s.tasks.progress(id, state, answer)))
    }

    async fn end_task(
        &self,
        id: &TaskId,
        agent: Option<&str>,
        state: TaskState,
        text: &str,
    ) -> StoreResult<bool> {
        check_end(state)?;
        Ok(self.write(|s, now| s.tasks.end(id, agent, state, text, now)))
    }

    async fn expire_tasks(&self, text: &str) -> StoreResult<Vec<Task>> {
        Ok(self.write(|s, now| s.tasks.expire(text, now)))
    }

    async fn next_task_deadline(&self) -> StoreResult<Option<Duration>> {
        Ok(self.read(|s, now| {
            let open = s.tasks.open.iter();
            open.filter_map(|(_, seq)| Some(s.tasks.rows.get(seq)?.deadline_at))
                .min()
                .map(|at| (at - now).to_std().unwrap_or(Duration::ZERO))
        }))
    }

    async fn recent_tasks(&self, agent: &str, limit: i64) -> StoreResult<Vec<Task>> {
        Ok(self.read(|s, _| {
            let of_agent = (agent.to_owned(), 0)..=(agent.to_owned(), u64::MAX);
            s.tasks
                .by_agent
                .range(of_agent)
                .rev()
                .filter_map(|(_, seq)| s.tasks.rows.get(seq).cloned())
                .take(at_most(limit))
                .collect()
        }))
    }

    async fn prune_tasks(&self, keep: Duration) -> StoreResult<u64> {
        Ok(self.write(|s, now| s.tasks.prune(keep, now)))
    }
}
