//! Warns of texts that look like they hold an API key: where, never what.

use super::Violation;
use crate::secret::looks_like_key;
use crate::spec::AgentSpec;

/// Shorter runs are words (`sk-learn`), not keys.
const MIN_KEY_CHARS: usize = 20;

/// Places in the spec's public or baked-in texts that look like API keys. Not errors: an agent may well talk about
/// keys. `detail` names line and column (from 1, in characters).
pub fn warnings(spec: &AgentSpec) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut look = |pointer: String, s: &str| {
        found.extend(key_positions(s).into_iter().map(|(line, column)| Violation {
            pointer: pointer.clone(),
            detail: format!(
                "line {line}, column {column} looks like an API key: this text is stored and published as it is; \
                 take the key out, replace it at its provider, and use apiKeyRefs"
            ),
        }));
    };
    look("/spec/persona".into(), &spec.persona);
    look("/spec/instructions".into(), &spec.instructions);
    let optional = [
        ("/spec/displayName", &spec.display_name),
        ("/spec/description", &spec.description),
        ("/spec/displayDescription", &spec.display_description),
        ("/spec/avatarUrl", &spec.avatar_url),
        ("/spec/coverUrl", &spec.cover_url),
    ];
    for (pointer, text) in optional {
        look(pointer.into(), text.as_deref().unwrap_or_default());
    }
    for (i, skill) in spec.skills.iter().enumerate() {
        let at = format!("/spec/skills/{i}");
        look(format!("{at}/id"), &skill.id);
        look(format!("{at}/name"), &skill.name);
        look(format!("{at}/description"), &skill.description);
        for (j, tag) in skill.tags.iter().enumerate() {
            look(format!("{at}/tags/{j}"), tag);
        }
        for (j, example) in skill.examples.iter().enumerate() {
            look(format!("{at}/examples/{j}"), example);
        }
    }
    found
}

/// `(line, column)` of every run of key characters that starts like a key, has a digit and is long enough, and of
/// every PEM private key.
fn key_positions(s: &str) -> Vec<(usize, usize)> {
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut found = Vec::new();
    for (n, line) in s.lines().enumerate() {
        if let Some(at) = line.find("-----BEGIN ")
            && line.contains("PRIVATE KEY")
        {
            found.push((n + 1, line[..at].chars().count() + 1));
            continue;
        }
        let mut rest = line;
        let mut column = 1;
        while let Some(start) = rest.find(is_key_char) {
            column += rest[..start].chars().count();
            rest = &rest[start..];
            let end = rest.find(|c| !is_key_char(c)).unwrap_or(rest.len());
            let run = &rest[..end];
            if run.len() >= MIN_KEY_CHARS
                && looks_like_key(run)
                && run.bytes().any(|b| b.is_ascii_digit())
            {
                found.push((n + 1, column));
            }
            column += end;
            rest = &rest[end..];
        }
    }
    found
}
