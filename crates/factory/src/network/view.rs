//! What the Router's answers look like.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use talon_core::search::{FoundAgent, FoundSkill};
use talon_core::task::Task;
use utoipa::ToSchema;

/// An agent that was found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Found {
    /// Its name.
    name: String,
    /// What it is.
    description: String,
    /// How well it fits, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    score: f64,
    /// The skill that fits best.
    best_skill_id: Option<String>,
    /// Its skills.
    skills: Vec<Skill>,
}

/// A skill of an agent that was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FoundSkill)]
pub struct Skill {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// What it does.
    description: String,
}

impl From<FoundAgent> for Found {
    fn from(found: FoundAgent) -> Self {
        Self {
            name: found.name,
            description: found.description,
            score: found.score,
            best_skill_id: found.best_skill_id,
            skills: found.skills.into_iter().map(Skill::from).collect(),
        }
    }
}

impl From<FoundSkill> for Skill {
    fn from(skill: FoundSkill) -> Self {
        Self {
            id: skill.id,
            name: skill.name,
            description: skill.description,
        }
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Stored; the agent has not begun.
    Submitted,
    /// The agent has begun.
    Working,
    /// The agent asks something back.
    InputRequired,
    /// Answered.
    Completed,
    /// It ended without an answer; the text says why.
    Failed,
    /// Whoever asked no longer wants it.
    Canceled,
}

impl From<talon_core::task::TaskState> for TaskState {
    fn from(state: talon_core::task::TaskState) -> Self {
        use talon_core::task::TaskState as Core;
        match state {
            Core::Submitted => Self::Submitted,
            Core::Working => Self::Working,
            Core::InputRequired => Self::InputRequired,
            Core::Completed => Self::Completed,
            Core::Failed => Self::Failed,
            Core::Canceled => Self::Canceled,
        }
    }
}

/// A task as it stands. Times are the database's.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskView {
    /// Its id.
    id: String,
    /// The agent that does it.
    agent: String,
    /// The conversation it belongs to.
    session: String,
    /// Where it stands.
    state: TaskState,
    /// What is asked.
    text: String,
    /// The whole answer, or why it failed, or what the agent asks back.
    answer: Option<String>,
    /// Passed on to the agent as it is.
    #[schema(value_type = Object)]
    metadata: Value,
    /// How often it was sent to the agent.
    attempts: i64,
    /// When it was stored.
    created_at: DateTime<Utc>,
    /// When it was last sent.
    sent_at: Option<DateTime<Utc>>,
    /// When it ended.
    finished_at: Option<DateTime<Utc>>,
    /// When it fails by itself.
    deadline_at: DateTime<Utc>,
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        Self {
            id: task.id.into(),
            agent: task.agent,
            session: task.session.into(),
            state: task.state.into(),
            text: task.text,
            answer: task.answer,
            // What was stored as nothing is an empty object.
            metadata: match task.metadata {
                Value::Null => Value::Object(serde_json::Map::new()),
                metadata => metadata,
            },
            attempts: task.attempts,
            created_at: task.created_at,
            sent_at: task.sent_at,
            finished_at: task.finished_at,
            deadline_at: task.deadline_at,
        }
    }
}
