//! Compiles IDENTITY.md, the text that tells the runtime who it is.

use crate::agent::Agent;

/// A compiled IDENTITY.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The text: LF line ends, ≤ 20,000 characters.
    pub markdown: String,
    /// SHA-256 of the text, hex.
    pub sha256: String,
}

/// Compiles the text for an agent whose spec has no violations.
pub fn compile(_agent: &Agent) -> Identity {
    unimplemented!()
}
