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

/// Moments within a text as clock times, or as dates if they lie further back than a day.
pub fn short_stamps(text: &str, now: DateTime<Utc>) -> String {
    let short = |word: &str| {
        let core = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
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
