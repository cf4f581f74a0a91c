//! Text that other people wrote, made safe to show.
//!
//! Guarantees: what these functions return moves no cursor, starts no escape sequence, reverses no line and hides no
//! character; each is idempotent.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character is one that a reader cannot see, or that changes how its neighbours are seen: control
/// characters, bidirectional overrides and isolates, zero-width and other default-ignorable characters, tags,
/// variation selectors, line and paragraph separators, fillers, private use and non-characters.
///
/// Line feed and tab are control characters and therefore count.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}'
            | '\u{034F}'
            | '\u{061C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{E000}'..='\u{F8FF}'
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
            | '\u{F0000}'..='\u{10FFFF}')
        || (c as u32) & 0xFFFE == 0xFFFE
}

/// Whether a reader sees nothing at all: only white space and hidden characters.
pub fn is_blank(s: &str) -> bool {
    s.chars().all(|c| c.is_whitespace() || is_hidden(c))
}

/// The text with every hidden character escaped as `\u{…}` (tab, line feed and carriage return as `\t`, `\n`, `\r`):
/// one line, whatever was in it.
pub fn for_terminal(s: &str) -> Cow<'_, str> {
    escape(s, false)
}

/// As [`for_terminal`], but line feeds stay line feeds.
pub fn for_terminal_lines(s: &str) -> Cow<'_, str> {
    escape(s, true)
}

fn escape(s: &str, keep_lines: bool) -> Cow<'_, str> {
    let unsafe_char = |c: char| is_hidden(c) && !(keep_lines && c == '\n');
    if !s.contains(unsafe_char) {
        return Cow::Borrowed(s);
    }
    let mut out = String::with_capacity(s.len() + 16);
    for c in s.chars() {
        match c {
            '\n' if keep_lines => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if unsafe_char(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// At most `max_chars` characters; what was cut off is shown by a final `…`, which counts.
pub fn clip(s: &str, max_chars: usize) -> String {
    if s.chars().count() <= max_chars {
        return s.to_owned();
    }
    let mut out: String = s.chars().take(max_chars.saturating_sub(1)).collect();
    if max_chars > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_passes_untouched() {
        let s = "Grüße, 世界! naïve \u{1F600} \\u{1b}";
        assert!(matches!(for_terminal(s), Cow::Borrowed(t) if t == s));
    }

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(for_terminal("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(for_terminal("\u{9b}2J"), "\\u{9b}2J");
        assert_eq!(for_terminal("a\r\nb\tc"), "a\\r\\nb\\tc");
        assert_eq!(for_terminal("abc\u{202e}fed"), "abc\\u{202e}fed");
        assert_eq!(for_terminal("pay\u{200b}pal"), "pay\\u{200b}pal");
        assert_eq!(for_terminal("\u{e0041}"), "\\u{e0041}");
    }

    #[test]
    fn only_the_variant_for_lines_keeps_them() {
        assert_eq!(for_terminal_lines("a\nb\r\nc"), "a\nb\\r\nc");
        assert_eq!(
            for_terminal_lines("a\u{1b}b\u{202e}c"),
            "a\\u{1b}b\\u{202e}c"
        );
        assert_eq!(for_terminal("a\nb"), "a\\nb");
    }

    #[test]
    fn clipping_counts_characters_and_shows_the_cut() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
        assert_eq!(clip("abc", 0), "");
        assert_eq!(clip("", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_hidden_survives(s in any::<String>()) {
            let one = for_terminal(&s);
            prop_assert!(!one.contains(is_hidden));
            prop_assert_eq!(for_terminal(&one), one.as_ref());
            let lines = for_terminal_lines(&s);
            prop_assert!(!lines.contains(|c| is_hidden(c) && c != '\n'));
            prop_assert_eq!(for_terminal_lines(&lines), lines.as_ref());
        }

        #[test]
        fn clipped_text_fits(s in any::<String>(), max in 0usize..40) {
            prop_assert!(clip(&s, max).chars().count() <= max);
        }
    }
}
