//! How a store fails.

/// Errors of a store. None of them ever repeats a stored or submitted value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has claimed the agent since; nothing was written.
    #[error("the lease on this agent was lost (a newer epoch exists)")]
    StaleEpoch,
    /// No such row.
    #[error("not found")]
    NotFound,
    /// `if_generation` did not match.
    #[error("the agent is at generation {actual}, not {expected}")]
    Stale {
        /// What the caller had seen; 0 = expected not to exist.
        expected: i64,
        /// What is there; 0 = does not exist.
        actual: i64,
    },
    /// A rule of the contract refuses the write.
    #[error("{code} {message}")]
    Rejected {
        /// `TALON-OC002` and the like.
        code: String,
        /// What it means and what to do.
        message: String,
    },
    /// The database cannot be reached or is busy; trying again may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database holds something this program cannot read, or has another schema.
    #[error("the database does not fit this program: {0}")]
    Corrupt(String),
}
