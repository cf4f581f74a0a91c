//! Compiles IDENTITY.md, the text that tells the runtime who it is.
//!
//! Guarantees: the same spec gives the same bytes; line ends are LF; the top-level headings are exactly those written
//! here, whatever the user's text holds; nothing in the text is hidden from a reader; prices and secrets are never
//! part of it. Assumes nothing of the spec: a spec with violations compiles too (validation refuses it, with
//! [`MAX_CHARS`] among the limits). A heading inside a list item or a quotation is the user's own and starts no section.

use sha2::{Digest, Sha256};

use crate::name::AgentName;
use crate::spec::{AgentSpec, Skill};
use crate::text::{clip, is_hidden};

/// How many characters IDENTITY.md may have: what the runtime takes into its prompt without cutting.
pub const MAX_CHARS: usize = 20_000;

const MAX_THEME_CHARS: usize = 200;

/// A compiled IDENTITY.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The text: LF line ends, ≤ 20,000 characters.
    pub markdown: String,
    /// SHA-256 of the text, hex.
    pub sha256: String,
}

/// Compiles the text for an agent whose spec has no violations (with violations it may be longer than [`MAX_CHARS`]).
pub fn compile(name: &AgentName, spec: &AgentSpec) -> Identity {
    let mut out = String::from("# IDENTITY.md - Who Am I?\n\n");
    let display = spec.display_name.as_deref().map(inline);
    let display = display.filter(|d| !d.is_empty());
    label(
        &mut out,
        "Name",
        display.as_deref().unwrap_or(name.as_str()),
    );
    label(&mut out, "Theme", &theme(spec));
    label(
        &mut out,
        "Avatar",
        &inline(spec.avatar_url.as_deref().unwrap_or_default()),
    );
    section(&mut out, "## Persona", &spec.persona);
    section(&mut out, "## Instructions", &spec.instructions);
    if !spec.skills.is_empty() {
        out.push_str("\n## Skills\n");
        for s in &spec.skills {
            skill(&mut out, s);
        }
    }
    let sha256 = hex::encode(Sha256::digest(out.as_bytes()));
    Identity {
        markdown: out,
        sha256,
    }
}

/// The first line of the description that says something.
fn theme(spec: &AgentSpec) -> String {
    let description = spec.description.as_deref().unwrap_or_default();
    let first = normalise(description)
        .lines()
        .map(inline)
        .find(|l| !l.is_empty());
    clip(&first.unwrap_or_default(), MAX_THEME_CHARS)
}

fn label(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        out.push_str(&format!("- **{name}:** {value}\n"));
    }
}

fn section(out: &mut String, heading: &str, body: &str) {
    out.push('\n');
    out.push_str(heading);
    out.push('\n');
    paragraph(out, &block(body));
}

fn skill(out: &mut String, s: &Skill) {
    section(
        out,
        &format!("### {}: {}", inline(&s.id), inline(&s.name)),
        &s.description,
    );
    let tags: Vec<String> = words(&s.tags);
    if !tags.is_empty() {
        paragraph(out, &format!("Tags: {}", tags.join(", ")));
    }
    let examples = words(&s.examples);
    if !examples.is_empty() {
        let list: Vec<String> = examples.iter().map(|e| format!("- {e}")).collect();
        paragraph(out, &format!("Examples:\n\n{}", list.join("\n")));
    }
}

fn words(list: &[String]) -> Vec<String> {
    list.iter()
        .map(|t| inline(t))
        .filter(|t| !t.is_empty())
        .collect()
}

fn paragraph(out: &mut String, text: &str) {
    if !text.is_empty() {
        out.push('\n');
        out.push_str(text);
        out.push('\n');
    }
}

/// User text in one line: every kind of line end and run of white space becomes one space.
fn inline(s: &str) -> String {
    normalise(s)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// User text as paragraphs: hidden characters gone, no heading at the top level, nothing left open at its end that
/// would swallow the section after it. Idempotent.
fn block(s: &str) -> String {
    let normalised = normalise(s);
    let mut lines: Vec<String> = Vec::new();
    let mut open: Option<Fence> = None;
    for line in normalised.lines() {
        let line = line.trim_end();
        if lines.is_empty() && line.is_empty() {
            continue;
        }
        let line = disarm(line, open.is_some());
        open = match (open, fence(&line)) {
            (None, Some(f)) if f.opens => Some(f),
            (Some(o), Some(f)) if f.closes && f.mark == o.mark && f.length >= o.length => None,
            (state, _) => state,
        };
        lines.push(line);
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if let Some(f) = open {
        lines.push(f.mark.to_string().repeat(f.length));
    }
    lines.join("\n")
}

/// Takes from a line whatever would make it a heading, or open an HTML block that no blank line ends.
fn disarm(line: &str, in_fence: bool) -> String {
    let text = line.trim_start();
    let underline = |c: char| !text.is_empty() && text.chars().all(|x| x == c);
    if text.starts_with('#') || underline('=') || underline('-') {
        // Four spaces: code, or the continuation of a paragraph; a heading in no reading of Markdown.
        return format!("    {text}");
    }
    if !in_fence && opens_endless_html(text) {
        return format!("\\{text}");
    }
    line.to_owned()
}

/// CommonMark's HTML blocks of kinds 1 to 5, which run on to their own end mark or the end of the document.
fn opens_endless_html(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('<') else {
        return false;
    };
    let tag: String = rest
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect::<String>()
        .to_ascii_lowercase();
    rest.starts_with(['!', '?']) || matches!(tag.as_str(), "script" | "pre" | "style" | "textarea")
}

/// A line that opens or closes a fenced code block.
#[derive(Clone, Copy)]
struct Fence {
    mark: char,
    length: usize,
    opens: bool,
    closes: bool,
}

fn fence(line: &str) -> Option<Fence> {
    let text = line.trim_start_matches(' ');
    let mark = text.chars().next().filter(|c| *c == '`' || *c == '~')?;
    let length = text.chars().take_while(|c| *c == mark).count();
    let info = text.trim_start_matches(mark);
    (line.len() - text.len() <= 3 && length >= 3).then_some(Fence {
        mark,
        length,
        opens: mark == '~' || !info.contains('`'),
        closes: info.trim().is_empty(),
    })
}

/// One kind of line end, one kind of space, nothing hidden.
fn normalise(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut chars = s.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push('\n');
            }
            '\n' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\t' => out.push_str("    "),
            c if is_hidden(c) => {}
            c if c.is_whitespace() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
