//! What came of speaking to an agent's Worker itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::TryId;

/// One row of `agent_contact`. Times are the database's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// What the Worker was to run with when it was last spoken to: changes with every write to it.
    pub mark: String,
    /// Tries in a row that did not end well.
    pub tries: i64,
    /// The last one.
    pub tried_at: DateTime<Utc>,
    /// When it last heard us; that is when it last was woken.
    pub answered_at: Option<DateTime<Utc>>,
    /// Why the last try did not end well; `None`: it answered and runs with what was pushed.
    pub problem: Option<String>,
    /// Repairs in a row that its reports asked for, since one last was as it should be.
    pub repairs: i64,
    /// The upload that it last said brought what runs.
    pub try_id: Option<TryId>,
    /// SHA-256 (hex) of the runtime's bundle that it last said it runs.
    pub runtime: Option<String>,
}

impl Contact {
    /// Whether the last try reached it, whatever it then had to say.
    pub fn woke(&self) -> bool {
        self.answered_at.is_some_and(|t| t >= self.tried_at)
    }
}

/// New content of the row; `tried_at` becomes now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactWrite {
    /// See [`Contact`].
    pub mark: String,
    /// See [`Contact`].
    pub tries: i64,
    /// Whether `answered_at` becomes now, or stays.
    pub answered: bool,
    /// See [`Contact`].
    pub problem: Option<String>,
    /// See [`Contact`].
    pub repairs: i64,
    /// See [`Contact`].
    pub try_id: Option<TryId>,
    /// See [`Contact`].
    pub runtime: Option<String>,
}

impl ContactWrite {
    /// The row that this write makes of the one before.
    pub fn over(&self, before: Option<&Contact>, now: DateTime<Utc>) -> Contact {
        Contact {
            mark: self.mark.clone(),
            tries: self.tries,
            tried_at: now,
            answered_at: if self.answered {
                Some(now)
            } else {
                before.and_then(|b| b.answered_at)
            },
            problem: self.problem.clone(),
            repairs: self.repairs,
            try_id: self.try_id.clone(),
            runtime: self.runtime.clone(),
        }
    }
}
