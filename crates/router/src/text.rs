//! Words of a text as full-text search compares them: lower case, without endings of English plurals and verb forms, without
//! words that say nothing. There is no query syntax, so no text can break it.

/// English words without a topic.
const SILENT: &[&str] = &[
    "a",
    "about",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "been",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "for",
    "from",
    "had",
    "has",
    "have",
    "he",
    "her",
    "him",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "just",
    "let",
    "like",
    "me",
    "my",
    "need",
    "no",
    "not",
    "of",
    "on",
    "or",
    "our",
    "out",
    "please",
    "s",
    "she",
    "should",
    "so",
    "some",
    "somebody",
    "someone",
    "something",
    "t",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "us",
    "want",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "who",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
];

/// Longest word that is looked at, in bytes; what is longer is no word.
const LONGEST: usize = 64;

/// The words of a text, in order.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty() && word.len() <= LONGEST)
        .map(str::to_lowercase)
        .filter(|word| SILENT.binary_search(&word.as_str()).is_err())
        .map(|word| stem(&word).to_owned())
}

/// A word without the endings of English plurals and verb forms, as far as their letters tell (the first step of Porter's
/// stemmer, without its repairs: both sides of a comparison lose the same).
fn stem(word: &str) -> &str {
    if !word.is_ascii() || word.len() < 4 {
        return word;
    }
    let singular = match word.strip_suffix('s') {
        Some(rest)
            if rest.ends_with("sse")
                || rest.ends_with("xe")
                || rest.ends_with("che")
                || rest.ends_with("she") =>
        {
            &rest[..rest.len() - 1]
        }
        Some(rest) if rest.ends_with('s') || rest.ends_with('u') || rest.ends_with("i") => word,
        Some(rest) => rest,
        None => word,
    };
    let bare = ["ing", "ed"]
        .iter()
        .find_map(|ending| singular.strip_suffix(ending))
        .filter(|bare| bare.len() >= 3 && bare.bytes().any(|b| b"aeiouy".contains(&b)))
        .unwrap_or(singular);
    let bytes = bare.as_bytes();
    match bytes {
        // "stopp(ing)" → "stop"
        [.., a, b] if bare.len() < singular.len() && a == b && !b"lsz".contains(b) => {
            &bare[..bare.len() - 1]
        }
        // "translate" and "translat(ing)", "study", "studie(s)"
        [.., b'e' | b'y'] if bare.len() > 3 => {
            let cut = &bare[..bare.len() - 1];
            cut.strip_suffix('i')
                .filter(|c| c.len() >= 3)
                .unwrap_or(cut)
        }
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn silent_words_are_in_order() {
        assert!(SILENT.is_sorted(), "binary search needs it");
    }

    #[test]
    fn forms_of_a_word_are_one() {
        for forms in [
            &["translate", "translates", "translated", "translating"][..],
            &["stop", "stops", "stopped", "stopping"],
            &["study", "studies"],
            &["box", "boxes"],
            &["class", "classes"],
            &["search", "searches", "searching"],
        ] {
            let stems: Vec<_> = forms.iter().map(|form| stem(form)).collect();
            assert!(stems.iter().all(|s| s == &stems[0]), "{forms:?} {stems:?}");
        }
        for short in ["red", "ring", "gas", "css", "bus", "this"] {
            assert!(stem(short).len() >= 3, "{short}");
        }
    }

    #[test]
    fn words_are_split_lowered_and_freed_of_noise() {
        assert_eq!(
            all("Can you translate e-mails, please?"),
            ["translat", "e", "mail"]
        );
        assert_eq!(
            all("Übersetzung für Ärzte"),
            ["übersetzung", "für", "ärzte"]
        );
        assert_eq!(all("\" OR 1=1; -- NEAR(*) ^:"), ["1", "1", "near"]);
        assert!(all("the of and").is_empty());
        assert!(all(&"x".repeat(65)).is_empty());
    }
}
