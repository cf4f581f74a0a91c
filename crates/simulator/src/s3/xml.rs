//! The little XML that S3 needs. Requests are flat lists of elements, so that finding tags is enough.

/// Starts every answer.
pub(crate) const HEADER: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

/// Namespace of results.
pub(crate) const NS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// Escapes text; characters that XML cannot hold become references, as S3 writes them.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push_str(&format!("&#x{:X};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// The insides of every `<tag>…</tag>`, not looking into those found.
pub(crate) fn elements<'a>(body: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut found = Vec::new();
    let mut rest = body;
    while let Some(at) = rest.find(&open) {
        let after = &rest[at + open.len()..];
        // `<Key` must not find `<KeyMarker>`.
        if !after.starts_with(['>', ' ', '\n', '\r', '\t']) {
            rest = after;
            continue;
        }
        let Some(start) = after.find('>') else { break };
        let Some(end) = after.find(&close).filter(|e| *e > start) else {
            break;
        };
        found.push(&after[start + 1..end]);
        rest = &after[end + close.len()..];
    }
    found
}

/// The text of the first `<tag>`.
pub(crate) fn text(body: &str, tag: &str) -> Option<String> {
    elements(body, tag).first().map(|t| unescape(t))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let entity = &rest[at..];
        let decoded = entity
            .find(';')
            .and_then(|end| Some((decode(&entity[1..end])?, &entity[end + 1..])));
        match decoded {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = &entity[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn decode(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        other => {
            let number = other.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let key = "a<b>&\"'\u{1}é";
        let body = format!(
            "<Delete><Object><Key>{}</Key></Object></Delete>",
            escape(key)
        );
        assert_eq!(text(elements(&body, "Object")[0], "Key").unwrap(), key);
    }

    #[test]
    fn names_are_whole() {
        let body = "<D><KeyMarker>x</KeyMarker><Key a=\"1\">y</Key></D>";
        assert_eq!(text(body, "Key").unwrap(), "y");
        assert!(elements("<Key>never closed", "Key").is_empty());
        assert_eq!(text("<K>&bogus; &#65;</K>", "K").unwrap(), "&bogus; A");
    }
}
