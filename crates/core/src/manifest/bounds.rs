//! Refuses files that would be expensive to parse, before they are parsed.
//!
//! The parser's cost is tokens × open brackets: 1 MiB of `[` takes it 18 s, of `a: [` eight minutes. With few brackets
//! anywhere in the file (text included) nothing can nest deeply; with many, a light reading of the file that knows
//! quotes, comments and block texts follows the real depth.

use super::MAX_BYTES;

/// This many brackets cost the parser at most milliseconds, however they stand.
const FEW_BRACKETS: usize = 500;
/// A manifest needs six levels.
const MAX_DEPTH: usize = 32;

/// Why a file is not parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) line: Option<usize>,
    pub(super) detail: String,
}

/// Linear in the length of the text.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_BYTES {
        return Err(Refusal {
            line: None,
            detail: format!(
                "the file has {} bytes, {MAX_BYTES} are allowed: split it",
                text.len()
            ),
        });
    }
    let brackets = text.bytes().filter(|b| matches!(b, b'[' | b'{')).count();
    if brackets <= FEW_BRACKETS {
        return Ok(());
    }
    let mut scan = Scan::default();
    for (i, line) in text.lines().enumerate() {
        scan.line(line);
        if scan.deepest > MAX_DEPTH {
            return Err(Refusal {
                line: Some(i + 1),
                detail: format!(
                    "more than {MAX_DEPTH} brackets are open at once: close them, or quote the text they stand in"
                ),
            });
        }
    }
    Ok(())
}

/// Where a light reading of YAML stands.
#[derive(Default)]
struct Scan {
    /// Open brackets.
    depth: usize,
    /// The most that were open at once.
    deepest: usize,
    /// The quote a text is in.
    quote: Option<u8>,
    /// The block text (`|`, `>`) that is being read.
    block: Option<Block>,
}

struct Block {
    /// Indentation of what the text belongs to.
    parent: usize,
    /// Indentation of the text, once its first line was seen.
    indent: Option<usize>,
}

impl Scan {
    fn line(&mut self, line: &str) {
        let indent = line.len() - line.trim_start_matches(' ').len();
        if let Some(block) = &mut self.block {
            if line.trim_start_matches(' ').is_empty() {
                return;
            }
            let text_indent = *block.indent.get_or_insert(indent.max(block.parent + 1));
            if indent >= text_indent {
                return;
            }
            self.block = None;
        }
        let bytes = line.as_bytes();
        // Whether a value may start here; quotes inside a plain text are part of it.
        let mut at_start = self.quote.is_none();
        let mut owner = indent;
        let mut i = indent;
        while i < bytes.len() && self.depth <= MAX_DEPTH {
            let b = bytes[i];
            let before = if i == 0 { b' ' } else { bytes[i - 1] };
            let after = bytes.get(i + 1).copied().unwrap_or(b' ');
            if let Some(quote) = self.quote {
                match b {
                    b'\\' if quote == b'"' => i += 1,
                    b'\'' if quote == b'\'' && after == b'\'' => i += 1,
                    _ if b == quote => self.quote = None,
                    _ => {}
                }
                i += 1;
                continue;
            }
            match b {
                b'#' if matches!(before, b' ' | b'\t') => return,
                b'[' | b'{' if at_start || self.depth > 0 => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                    at_start = true;
                }
                b']' | b'}' if self.depth > 0 => {
                    self.depth -= 1;
                    at_start = false;
                }
                b'"' | b'\'' if at_start => {
                    self.quote = Some(b);
                    at_start = false;
                }
                b'|' | b'>' if at_start && self.depth == 0 => {
                    if let Some(explicit) = block_header(&line[i + 1..]) {
                        self.block = Some(Block {
                            parent: owner,
                            indent: explicit.map(|d| owner + d),
                        });
                        return;
                    }
                    at_start = false;
                }
                b'-' | b'?' | b':' if at_start && matches!(after, b' ' | b'\t') => owner = i,
                b':' if matches!(after, b' ' | b'\t') || self.depth > 0 => at_start = true,
                b',' if self.depth > 0 => at_start = true,
                b' ' | b'\t' => {}
                _ => {
                    // The first key after `- ` is what a block text on this line belongs to.
                    if at_start && before == b' ' && bytes[..i].iter().all(|c| b" -?".contains(c)) {
                        owner = i;
                    }
                    // Behind a tag or an anchor a value still starts.
                    at_start = at_start && matches!(b, b'!' | b'&') && {
                        while bytes.get(i + 1).is_some_and(|c| !matches!(c, b' ' | b'\t')) {
                            i += 1;
                        }
                        true
                    };
                }
            }
            i += 1;
        }
    }
}

/// What may stand behind `|` or `>`: `+`, `-`, a digit, a comment. `Some(None)`: a header without a digit.
fn block_header(rest: &str) -> Option<Option<usize>> {
    let indicators = rest.split(" #").next().unwrap_or_default().trim_end();
    let digit = indicators.bytes().find(u8::is_ascii_digit);
    let ok = indicators.len() <= 2
        && indicators
            .bytes()
            .all(|b| matches!(b, b'+' | b'-' | b'1'..=b'9'));
    ok.then(|| digit.map(|d| usize::from(d - b'0')))
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
