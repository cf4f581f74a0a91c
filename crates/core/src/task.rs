//! A task for an agent: what is asked, where it stands, what was answered. The states and the shape of messages are those
//! of the Hub protocol (A2A, older shape).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::resource::snake_words;
use crate::status::UnknownWord;

snake_words! {
    /// Where a task stands.
    TaskState {
        /// Stored; the agent has not begun.
        Submitted = "submitted",
        /// The agent has begun.
        Working = "working",
        /// The agent asks something back.
        InputRequired = "input-required",
        /// Answered.
        Completed = "completed",
        /// It ended without an answer; the text says why.
        Failed = "failed",
        /// Whoever asked no longer wants it.
        Canceled = "canceled",
    }
}

impl TaskState {
    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        match self {
            Self::Submitted | Self::Working | Self::InputRequired => false,
            Self::Completed | Self::Failed | Self::Canceled => true,
        }
    }
}

/// Id of a task or a session: 1–128 characters of `A–Z a–z 0–9 . _ : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// Why a string is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 128 characters of A–Z a–z 0–9 . _ : -")]
pub struct InvalidTaskId;

impl TaskId {
    /// Checks and takes it.
    pub fn parse(s: &str) -> Result<Self, InvalidTaskId> {
        let fits = (1..=128).contains(&s.len())
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if fits {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidTaskId)
        }
    }

    /// The id that is stored for one that somebody chose. Ids of an owner's people and agents are in a space of that
    /// owner's own, so that nobody can take, join or even guess at another owner's tasks and conversations; whoever has
    /// no owner (`None`) has a space that no owner's name reaches. Distinct ids stay distinct.
    pub fn chosen_by(owner: Option<&str>, id: &str) -> Result<Self, InvalidTaskId> {
        Self::parse(id)?;
        match owner {
            Some(owner) => Self::parse(&format!("{owner}:{id}")),
            // No owner's name is empty.
            None if id.contains(':') => Self::parse(&format!(":{id}")),
            None => Self::parse(id),
        }
    }

    /// The inverse of [`TaskId::chosen_by`]; an id of another space as it is.
    pub fn known_to(&self, owner: Option<&str>) -> &str {
        let own = self.0.strip_prefix(owner.unwrap_or_default());
        own.and_then(|own| own.strip_prefix(':')).unwrap_or(&self.0)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TaskId {
    type Error = InvalidTaskId;
    fn try_from(s: String) -> Result<Self, InvalidTaskId> {
        Self::parse(&s)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Id of a conversation; same rules as a task's.
pub type SessionId = TaskId;

/// A task as it is handed in.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Chosen by whoever asks; handing the same id in twice is one task.
    pub id: TaskId,
    /// Hub name of the agent that is to do it.
    pub agent: String,
    /// The conversation it belongs to.
    pub session: SessionId,
    /// What is asked.
    pub text: String,
    /// Passed on to the agent as it is.
    pub metadata: serde_json::Value,
    /// Hub name of the agent that asks; `None`: a person.
    pub asked_by: Option<String>,
    /// After this, counted from now on the database's clock, the task fails.
    pub deadline_in: Duration,
}

/// A task as it is stored. Times are the database's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Hub name of the agent.
    pub agent: String,
    /// The conversation.
    pub session: SessionId,
    /// What is asked.
    pub text: String,
    /// Passed on to the agent as it is.
    pub metadata: serde_json::Value,
    /// Hub name of the agent that asks; `None`: a person.
    pub asked_by: Option<String>,
    /// Where it stands.
    pub state: TaskState,
    /// How often it was sent to a connection of the agent.
    pub attempts: i64,
    /// The whole answer, or why it failed. Only in a final state (or what the agent asks back).
    pub answer: Option<String>,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// When it was last sent.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it fails by itself.
    pub deadline_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_words() {
        assert!(TaskId::parse("task-1.a_b:C").is_ok());
        assert!(TaskId::parse(&"x".repeat(128)).is_ok());
        for bad in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(TaskId::parse(bad), Err(InvalidTaskId), "{bad:?}");
        }
    }

    #[test]
    fn each_owner_and_whoever_has_none_has_a_space_of_their_own() {
        let mut stored = Vec::new();
        for owner in [Some("ann"), Some("bob"), None] {
            for id in ["t", "ann:t", "bob:t", ":t", ":ann:t", "ann:bob:t"] {
                let kept = TaskId::chosen_by(owner, id).unwrap();
                assert_eq!(kept.known_to(owner), id, "{owner:?}");
                assert!(!stored.contains(&kept), "{kept} twice");
                stored.push(kept);
            }
        }
        let foreign = TaskId::parse("ann:t").unwrap();
        for owner in [Some("bob"), Some("an"), None] {
            assert_eq!(foreign.known_to(owner), "ann:t");
        }
        assert!(TaskId::chosen_by(Some("ann"), "").is_err());
        assert!(TaskId::chosen_by(Some("ann"), &"x".repeat(125)).is_err());
    }

    #[test]
    fn only_an_end_is_final() {
        let ends: Vec<_> = TaskState::ALL.iter().filter(|s| s.is_final()).collect();
        assert_eq!(
            ends,
            [
                &TaskState::Completed,
                &TaskState::Failed,
                &TaskState::Canceled
            ]
        );
    }
}
