//! Splitting text into pieces of words as BERT does (uncased): lower case, accents removed, words and punctuation apart, each
//! word into the longest known pieces from left to right. Written here because it is this little: the `tokenizers` crate would
//! bring many others with it, by default a regular-expression engine in C among them.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// Longest word that is split, in characters.
const LONGEST_WORD: usize = 100;
/// Most pieces of one text.
const MOST_PIECES: usize = 512;

/// The known pieces. One that goes on with a word begins with `##`; the first is what stands for unknown words.
pub(crate) struct Pieces {
    beginnings: HashMap<&'static str, u32>,
    continuations: HashMap<&'static str, u32>,
}

impl Pieces {
    /// Pieces by their lines.
    pub(crate) fn new(lines: &'static str) -> Self {
        let (mut beginnings, mut continuations) = (HashMap::new(), HashMap::new());
        for (row, piece) in (0..).zip(lines.split('\n')).skip(1) {
            match piece.strip_prefix("##") {
                Some(rest) if !rest.is_empty() => continuations.insert(rest, row),
                _ => beginnings.insert(piece, row),
            };
        }
        Self {
            beginnings,
            continuations,
        }
    }

    /// The rows of a text's pieces; words that cannot be put together from pieces are left out.
    pub(crate) fn rows(&self, text: &str) -> Vec<u32> {
        let mut rows = Vec::new();
        for word in words(text) {
            if rows.len() >= MOST_PIECES {
                break;
            }
            self.split(&word, &mut rows);
        }
        rows.truncate(MOST_PIECES);
        rows
    }

    fn split(&self, word: &str, rows: &mut Vec<u32>) {
        if word.chars().count() > LONGEST_WORD {
            return;
        }
        let before = rows.len();
        let mut start = 0;
        while start < word.len() {
            let known = if start == 0 {
                &self.beginnings
            } else {
                &self.continuations
            };
            let ends = word[start..]
                .char_indices()
                .map(|(at, c)| start + at + c.len_utf8());
            let longest = ends
                .rev()
                .find_map(|end| known.get(&word[start..end]).map(|row| (end, *row)));
            let Some((end, row)) = longest else {
                rows.truncate(before);
                return;
            };
            rows.push(row);
            start = end;
        }
    }
}

/// Words and marks of punctuation, lower case and without accents.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let end_word = |words: &mut Vec<String>| {
        if words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
    };
    let plain = text
        .chars()
        .filter(|c| !c.is_control() || c.is_whitespace())
        .filter(|c| *c != '\u{fffd}')
        .nfd()
        .filter(|c| canonical_combining_class(*c) == 0)
        .flat_map(char::to_lowercase);
    for c in plain {
        if c.is_whitespace() {
            end_word(&mut words);
        } else if is_mark(c) || is_ideograph(c) {
            end_word(&mut words);
            words.push(c.to_string());
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Punctuation, as far as the known pieces have any: they are all ASCII.
fn is_mark(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{3001}'..='\u{3003}' | '«' | '»' | '¿' | '¡')
}

/// Characters that are words by themselves.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        Pieces::new("[UNK]\nun\n##believ\n##able\nb\n##e\n,\ncafe\n#")
    }

    #[test]
    fn the_longest_pieces_are_taken() {
        assert_eq!(pieces().rows("Unbelievable, café"), [1, 2, 3, 6, 7]);
        assert_eq!(pieces().rows("be #"), [4, 5, 8]);
    }

    #[test]
    fn what_is_unknown_leaves_nothing_behind() {
        assert!(
            pieces()
                .rows("unx 日本 \u{0}\u{fffd} ###z")
                .iter()
                .all(|row| *row == 8)
        );
        assert!(pieces().rows("").is_empty());
        assert!(pieces().rows(&"b".repeat(101)).is_empty());
        assert_eq!(pieces().rows(&"be ".repeat(1_000)).len(), MOST_PIECES);
    }
}
