//! The last line of defence: takes secrets out of text that is about to be shown or stored.
#![allow(clippy::disallowed_methods)] // One of the modules that may open a value.

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use talon_core::secret::{SecretValue, looks_like_key};

/// What stands where a secret stood.
pub const MARK: &str = "[redacted]";

/// Shorter values are not looked for: they would tear holes into ordinary words.
const MIN_VALUE_CHARS: usize = 6;

/// A run this long that starts like a key is taken for one.
const MIN_KEY_CHARS: usize = 12;

/// Takes known values (raw, base64, hex, URL- and JSON-escaped) and everything that has the shape of a key out of text.
#[derive(Default)]
pub struct Redactor {
    /// Every form of every value, the longest first, so that no form is left half by one that it contains.
    needles: Vec<SecretValue>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.needles.len())
    }
}

impl Redactor {
    /// Knows no values, only the shapes of keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns a value. Values of fewer than six characters are left alone.
    pub fn add(&mut self, value: &SecretValue) {
        if value.expose().chars().count() < MIN_VALUE_CHARS {
            return;
        }
        for form in forms(value.expose()) {
            if !self.needles.iter().any(|n| n.expose() == form) {
                self.needles.push(SecretValue::new(form));
            }
        }
        self.needles
            .sort_by_key(|n| std::cmp::Reverse(n.expose().len()));
    }

    /// The text without any of the values and without anything that looks like a key.
    pub fn redact(&self, text: &str) -> String {
        let hits = self.hits(text);
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for (start, end) in hits {
            out.push_str(&text[at..start]);
            out.push_str(MARK);
            at = end;
        }
        out.push_str(&text[at..]);
        redact_shapes(&out)
    }

    /// Byte ranges of all occurrences, overlapping ones joined: of two values that overlap, neither leaves a rest.
    fn hits(&self, text: &str) -> Vec<(usize, usize)> {
        let mut hits = Vec::new();
        for needle in self.needles.iter().map(SecretValue::expose) {
            let mut from = 0;
            while let Some(found) = text[from..].find(needle) {
                let start = from + found;
                hits.push((start, start + needle.len()));
                // The next character, not the next occurrence: a value may overlap itself.
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        hits.sort_unstable();
        let mut joined: Vec<(usize, usize)> = Vec::with_capacity(hits.len());
        for (start, end) in hits {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        joined
    }
}

/// The value as it may appear.
fn forms(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let mut forms = vec![
        value.to_owned(),
        hex::encode(bytes),
        hex::encode_upper(bytes),
        json_escaped(value, false),
        json_escaped(value, true),
        url_escaped(value, false, false),
        url_escaped(value, true, false),
        url_escaped(value, false, true),
        url_escaped(value, true, true),
    ];
    for encoding in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD] {
        forms.push(encoding.encode(bytes));
    }
    // Inside something longer that was encoded as a whole (`user:KEY`), the value stands at one of three offsets; what
    // its neighbours have no part in is looked for.
    for skip in 1..=2 {
        for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
            if let Some(rest) = bytes.get(skip..) {
                let whole = rest.len() / 3 * 3;
                forms.push(encoding.encode(&rest[..whole]));
            }
        }
    }
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        forms.push(encoding.encode(&bytes[..bytes.len() / 3 * 3]));
    }
    forms.retain(|f| f.len() >= MIN_VALUE_CHARS);
    forms
}

fn json_escaped(value: &str, ascii: bool) -> String {
    let mut out = String::new();
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() || ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}

fn url_escaped(value: &str, plus: bool, lower: bool) -> String {
    let mut out = String::new();
    for b in value.bytes() {
        match b {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(b));
            }
            b' ' if plus => out.push('+'),
            b if lower => out.push_str(&format!("%{b:02x}")),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Takes out what has the shape of a key, and what stands behind `Bearer`.
fn redact_shapes(text: &str) -> String {
    let in_run = |c: char| c.is_ascii_alphanumeric() || "-_.~+/=".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_bearer = false;
    while !rest.is_empty() {
        let end = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        if end == 0 {
            let c_end = rest.chars().next().map_or(1, char::len_utf8);
            let gap = &rest[..c_end];
            after_bearer &= matches!(gap, " " | ":" | "\t");
            out.push_str(gap);
            rest = &rest[c_end..];
            continue;
        }
        let run = &rest[..end];
        if after_bearer && run.len() >= MIN_VALUE_CHARS {
            out.push_str(MARK);
        } else {
            out.push_str(&without_key(run));
        }
        after_bearer = run.eq_ignore_ascii_case("bearer");
        rest = &rest[end..];
    }
    out
}

/// The run up to where a key begins in it (`key=sk-…`, `https://host/sk-…`).
fn without_key(run: &str) -> String {
    let is_start = |at: usize| {
        let boundary = at == 0 || !run.as_bytes()[at - 1].is_ascii_alphanumeric();
        let rest = &run[at..];
        boundary
            && rest.len() >= MIN_KEY_CHARS
            && (looks_like_key(rest) || rest.starts_with(crate::token::PREFIX))
    };
    match (0..run.len()).find(|at| is_start(*at)) {
        Some(at) => format!("{}{MARK}", &run[..at]),
        None => run.to_owned(),
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
