//! Reading values that Cloudflare spells in more than one way. A field of an unexpected type is read as absent: one odd
//! field must not hide a whole Worker.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use talon_core::spec::Jurisdiction;

/// RFC 3339 with any fraction, the same with a space or without a zone, RFC 2822; else nothing.
pub(crate) fn date(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(d) = DateTime::parse_from_rfc3339(text) {
        return Some(d.with_timezone(&Utc));
    }
    if let Ok(d) = DateTime::parse_from_rfc2822(text) {
        return Some(d.with_timezone(&Utc));
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|f| NaiveDateTime::parse_from_str(text, f).ok())
        .map(|d| d.and_utc())
        // Go's zero time stands for "never".
        .filter(|d| d.timestamp() > 0)
}

/// A jurisdiction in any case; `None` if it is none that Talon knows.
pub(crate) fn jurisdiction(text: &str) -> Option<Jurisdiction> {
    [
        Jurisdiction::Default,
        Jurisdiction::Eu,
        Jurisdiction::Fedramp,
    ]
    .into_iter()
    .find(|j| j.as_str().eq_ignore_ascii_case(text.trim()))
}

/// For `#[serde(deserialize_with)]`: a date, or nothing.
pub(crate) fn date_field<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    Ok(Value::deserialize(d)?.as_str().and_then(date))
}

/// For `#[serde(deserialize_with)]`: a string, or nothing.
pub(crate) fn text_field<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::String(s) if !s.is_empty() => Some(s),
        _ => None,
    })
}

/// For `#[serde(deserialize_with)]`: a list of strings; `None` for null.
pub(crate) fn texts_field<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<Vec<String>>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Array(items) => Some(
            items
                .into_iter()
                .filter_map(|v| match v {
                    Value::String(s) => Some(s),
                    _ => None,
                })
                .collect(),
        ),
        _ => None,
    })
}

/// For `#[serde(deserialize_with)]`: a count that may come as a number or as text.
pub(crate) fn count_field<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_many_spellings() {
        let want = "2022-05-05T05:15:11Z".parse::<DateTime<Utc>>().unwrap();
        for text in [
            "2022-05-05T05:15:11Z",
            "2022-05-05T05:15:11+00:00",
            "2022-05-05T05:15:11",
            "2022-05-05 05:15:11",
            "Thu, 05 May 2022 05:15:11 GMT",
            " 2022-05-05T07:15:11+02:00 ",
        ] {
            assert_eq!(date(text), Some(want), "{text}");
        }
        assert!(date("2022-05-05T05:15:11.602148123Z").is_some());
        for text in ["", "soon", "2022-05-05", "0001-01-01T00:00:00"] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn jurisdictions_in_any_case() {
        assert_eq!(jurisdiction("EU"), Some(Jurisdiction::Eu));
        assert_eq!(jurisdiction("default"), Some(Jurisdiction::Default));
        assert_eq!(jurisdiction("mars"), None);
    }
}
