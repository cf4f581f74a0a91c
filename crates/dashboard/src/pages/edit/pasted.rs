//! A key that was pasted where a reference belongs is not sent back: neither in its field nor in the manifest's text.

use talon_core::secret::SecretRef;

/// The reference as it was typed, if it is one; else nothing of it.
pub fn reference(typed: &str) -> String {
    match SecretRef(typed.to_owned()).parse() {
        Some(_) => typed.to_owned(),
        None => String::new(),
    }
}

/// The manifest's text with an empty value for each key reference that is none. Read line by line, since a text that is
/// shown again may be no YAML at all.
pub fn manifest(yaml: &str) -> String {
    let mut out = String::with_capacity(yaml.len());
    // How far the line that opens the references is set in.
    let mut within: Option<usize> = None;
    for line in yaml.split_inclusive('\n') {
        let (text, end) = match line.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        let indent = text.len() - text.trim_start().len();
        if within.is_some_and(|base| !text.trim().is_empty() && indent <= base) {
            within = None;
        }
        let shown = match (within, opening(text)) {
            (Some(_), _) => entries(text),
            (None, Some(at)) => {
                within = Some(indent);
                format!("{}{}", &text[..at], entries(&text[at..]))
            }
            (None, None) => text.to_owned(),
        };
        out.push_str(&shown);
        out.push_str(end);
    }
    out
}

/// Where the references begin, if this line opens them.
fn opening(text: &str) -> Option<usize> {
    const NAME: &str = "api_key_refs";
    let at = text.find(NAME)? + NAME.len();
    let rest = &text[at..];
    let colon = rest.find(':')?;
    let between = rest[..colon].trim_matches(['"', '\'', ' ']);
    between.is_empty().then_some(at + colon + 1)
}

/// Entries `provider: value`, one or several with commas and braces around them.
fn entries(text: &str) -> String {
    let pieces = text.split_inclusive([',', '{', '}']).map(|piece| {
        let end = piece.trim_end_matches([',', '{', '}']).len();
        let (entry, mark) = piece.split_at(end);
        match entry.split_once(':') {
            Some((provider, value)) => {
                let typed = value.trim().trim_matches(['"', '\'']);
                if typed.is_empty() || !reference(typed).is_empty() {
                    piece.to_owned()
                } else {
                    format!("{provider}: \"\"{mark}")
                }
            }
            // A value on a line of its own.
            None if !entry.trim().is_empty() && !entry.trim_start().starts_with('#') => {
                mark.to_owned()
            }
            None => piece.to_owned(),
        }
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-ant-canary";

    #[test]
    fn a_reference_stays_and_a_key_does_not() {
        assert_eq!(reference("env:TALON_SECRET_X"), "env:TALON_SECRET_X");
        assert_eq!(reference(KEY), "");
    }

    #[test]
    fn a_key_in_a_manifest_is_left_out_however_it_is_written() {
        for text in [
            format!(
                "spec:\n  api_key_refs:\n    anthropic: {KEY}\n    openai: env:TALON_SECRET_X\n  model: a/b\n"
            ),
            format!("spec:\n  api_key_refs:\n    anthropic: \"{KEY}\"\n  model: a/b\n"),
            format!("spec:\n  api_key_refs:\n    anthropic:\n      {KEY}\n  model: a/b\n"),
            format!("spec:\n  api_key_refs: {{anthropic: {KEY}}}\n  model: a/b\n"),
            format!(
                "{{\"spec\":{{\"api_key_refs\":{{\"anthropic\":\"{KEY}\"}},\"model\":\"a/b\"}}}}"
            ),
            format!("spec:\n\tapi_key_refs:\n\t  anthropic: '{KEY}'"),
        ] {
            let shown = manifest(&text);
            assert!(!shown.contains("canary"), "{shown}");
            assert!(
                !text.contains("env:") || shown.contains("env:TALON_SECRET_X"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_manifest_without_one_is_shown_as_it_was() {
        let text = "spec:\n  persona: |\n    a: b\n  api_key_refs:\n    anthropic: env:TALON_SECRET_X # mine\n  model: a/b";
        assert!(manifest(text).contains("persona: |\n    a: b\n"));
        let plain = "spec:\n  persona: |\n    a: b, {c: d}\n  model: a/b\n";
        assert_eq!(manifest(plain), plain);
    }
}
