//! Turning what came over the wire into text that may be stored, logged and shown.

use talon_core::cloud::ApiMessage;
use talon_core::secret::SecretValue;
use talon_secrets::Redactor;

/// Longest message, in characters.
pub(crate) const LONGEST: usize = 300;

/// Frees the text of these secrets in every form and of whatever looks like a key, escapes control and invisible
/// characters, and cuts it.
pub(crate) fn clean(text: &str, secrets: &[&SecretValue]) -> String {
    let mut redactor = Redactor::new();
    for secret in secrets {
        redactor.add(secret);
    }
    // Before any cut: a secret that a cut would split must not leave its first half behind.
    let text = redactor.redact(text);
    let mut out = String::new();
    let mut length = 0;
    for c in text.trim().chars() {
        let piece = if is_unsafe(c) {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        };
        let size = piece.chars().count();
        if length + size > LONGEST - 1 {
            out.push('…');
            break;
        }
        length += size;
        out.push_str(&piece);
    }
    out
}

/// Control characters, and those that change the direction of text or are not seen.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Words of an HTML or text answer: tags, scripts and runs of white space removed.
pub(crate) fn plain_words(body: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    for c in body.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                out.push(' ');
            }
            _ if in_tag => {}
            _ => out.push(c),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A message of our own about a call.
pub(crate) fn own(call: &'static str, text: impl Into<String>) -> ApiMessage {
    ApiMessage {
        call,
        http: None,
        code: None,
        message: text.into(),
        ray: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn controls_and_direction_marks_are_escaped() {
        assert_eq!(
            clean("a\u{1b}[31mb\nc\u{202e}d", &[]),
            "a\\u{1b}[31mb\\u{a}c\\u{202e}d"
        );
    }

    #[test]
    fn a_secret_across_the_cut_leaves_nothing() {
        let secret = SecretValue::new("S3CR3T-VALUE-0123456789".into());
        let text = format!("{}S3CR3T-VALUE-0123456789 tail", "x".repeat(290));
        let out = clean(&text, &[&secret]);
        assert!(!out.contains("S3C"), "{out}");
        assert!(out.contains("[redac"));
    }

    #[test]
    fn a_secret_is_taken_out_in_every_form_and_at_any_length() {
        let secret = SecretValue::new("S3CR3T\"VALUE/0123456789".into());
        for form in [
            "S3CR3T\\\"VALUE/0123456789".to_owned(),
            "S3CR3T%22VALUE%2F0123456789".to_owned(),
            data_encoding::BASE64.encode(b"S3CR3T\"VALUE/0123456789"),
            hex::encode(b"S3CR3T\"VALUE/0123456789"),
        ] {
            let out = clean(&format!("bad value {form}."), &[&secret]);
            assert_eq!(out, "bad value [redacted].", "{form}");
        }
        let long = "k9".repeat(30_000);
        let out = clean(&format!("bad value {long}"), &[&SecretValue::new(long)]);
        assert_eq!(out, "bad value [redacted]");
    }

    #[test]
    fn a_key_that_this_call_did_not_carry_is_known_by_its_shape() {
        let out = clean("binding X has sk-ant-api03-abcdefghijkl", &[]);
        assert_eq!(out, "binding X has [redacted]");
    }

    #[test]
    fn html_becomes_words() {
        assert_eq!(
            plain_words("<html><h1>502 Bad\n Gateway</h1><hr></html>"),
            "502 Bad Gateway"
        );
    }

    proptest! {
        #[test]
        fn never_long_never_unsafe(text in ".{0,2000}") {
            let out = clean(&text, &[]);
            prop_assert!(out.chars().count() <= LONGEST);
            prop_assert!(!out.chars().any(is_unsafe));
        }
    }
}
