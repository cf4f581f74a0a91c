//! Validation: everything that is wrong with a spec, at once.
//!
//! Guarantees: pure and total; no `detail` and no `pointer` repeats a value, so that neither can carry a key that was
//! pasted into the wrong place. What a valid spec holds fits the database, the card and IDENTITY.md.

mod keys;
mod skills;

use serde::{Deserialize, Serialize};

use crate::identity;
use crate::model::ModelRef;
use crate::name::AgentName;
use crate::secret::{Provider, SecretRef};
use crate::spec::AgentSpec;
use crate::text::is_blank;

pub use keys::warnings;

/// The most bytes that persona and instructions may have, each.
pub const MAX_PROMPT_BYTES: usize = 65_536;
/// The most skills an agent may have.
pub const MAX_SKILLS: usize = 50;
/// The most providers an agent may have keys for.
pub const MAX_KEY_REFS: usize = 32;

/// One thing that is wrong. Never repeats the offending value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON pointer into the manifest, `/spec/skills/1/id`.
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Everything that is wrong with a spec; empty if it can be deployed.
pub fn validate(name: &AgentName, spec: &AgentSpec) -> Vec<Violation> {
    let mut c = Check::default();
    c.prompt("/spec/persona", &spec.persona);
    c.prompt("/spec/instructions", &spec.instructions);
    c.identity(name, spec);
    c.line("/spec/displayName", spec.display_name.as_deref(), 100);
    c.text("/spec/description", spec.description.as_deref(), 2_000);
    c.text(
        "/spec/displayDescription",
        spec.display_description.as_deref(),
        10_000,
    );
    c.model(&spec.model);
    c.key_refs(spec);
    if spec.secrets_version < 1 {
        c.add(
            "/spec/secretsVersion",
            "must be 1 or more; raise it to have every key pushed again",
        );
    }
    skills::check(&mut c, &spec.skills);
    if spec
        .wallet_address
        .as_deref()
        .is_some_and(|w| !is_wallet(w))
    {
        c.add(
            "/spec/walletAddress",
            "must be an address on Base: 0x and 40 hex digits",
        );
    }
    if let Some(theme) = &spec.theme {
        c.colour("/spec/theme/primaryColor", &theme.primary_color);
        c.colour("/spec/theme/backgroundColor", &theme.background_color);
    }
    c.url("/spec/avatarUrl", spec.avatar_url.as_deref());
    c.url("/spec/coverUrl", spec.cover_url.as_deref());
    c.found
}

/// Collects violations.
#[derive(Default)]
struct Check {
    found: Vec<Violation>,
}

