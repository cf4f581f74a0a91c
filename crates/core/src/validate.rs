//! Validation: everything that is wrong with a spec, at once.

use serde::{Deserialize, Serialize};

/// One thing that is wrong. Never repeats the offending value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON pointer into the manifest, `/spec/skills/1/id`.
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
}
