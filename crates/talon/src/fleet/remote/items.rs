//! What a daemon answers, as far as commands read it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use talon_core::event::{EventReason, Severity};
use talon_core::id::Generation;
use talon_core::secret::SecretValue;
use talon_core::task::{SessionId, Task, TaskId};
use talon_core::{AgentId, Owner, Snapshot};
use talon_store::access::{ApiToken, Role};
use talon_store::{Applied, ApplyOutcome, Hold, HoldKind};

#[derive(Deserialize)]
pub struct Rehearsed {
    pub outcome: String,
    pub generation: i64,
}

impl Rehearsed {
    pub fn applied(self, before: Option<&Snapshot>) -> Applied {
        let (outcome, generation) = match self.outcome.as_str() {
            "created" => (ApplyOutcome::Created, 1),
            "updated" => (ApplyOutcome::Updated, self.generation + 1),
            _ => (ApplyOutcome::Unchanged, self.generation),
        };
        Applied {
            // Of a row that would be new it means nothing.
            id: before.map_or(AgentId(Default::default()), |s| s.agent.id),
            generation: Generation(generation),
            outcome,
        }
    }
}

/// What a write answers.
#[derive(Deserialize)]
pub struct Written {
    pub id: AgentId,
    pub generation: i64,
}

/// A list of which each item stands for itself: one that this program cannot read is left out.
#[derive(Deserialize)]
pub struct Items {
    pub items: Vec<Value>,
}

impl Items {
    pub fn known<T: DeserializeOwned>(self) -> impl Iterator<Item = T> {
        self.items
            .into_iter()
            .filter_map(|item| serde_json::from_value(item).ok())
    }
}

#[derive(Deserialize)]
pub struct Page {
    pub items: Vec<Value>,
    pub next_page_token: Option<String>,
}

#[derive(Deserialize)]
pub struct EventItem {
    pub agent: String,
    pub severity: Severity,
    pub reason: EventReason,
    pub object: String,
    pub message: String,
    pub count: i64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

#[derive(Deserialize)]
pub struct TaskItem {
    pub id: String,
    pub session: String,
    pub state: talon_core::task::TaskState,
    pub asked_by: Option<String>,
    pub attempts: i64,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl TaskItem {
    pub fn task(self, agent: &str) -> Option<Task> {
        Some(Task {
            id: TaskId::parse(&self.id).ok()?,
            agent: agent.to_owned(),
            session: SessionId::parse(&self.session).ok()?,
            text: String::new(),
            metadata: Value::Null,
            asked_by: self.asked_by,
            state: self.state,
            attempts: self.attempts,
            answer: None,
            created_at: self.created_at,
            sent_at: None,
            finished_at: self.finished_at,
            deadline_at: self.created_at,
        })
    }
}

#[derive(Deserialize)]
pub struct HoldItem {
    pub kind: Option<String>,
    pub reason: Option<String>,
    pub since: Option<DateTime<Utc>>,
}

impl HoldItem {
    pub fn hold(self) -> Option<Hold> {
        Some(Hold {
            kind: HoldKind::parse(self.kind.as_deref()?)?,
            reason: self.reason?,
            since: self.since?,
        })
    }
}

#[derive(Deserialize)]
pub struct TokenItem {
    pub id: String,
    pub label: String,
    pub role: Role,
    pub owner: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl From<TokenItem> for ApiToken {
    fn from(item: TokenItem) -> Self {
        Self {
            id: item.id,
            label: item.label,
            role: item.role,
            owner: item.owner.map(Owner),
            created_at: item.created_at,
            expires_at: item.expires_at,
            last_used_at: item.last_used_at,
            revoked_at: item.revoked_at,
        }
    }
}

#[derive(Deserialize)]
pub struct LeftItem {
    pub kind: String,
    pub name: String,
}

/// Takes out what is shown once, before anything else is made of the answer.
pub fn take_secret(document: &mut Value, name: &str) -> Option<SecretValue> {
    match document.as_object_mut()?.remove(name)? {
        Value::String(text) => Some(SecretValue::new(text)),
        _ => None,
    }
}

/// Whole seconds, as they are asked for.
pub fn seconds(time: Option<Duration>) -> Option<u64> {
    time.map(|time| time.as_secs().max(1))
}
