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

#[cfg(test)]
mod tests {
    use super::Canaries;
    use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

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