impl Check {
    fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.found.push(Violation {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    }

    /// A required text of any number of lines, limited in bytes.
    fn prompt(&mut self, pointer: &str, s: &str) {
        if is_blank(s) {
            self.add(pointer, "is required: write at least one sentence");
        }
        if s.len() > MAX_PROMPT_BYTES {
            let over = s.len() - MAX_PROMPT_BYTES;
            self.add(
                pointer,
                format!("has {over} bytes more than the {MAX_PROMPT_BYTES} allowed: shorten it"),
            );
        }
        self.no_nul(pointer, s);
    }

    /// PostgreSQL stores no NUL, and no text needs one.
    fn no_nul(&mut self, pointer: &str, s: &str) {
        if s.contains('\0') {
            self.add(pointer, "holds a NUL character: take it out");
        }
    }

    fn identity(&mut self, name: &AgentName, spec: &AgentSpec) {
        let chars = identity::compile(name, spec).markdown.chars().count();
        if let Some(over) = chars.checked_sub(identity::MAX_CHARS + 1) {
            self.add(
                "/spec",
                format!(
                    "the compiled IDENTITY.md has {} characters more than the {} allowed: shorten persona, \
                     instructions or the skills' texts",
                    over + 1,
                    identity::MAX_CHARS
                ),
            );
        }
    }

    /// An optional text of any number of lines, limited in characters.
    fn text(&mut self, pointer: &str, s: Option<&str>, max: usize) {
        let Some(s) = s else { return };
        let over = s.chars().count().saturating_sub(max);
        if over > 0 {
            self.add(
                pointer,
                format!("has {over} characters more than the {max} allowed: shorten it"),
            );
        }
        self.no_nul(pointer, s);
    }

    /// An optional text of one visible line.
    fn line(&mut self, pointer: &str, s: Option<&str>, max: usize) {
        let Some(line) = s else { return };
        if is_blank(line) {
            self.add(pointer, "is empty: write something or leave it out");
        } else if line.chars().any(|c| c.is_control() || reorders(c)) {
            self.add(
                pointer,
                "must be one line without control or direction-changing characters: take them out",
            );
        }
        self.text(pointer, s, max);
    }

    fn model(&mut self, model: &str) {
        if model.is_empty() {
            self.add(
                "/spec/model",
                "is required: write provider/model, for example anthropic/claude-sonnet-4-6",
            );
        } else if ModelRef::parse(model).is_none() {
            self.add(
                "/spec/model",
                "must be provider/model, for example anthropic/claude-sonnet-4-6 (at most 200 ASCII characters, \
                 no spaces; never a key)",
            );
        }
    }

    fn key_refs(&mut self, spec: &AgentSpec) {
        if spec.api_key_refs.len() > MAX_KEY_REFS {
            self.add(
                "/spec/apiKeyRefs",
                format!("has more than {MAX_KEY_REFS} entries: remove some"),
            );
        }
        for (i, (provider, reference)) in spec.api_key_refs.iter().enumerate() {
            let pointer = key_ref_pointer(provider);
            if !provider.is_well_formed() {
                self.add(
                    pointer.as_str(),
                    format!(
                        "entry {} (in alphabetical order) is not named like a provider: use lower-case letters, \
                         digits and _ (at most 32), for example anthropic; never a key",
                        i + 1
                    ),
                );
            }
            self.reference(&pointer, reference);
        }
    }

    fn reference(&mut self, pointer: &str, reference: &SecretRef) {
        if reference.parse().is_none() {
            self.add(
                pointer,
                "must be a reference: env:TALON_SECRET_NAME, file:NAME or vault:PATH#FIELD; never the key itself \
                 (if a key was pasted here, treat it as leaked and replace it at its provider)",
            );
        }
    }

    fn colour(&mut self, pointer: &str, s: &str) {
        let ok = s.len() == 7
            && s.strip_prefix('#')
                .is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        if !ok {
            self.add(pointer, "must be a colour like #FF6B00");
        }
    }

    fn url(&mut self, pointer: &str, s: Option<&str>) {
        if s.is_some_and(|s| !is_https_url(s)) {
            self.add(
                pointer,
                "must be an https:// address of at most 2048 ASCII characters, without user name or password",
            );
        }
    }
}

/// Where a provider's entry stands; the list itself if the name could be a pasted key.
pub(crate) fn key_ref_pointer(provider: &Provider) -> String {
    if provider.is_well_formed() && provider.0.len() <= 24 {
        format!("/spec/apiKeyRefs/{provider}")
    } else {
        "/spec/apiKeyRefs".to_owned()
    }
}

/// Bidirectional controls, which make a line read otherwise than it is written.
fn reorders(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn is_wallet(s: &str) -> bool {
    s.len() == 42
        && s.strip_prefix("0x")
            .is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_https_url(s: &str) -> bool {
    let Some(rest) = s.strip_prefix("https://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    s.len() <= 2048
        && s.bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
        && !host.is_empty()
        && host
            .split('.')
            .all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0))
}

#[cfg(test)]
#[path = "validate/limits_tests.rs"]
mod limits_tests;
#[cfg(test)]
#[path = "validate/tests.rs"]
mod tests;
