//! Enough XML to read S3's answers: elements, text, references, CDATA; namespaces and attributes are passed over.
//! Document types are refused, so nothing here expands.

/// One element. Its text and its children are kept apart: S3 never mixes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    /// Name without its prefix.
    pub(crate) name: String,
    /// Text directly inside.
    pub(crate) text: String,
    /// Elements directly inside.
    pub(crate) children: Vec<Element>,
}

/// Deeper than any answer of S3.
const DEEPEST: usize = 16;

impl Element {
    /// Children of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// Text of the first child of that name.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.children
            .iter()
            .find(|c| c.name == name)
            .map(|c| c.text.as_str())
    }
}

/// The root element; `None` for anything that is not well-formed enough.
pub(crate) fn parse(text: &str) -> Option<Element> {
    let mut rest = text.trim_start_matches('\u{feff}');
    // A nameless element takes the root in, so that the loop needs no special case for it.
    let mut open = vec![Element::default()];
    while let Some(at) = rest.find('<') {
        append(&mut open, &unescape(&rest[..at])?)?;
        rest = &rest[at..];
        if let Some(inner) = rest.strip_prefix("<![CDATA[") {
            let end = inner.find("]]>")?;
            append(&mut open, &inner[..end])?;
            rest = &inner[end + 3..];
        } else if let Some(inner) = rest.strip_prefix("<!--") {
            rest = &inner[inner.find("-->")? + 3..];
        } else if let Some(inner) = rest.strip_prefix("<?") {
            rest = &inner[inner.find("?>")? + 2..];
        } else if rest.starts_with("<!") {
            return None;
        } else {
            let end = tag_end(rest)?;
            tag(&mut open, &rest[1..end])?;
            rest = &rest[end + 1..];
        }
    }
    let outer = open.pop().filter(|_| open.is_empty())?;
    let mut roots = outer.children.into_iter();
    roots
        .next()
        .filter(|_| roots.next().is_none() && rest.trim().is_empty())
}

/// Where the tag ends, past any `>` inside quotes.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    text.char_indices().find_map(|(i, c)| {
        match (quote, c) {
            (None, '>') => return Some(i),
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
        None
    })
}

fn tag(open: &mut Vec<Element>, inside: &str) -> Option<()> {
    if let Some(name) = inside.strip_prefix('/') {
        let done = open.pop()?;
        let parent = open.last_mut()?;
        (done.name == local(name.trim())).then_some(())?;
        parent.children.push(done);
        return Some(());
    }
    let empty = inside.ends_with('/');
    let name = inside.trim_end_matches('/').split_whitespace().next()?;
    let element = Element {
        name: local(name).to_owned(),
        ..Element::default()
    };
    if empty {
        open.last_mut()?.children.push(element);
    } else {
        (open.len() <= DEEPEST).then_some(())?;
        open.push(element);
    }
    Some(())
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn append(open: &mut [Element], text: &str) -> Option<()> {
    open.last_mut()?.text.push_str(text);
    Some(())
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = at + rest[at..].find(';')?;
        out.push(reference(&rest[at + 1..end])?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// Text as it may stand between tags. White space other than a space is written as a reference, else a reader may
/// change it. `None` if XML cannot express one of the characters.
pub(crate) fn escape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' | '\u{7f}'..='\u{9f}' | '\u{2028}' => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_s3_writes() {
        let doc = parse(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x --><s:R xmlns:s=\"http://a/>\"><A>1 &lt; 2&#x41;</A>\
             <B/><C a='b'><![CDATA[<raw>]]></C><A>3</A></s:R>\n",
        )
        .unwrap();
        assert_eq!(doc.name, "R");
        let all: Vec<_> = doc.all("A").map(|e| e.text.as_str()).collect();
        assert_eq!(all, ["1 < 2A", "3"]);
        assert_eq!(doc.text_of("B"), Some(""));
        assert_eq!(doc.text_of("C"), Some("<raw>"));
        assert_eq!(doc.text_of("D"), None);
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "text",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a>&unknown;</a>",
            "<a>&#xD800;</a>",
            "<a",
            "<>",
            "{\"a\":1}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"<a>".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn what_is_escaped_reads_back(text in "\\PC{0,40}|[\\t\\n\\r&<>'\"é]{0,20}") {
            let Some(escaped) = escape(&text) else { return Ok(()) };
            let doc = parse(&format!("<a><k>{escaped}</k></a>")).unwrap();
            prop_assert_eq!(doc.text_of("k"), Some(text.as_str()));
        }

        #[test]
        fn never_panics(text in "[<>/a&;#\\[\\]!?\"'x-]{0,60}") {
            let _ = parse(&text);
        }
    }
}
