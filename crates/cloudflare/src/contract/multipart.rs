//! A multipart form as the OpenAPI files see it: the parsed `metadata`, and the other parts under `files`.

use serde_json::{Value, json};

/// `{"metadata": …, "files": ["…"]}`; `None` if it is no such form.
pub(super) fn as_value(content_type: &str, body: &[u8]) -> Option<Value> {
    let boundary = content_type
        .split(';')
        .find_map(|p| p.trim().strip_prefix("boundary="))?
        .trim_matches('"');
    let mut metadata = None;
    let mut files = Vec::new();
    for (name, content) in parts(boundary, body)? {
        if name == "metadata" {
            metadata = Some(serde_json::from_slice::<Value>(content).ok()?);
        } else {
            files.push(String::from_utf8_lossy(content).into_owned());
        }
    }
    Some(json!({ "metadata": metadata?, "files": files }))
}

fn parts<'a>(boundary: &str, body: &'a [u8]) -> Option<Vec<(String, &'a [u8])>> {
    let line = format!("--{boundary}");
    let separator = format!("\r\n{line}");
    let mut rest = body.strip_prefix(line.as_bytes())?;
    let mut out = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(out);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(rest, separator.as_bytes())?;
        let part = &rest[..end];
        let head_end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..head_end]).ok()?;
        let name = head.split_once(" name=\"")?.1.split_once('"')?.0;
        out.push((name.to_owned(), &part[head_end + 4..]));
        rest = &rest[end + separator.len()..];
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
