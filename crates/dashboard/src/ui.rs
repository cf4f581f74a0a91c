//! Small pieces of HTML that pages are made of. Whatever text goes in comes out escaped.

use std::fmt;

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

/// A text with what looks like a command set as code: `talon` and what belongs to it, and what looks like a variable or a path
/// into the spec.
pub fn with_commands(text: &str) -> Markup {
    Markup(marked(text, |code| {
        format!("<code>{}</code>", escape(code))
    }))
}

/// The same, and every command can be copied. The buttons show where script runs.
pub fn with_copies(text: &str) -> Markup {
    Markup(marked(text, |code| {
        let shown = escape(code);
        if !code.starts_with("talon ") {
            return format!("<code>{shown}</code>");
        }
        format!(
            "<span class=\"copyable\"><code>{shown}</code><button type=\"button\" class=\"copy\" data-copy=\"{shown}\" \
             aria-label=\"Copy {shown}\" title=\"Copy\">{}</button></span>",
            icon("copy")
        )
    }))
}

/// Ends of a word that belong to the sentence.
const MARKS: [char; 5] = [',', ';', ')', '.', ':'];

/// Words that go on with the sentence after a command.
const GOES_ON: [&str; 11] = [
    "says", "lists", "shows", "prints", "tries", "has", "when", "looks", "takes", "and", "or",
];

/// Escapes a text, and gives its commands to `set`.
fn marked(text: &str, set: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut command = String::new();
    for (at, word) in text.split(' ').enumerate() {
        let bare = word.trim_start_matches('(');
        // What stands in brackets is about the command, not of it.
        if !command.is_empty() && (bare.len() < word.len() || GOES_ON.contains(&bare)) {
            out.push_str(&set(&std::mem::take(&mut command)));
        }
        let core = bare.trim_end_matches(MARKS);
        let goes_on = !command.is_empty();
        if !goes_on && at > 0 {
            out.push(' ');
        }
        if goes_on {
            command.push(' ');
            command.push_str(core);
        } else if core == "talon" || is_code(core) {
            out.push_str(&escape(&word[..word.len() - bare.len()]));
            core.clone_into(&mut command);
        } else {
            out.push_str(&escape(word));
            continue;
        }
        let ends = bare.len() > core.len() || (!goes_on && core != "talon");
        if ends {
            out.push_str(&set(&std::mem::take(&mut command)));
            out.push_str(&escape(&bare[core.len()..]));
        }
    }
    if !command.is_empty() {
        out.push_str(&set(&command));
    }
    out
}

fn is_code(word: &str) -> bool {
    let begins = ["spec.", "TALON_", "env:", "file:", "vault:", "--"];
    begins.iter().any(|begin| word.starts_with(begin)) && word != "--"
}

/// Moments within a text as clock times, or as dates if they lie further back than a day.
pub fn short_stamps(text: &str, now: DateTime<Utc>) -> String {
    let short = |word: &str| {
        let core = word.trim_end_matches(MARKS);
        let at = DateTime::parse_from_rfc3339(core).ok()?.to_utc();
        let form = if (now - at).num_hours().abs() < 24 {
            "%H:%M"
        } else {
            "%-d %b %H:%M"
        };
        Some(format!("{}{}", at.format(form), &word[core.len()..]))
    };
    let words = text
        .split(' ')
        .map(|word| short(word).unwrap_or_else(|| word.to_owned()));
    words.collect::<Vec<_>>().join(" ")
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
        assert_eq!(
            with_commands("talon secrets set bot KEY (Talon keeps no copy)").to_string(),
            "<code>talon secrets set bot KEY</code> (Talon keeps no copy)"
        );
        assert_eq!(
            with_commands("talon doctor says which, or --force").to_string(),
            "<code>talon doctor</code> says which, or <code>--force</code>"
        );
        let copied = with_copies("env:A, then talon apply x\"y.").to_string();
        assert!(
            copied.contains("data-copy=\"talon apply x&quot;y\""),
            "{copied}"
        );
        assert_eq!(copied.matches("data-copy").count(), 1, "{copied}");
        assert_eq!(with_commands("nothing").to_string(), "nothing");
    }

    #[test]
    fn moments_are_short_and_the_rest_stays() {
        let now = DateTime::from_timestamp(1_795_989_600, 0).expect("a time");
        let text = "bot is failed (since 2026-11-29T18:52:29Z, 3h ago), made 2026-10-01T08:00:00Z";
        assert_eq!(
            short_stamps(text, now),
            "bot is failed (since 18:52, 3h ago), made 1 Oct 08:00"
        );
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
