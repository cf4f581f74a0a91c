//! Looks for secrets where none may be: as they are, in hex, and in base64 whatever stands before them; and half of one
//! where a file's own pages cut it in two.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

/// Half of a form so long tells it from others.
const HALVED: usize = 32;

/// By so many bytes it is decided whether a closer look is worth it; no form is shorter.
const HEAD: usize = 8;

/// Values to look for.
#[derive(Debug, Default)]
pub struct Canaries {
    forms: Vec<Form>,
}

struct Form {
    label: String,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

impl Canaries {
    /// Looks for this value, too; the label is what a failure calls it.
    pub fn add(&mut self, label: &str, value: &str) -> &mut Self {
        assert!(value.len() >= 12, "{label} is too short to be told apart");
        let mut form = |how: &str, bytes: Vec<u8>| {
            let mut look_for = |label: String, bytes: &[u8]| {
                let bytes = bytes.to_vec();
                self.forms.push(Form { label, bytes });
            };
            let label = format!("{label} ({how})");
            if bytes.len() >= HALVED {
                // What runs over the end of a page has the next page's head within it: one half is whole.
                let (first, second) = bytes.split_at(bytes.len() / 2);
                look_for(format!("{label}, first half"), first);
                look_for(format!("{label}, second half"), second);
            }
            look_for(label, &bytes);
        };
        form("as it is", value.as_bytes().to_vec());
        form("hex", HEXLOWER.encode(value.as_bytes()).into_bytes());
        form("HEX", HEXUPPER.encode(value.as_bytes()).into_bytes());
        let json = serde_json::Value::from(value).to_string();
        let json = json[1..json.len() - 1].to_owned();
        let plain: String = value.chars().map(json_ascii).collect();
        // As PostgreSQL's COPY, and so a dump, has what holds backslashes.
        let copied = |text: &str| text.replace('\\', "\\\\").into_bytes();
        form("COPY", copied(value));
        form("COPY of JSON", copied(&json));
        form("COPY of JSON in ASCII", copied(&plain));
        form("JSON", json.into_bytes());
        form("JSON in ASCII", plain.into_bytes());
        form("URL", percent(value, |b| format!("%{b:02X}")).into_bytes());
        form("url", percent(value, |b| format!("%{b:02x}")).into_bytes());
        for before in 0..3 {
            let mut padded = vec![0; before];
            padded.extend_from_slice(value.as_bytes());
            // What the neighbours of the value decide is left out: the first characters, and the last ones.
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            for (how, encoding) in [("base64", &BASE64), ("base64url", &BASE64URL)] {
                form(how, encoding.encode(&padded).as_bytes()[from..to].to_vec());
            }
        }
        self
    }

    /// What of it stands in these bytes.
    pub fn within(&self, bytes: &[u8]) -> Vec<&str> {
        // Most places are passed over by their first two bytes, most of the rest by their first eight.
        let mut starts = vec![false; 1 << 16];
        let mut begin: HashMap<&[u8], Vec<&Form>> = HashMap::new();
        let pair = |b: &[u8]| usize::from(u16::from_be_bytes([b[0], b[1]]));
        for form in &self.forms {
            starts[pair(&form.bytes)] = true;
            begin.entry(&form.bytes[..HEAD]).or_default().push(form);
        }
        let mut found = Vec::new();
        for (at, head) in bytes.windows(HEAD).enumerate() {
            if starts[pair(head)]
                && let Some(forms) = begin.get(head)
            {
                let here = forms.iter().filter(|f| bytes[at..].starts_with(&f.bytes));
                found.extend(here.map(|f| f.label.as_str()));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What of it stands in files below this path, except in those that are left out.
    pub fn below(&self, path: &Path, except: &[PathBuf]) -> Vec<String> {
        let mut found = Vec::new();
        if except.iter().any(|e| e == path) {
            return found;
        }
        if path.is_dir() {
            let entries = std::fs::read_dir(path).into_iter().flatten();
            for entry in entries.flatten() {
                found.extend(self.below(&entry.path(), except));
            }
        } else if let Ok(bytes) = std::fs::read(path) {
            let here = self.within(&bytes);
            found.extend(here.iter().map(|l| format!("{}: {l}", path.display())));
        }
        found
    }
}

/// The ways in which a value may be written that are looked for, by number.
pub fn written(value: &str, how: usize) -> String {
    match how % 9 {
        0 => value.to_owned(),
        1 => HEXLOWER.encode(value.as_bytes()),
        2 => HEXUPPER.encode(value.as_bytes()),
        3 => BASE64.encode(value.as_bytes()),
        4 => BASE64URL.encode(value.as_bytes()),
        5 => percent(value, |b| format!("%{b:02X}")),
        6 => percent(value, |b| format!("%{b:02x}")),
        7 => serde_json::Value::from(value).to_string(),
        _ => value.chars().map(json_ascii).collect(),
    }
}

fn json_ascii(c: char) -> String {
    match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_ascii() => c.to_string(),
        c => {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units);
            units.iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
    }
}

fn percent(text: &str, escape: impl Fn(u8) -> String) -> String {
    let bytes = text.bytes().map(|b| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(b).to_string()
        }
        other => escape(other),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::{Canaries, written};

    #[test]
    fn a_value_is_found_in_every_form_and_at_every_place() {
        let value = "sk-ant-CANARY-3c91ffée>?";
        let mut canaries = Canaries::default();
        canaries.add("the key", value);
        for before in ["", "a", "ab", "abc", "abcd"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{value}{after}");
                for form in (0..9).map(|how| written(&text, how)) {
                    assert!(!canaries.within(form.as_bytes()).is_empty(), "{form}");
                }
            }
        }
        // Less than half of it tells nothing.
        let other = b"sk-ant-CANAR is another key, and so is ff\xc3\xa9e>?";
        assert!(canaries.within(other).is_empty());
    }
}
