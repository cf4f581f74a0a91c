//! Small pieces of HTML that pages are made of. Whatever text goes in comes out escaped.

use std::fmt;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use talon_core::status::DeploymentStatus;
use talon_explain::age;

/// HTML that needs no more escaping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Markup(String);

impl Markup {
    /// HTML made of literals and of what [`escape`] gave.
    pub(crate) fn trusted(html: String) -> Self {
        Self(html)
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::FastWritable for Markup {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(dest.write_str(&self.0)?)
    }
}

impl askama::filters::HtmlSafe for Markup {}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// An icon of the sprite. It is decoration: a word always stands beside it.
pub fn icon(name: &'static str) -> Markup {
    Markup(format!(
        "<svg class=\"i\" aria-hidden=\"true\" focusable=\"false\"><use href=\"#i-{name}\"></use></svg>"
    ))
}

/// The icon of a status.
pub fn status_icon(status: DeploymentStatus) -> &'static str {
    match status {
        DeploymentStatus::Pending => "clock",
        DeploymentStatus::Deploying => "turn",
        DeploymentStatus::Deployed => "check",
        DeploymentStatus::Failed => "cross",
        DeploymentStatus::Deleting => "trash",
    }
}

/// A status as icon, word and colour.
pub fn status_pill(status: DeploymentStatus) -> Markup {
    pill(status.as_str(), status_icon(status), status.as_str())
}

/// A word with an icon and a colour.
pub fn pill(class: &'static str, icon_name: &'static str, text: &str) -> Markup {
    Markup(format!(
        "<span class=\"pill {class}\">{}{}</span>",
        icon(icon_name),
        escape(text)
    ))
}

/// How long ago, with the moment itself for programs, and for whoever points at it.
pub fn ago(now: DateTime<Utc>, then: DateTime<Utc>) -> Markup {
    let stamp = age::stamp(then);
    Markup(format!(
        "<time datetime=\"{stamp}\" title=\"{stamp}\">{}</time>",
        age::since(now, then)
    ))
}

/// A moment.
pub fn stamp(then: DateTime<Utc>) -> Markup {
    let stamp = age::stamp(then);
    Markup(format!("<time datetime=\"{stamp}\">{stamp}</time>"))
}

/// A text with what looks like a command set as code: `talon` and what follows it up to a punctuation mark, and what
/// looks like a variable or a path into the spec.
pub fn with_commands(text: &str) -> Markup {
    let mut out = String::new();
    let mut open = false;
    for (at, word) in text.split(' ').enumerate() {
        let bare = word.trim_start_matches('(');
        let ends = word.ends_with([',', ';', ')', '.', ':']);
        let core = bare.trim_end_matches([',', ';', ')', '.', ':']);
        let begins = !open && (bare == "talon" || is_code(core));
        if at > 0 {
            out.push(' ');
        }
        if begins {
            out.push_str(&escape(&word[..word.len() - bare.len()]));
            out.push_str("<code>");
            open = true;
        }
        let lone = begins && core != "talon";
        if open && (ends || lone) {
            let shown = if begins {
                core
            } else {
                word.trim_end_matches([',', ';', ')', '.', ':'])
            };
            let _ = write!(out, "{}</code>", escape(shown));
            let tail = &word[word.trim_end_matches([',', ';', ')', '.', ':']).len()..];
            out.push_str(&escape(tail));
            open = false;
        } else {
            out.push_str(&escape(if begins { bare } else { word }));
        }
    }
    if open {
        out.push_str("</code>");
    }
    Markup(out)
}

fn is_code(word: &str) -> bool {
    word.starts_with("spec.")
        || word.starts_with("TALON_")
        || word.starts_with("env:")
        || word.starts_with("file:")
        || word.starts_with("vault:")
        || word.starts_with("--")
}

/// A number with thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_out_and_text_stays_escaped() {
        let html = with_commands(
            "<b>set</b> it, then talon reconcile bot; or spec.apiKeyRefs, see (talon doctor)",
        );
        assert_eq!(
            html.to_string(),
            "&lt;b&gt;set&lt;/b&gt; it, then <code>talon reconcile bot</code>; or <code>spec.apiKeyRefs</code>, \
             see (<code>talon doctor</code>)"
        );
        assert_eq!(
            with_commands("talon resume a\"b").to_string(),
            "<code>talon resume a&quot;b</code>"
        );
        assert_eq!(with_commands("nothing").to_string(), "nothing");
    }

    #[test]
    fn thousands_are_apart() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }
}
