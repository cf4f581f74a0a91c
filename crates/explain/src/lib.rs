//! What is known of an agent, in words for people: how it stands, why, and what to do about it.
//!
//! Guarantees: pure, no I/O and no clock; a snapshot goes in, words come out, the same ones for the command line and the
//! dashboard. Text that others wrote comes out escaped ([`safe`]). Never a secret value, nor the hash of a token.

pub mod age;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod identity;
pub mod secrets;
pub mod steps;
pub mod tree;
pub mod view;
pub mod why;

/// Escapes control, ANSI and bidi characters.
pub fn safe(text: &str) -> String {
    talon_core::text::for_terminal(text).to_string()
}
