//! `multipart/form-data`, as far as uploads need it (RFC 7578), on a body that is in memory already.

use bytes::Bytes;

/// One part.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) filename: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Bytes,
}

/// The boundary, if the content type is `multipart/form-data`.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|b| !b.is_empty())
}

/// Cuts a body into its parts; `None` if it is malformed.
pub(crate) fn parse(body: &Bytes, boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line break before it.
    let mut at = find(body, &delimiter.as_bytes()[2..], 0)? + delimiter.len() - 2;
    let mut parts = Vec::new();
    loop {
        if body.get(at..at + 2)? == b"--" {
            return Some(parts);
        }
        let start = find(body, b"\r\n", at)? + 2;
        let head_end = find(body, b"\r\n\r\n", start.saturating_sub(2))?;
        let head = std::str::from_utf8(body.get(start..head_end).unwrap_or_default()).ok()?;
        let body_start = head_end + 4;
        let body_end = find(body, delimiter.as_bytes(), body_start.saturating_sub(2))?;
        parts.push(part(head, body.slice(body_start.min(body_end)..body_end))?);
        at = body_end + delimiter.len();
    }
}

fn part(head: &str, body: Bytes) -> Option<Part> {
    let (mut name, mut filename, mut content_type) = (None, None, None);
    for line in head.split("\r\n") {
        let (key, value) = line.split_once(':')?;
        match key.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => {
                let (_, parameters) = value.split_once(';')?;
                name = parameter(parameters, "name");
                filename = parameter(parameters, "filename");
            }
            "content-type" => content_type = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(Part {
        name: name?,
        filename,
        content_type,
        body,
    })
}

/// Reads `key=value` or `key="value"` out of `; `-separated parameters.
fn parameter(parameters: &str, key: &str) -> Option<String> {
    let mut rest = parameters.trim_start_matches([';', ' ']);
    while !rest.is_empty() {
        let (found, after) = rest.split_once('=')?;
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => match after.find(';') {
                Some(end) => (after[..end].trim_end(), &after[end..]),
                None => (after.trim_end(), ""),
            },
        };
        if found.trim().eq_ignore_ascii_case(key) {
            // What browsers and fetch escape inside quoted names.
            return Some(
                value
                    .replace("%22", "\"")
                    .replace("%0D", "\r")
                    .replace("%0A", "\n"),
            );
        }
        rest = tail.trim_start_matches([';', ' ']);
    }
    None
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    loop {
        at += haystack.get(at..)?.iter().position(|b| *b == first)?;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_with_and_without_filename() {
        let body = Bytes::from_static(
            b"--X\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{}\r\n--X\r\n\
              content-disposition: form-data; name=\"a.js\"; filename=\"a.js\"\r\ncontent-type: application/javascript+module\r\n\r\n\
              line\r\n--Y\r\n\r\n--X\r\nContent-Disposition: form-data; name=\"e\"\r\n\r\n\r\n--X--\r\n",
        );
        let parts = parse(&body, "X").unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!(
            (parts[0].name.as_str(), &parts[0].body[..]),
            ("metadata", &b"{}"[..])
        );
        assert_eq!(parts[1].filename.as_deref(), Some("a.js"));
        assert_eq!(&parts[1].body[..], b"line\r\n--Y\r\n");
        assert!(parts[2].body.is_empty());
        assert!(parse(&Bytes::from_static(b"--X\r\nbroken"), "X").is_none());
    }

    #[test]
    fn boundary_of_a_content_type() {
        assert_eq!(
            boundary("multipart/form-data; boundary=abc").as_deref(),
            Some("abc")
        );
        assert_eq!(
            boundary("multipart/form-data; boundary=\"a b\"").as_deref(),
            Some("a b")
        );
        assert_eq!(boundary("application/json"), None);
    }
}
