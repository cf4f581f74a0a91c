//! Looks for secrets where none may be: as they are, in hex, and in base64 whatever stands before them.

use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

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
            let label = format!("{label} ({how})");
            self.forms.push(Form { label, bytes });
        };
        form("as it is", value.as_bytes().to_vec());
        form("hex", HEXLOWER.encode(value.as_bytes()).into_bytes());
        form("HEX", HEXUPPER.encode(value.as_bytes()).into_bytes());
        let json = serde_json::Value::from(value).to_string();
        form("JSON", json.trim_matches('"').as_bytes().to_vec());
        let plain: String = value.chars().map(json_ascii).collect();
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
        let mut starts = vec![false; 1 << 16];
        let pair = |b: &[u8]| usize::from(u16::from_be_bytes([b[0], b[1]]));
        for form in &self.forms {
            starts[pair(&form.bytes)] = true;
        }
        let mut found = Vec::new();
        for (at, two) in bytes.windows(2).enumerate() {
            if starts[pair(two)] {
                let here = self
                    .forms
                    .iter()
                    .filter(|f| bytes[at..].starts_with(&f.bytes));
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
    use super::{Canaries, json_ascii, percent};
    use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

    #[test]
    fn a_hundred_of_a_hundred_planted_values_are_found_in_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut found = 0;
        for n in 0..100usize {
            let value = format!(
                "sk-ant-CANARY-{n:03}-\"é\\/+{:08x}",
                n * 0x9e37_79b9 % 0xffff_ffff
            );
            let text = format!("{}{value}{}", "x".repeat(n % 5), "y".repeat(n % 7));
            let planted = match n % 7 {
                0 => text.clone(),
                1 => HEXLOWER.encode(text.as_bytes()),
                2 => BASE64.encode(text.as_bytes()),
                3 => BASE64URL.encode(text.as_bytes()),
                4 => percent(&text, |b| format!("%{b:02X}")),
                5 => serde_json::Value::from(text.as_str()).to_string(),
                _ => text.chars().map(json_ascii).collect(),
            };
            let noise = "0123456789abcdef".repeat(n * 3);
            let below = folder.path().join(format!("a/{n}"));
            std::fs::create_dir_all(&below).expect("a folder");
            std::fs::write(below.join("file"), format!("{noise}{planted}{noise}"))
                .expect("written");
            let mut canaries = Canaries::default();
            canaries.add("it", &value);
            found += usize::from(!canaries.below(folder.path(), &[]).is_empty());
        }
        assert_eq!(found, 100);
    }

    #[test]
    fn a_value_is_found_in_every_form_and_at_every_place() {
        let value = "sk-ant-CANARY-3c91ffée>?";
        let mut canaries = Canaries::default();
        canaries.add("the key", value);
        for before in ["", "a", "ab", "abc", "abcd"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{value}{after}");
                let bytes = text.as_bytes();
                for form in [
                    text.clone(),
                    HEXLOWER.encode(bytes),
                    HEXUPPER.encode(bytes),
                    percent(&text, |b| format!("%{b:02X}")),
                    percent(&text, |b| format!("%{b:02x}")),
                    serde_json::Value::from(text.as_str()).to_string(),
                    text.chars().map(json_ascii).collect(),
                    BASE64.encode(bytes),
                    BASE64URL.encode(bytes),
                ] {
                    assert!(!canaries.within(form.as_bytes()).is_empty(), "{form}");
                }
            }
        }
        assert!(
            canaries
                .within(b"sk-ant-CANARY-3c91 is another key")
                .is_empty()
        );
    }
}
