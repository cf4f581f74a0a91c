//! The part of JSONPath that `talon wait --for=jsonpath=…` understands: `{.a.b[0].c}` and
//! `{.a[?(@.type=="Ready")].status}`. Braces and the leading dot may be left out.

use serde_json::Value;

/// A path into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
    /// The first element whose field has this value.
    Where(String, String),
}

const HELP: &str = "write a path such as {.status.deploymentStatus} or {.status.conditions[?(@.type==\"Ready\")].status}";

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('{')
            .map_or(Some(text), |rest| rest.strip_suffix('}'))
            .ok_or(HELP)?;
        let mut rest = bare.strip_prefix('$').unwrap_or(bare);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, after) = match rest.strip_prefix('[') {
                Some(inside) => {
                    let end = inside.find(']').ok_or(HELP)?;
                    (bracket(&inside[..end])?, &inside[end + 1..])
                }
                None => {
                    let key = rest.strip_prefix('.').unwrap_or(rest);
                    let end = key.find(['.', '[']).unwrap_or(key.len());
                    if end == 0 {
                        return Err(HELP.to_owned());
                    }
                    (Part::Key(key[..end].to_owned()), &key[end..])
                }
            };
            parts.push(part);
            rest = after;
        }
        if parts.is_empty() {
            return Err(HELP.to_owned());
        }
        Ok(Self(parts))
    }

    /// What the path leads to; `None` if nothing, or `null`.
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.0
            .iter()
            .try_fold(document, |value, part| match part {
                Part::Key(key) => value.get(key),
                Part::Index(index) => value.get(index),
                Part::Where(field, wanted) => value
                    .as_array()?
                    .iter()
                    .find(|item| item.get(field).is_some_and(|v| text(v) == *wanted)),
            })
            .filter(|v| !v.is_null())
    }
}

fn bracket(inside: &str) -> Result<Part, String> {
    if let Some(filter) = inside
        .strip_prefix("?(@.")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        let (field, value) = filter.split_once("==").ok_or(HELP)?;
        let quoted = value.trim();
        let value = ['"', '\'']
            .iter()
            .find_map(|q| quoted.strip_prefix(*q)?.strip_suffix(*q))
            .ok_or(HELP)?;
        return Ok(Part::Where(field.trim().to_owned(), value.to_owned()));
    }
    inside.parse().map(Part::Index).map_err(|_| HELP.to_owned())
}

/// A value as it is compared: strings without quotes, everything else as JSON.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(path: &str) -> Option<String> {
        let document = json!({"status": {"deploymentStatus": "deployed", "n": 3, "none": null,
            "conditions": [{"type": "Stalled", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        Path::parse(path).ok()?.find(&document).map(text)
    }

    #[test]
    fn paths_lead_to_values() {
        assert_eq!(
            found("{.status.deploymentStatus}").as_deref(),
            Some("deployed")
        );
        assert_eq!(found(".status.n").as_deref(), Some("3"));
        assert_eq!(
            found("$.status.conditions[1].type").as_deref(),
            Some("Ready")
        );
        assert_eq!(
            found(r#"{.status.conditions[?(@.type=="Ready")].status}"#).as_deref(),
            Some("True")
        );
        assert_eq!(found(".status.none"), None);
        assert_eq!(found(".status.missing.more"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "{}", "{.a", "a[", "a[x]", "a[?(@.b)]", "..a"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}
