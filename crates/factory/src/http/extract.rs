//! How handlers read a request: strict, and without a word of what was sent in any error.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::late::Late;
use super::problem::{Answer, FieldError, Kind, Problem};
use super::strict;
use crate::App;

/// A JSON body, read strictly and not yet typed. `Debug` shows none of it: there may be keys in it.
pub struct Json {
    /// What was sent.
    pub value: Value,
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Json(…)")
    }
}

impl Json {
    /// As a type of ours. Everything that is not as it must be is an error with a pointer, all of them at once; unknown keys
    /// are the type's business.
    pub fn typed<T: DeserializeOwned>(self) -> Answer<T> {
        let mut value = self.value;
        let mut errors: Vec<FieldError> = Vec::new();
        let mut guesses = Guesses::default();
        // Each turn reads the whole body once more, so that their number is bounded.
        for _ in 0..MAX_TURNS {
            let e = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
                Ok(typed) if errors.is_empty() => return Ok(typed),
                Ok(_) => break,
                Err(e) => e,
            };
            let mut path: Vec<String> = e.path().iter().map(ToString::to_string).collect();
            let said = e.inner().to_string();
            // The path of an unknown key ends with the key, which may be a secret in the wrong place.
            let unknown = match said.starts_with(UNKNOWN) {
                true => path.pop(),
                false => None,
            };
            let missing = missing(&said);
            let field = match (&unknown, missing) {
                (Some(key), _) => key.clone(),
                (None, Some(field)) => field.to_owned(),
                (None, None) => path.first().cloned().unwrap_or_default(),
            };
            let error = FieldError {
                pointer: path
                    .iter()
                    .map(|segment| format!("/{}", segment.replace(['[', ']'], "")))
                    .collect(),
                code: "wrong_shape".to_owned(),
                detail: shape(&e.into_inner()),
            };
            let of_a_guess = guesses.is_about(&field);
            if !of_a_guess && !errors.contains(&error) {
                errors.push(error);
            }
            // Only what stands at the top can be put right by a guess; the rest has to wait for the next attempt.
            let at_top = path.len() <= usize::from(unknown.is_none() && missing.is_none());
            let Some(object) = value.as_object_mut().filter(|_| at_top) else {
                break;
            };
            if unknown.is_some() {
                // All of them at once: there may be as many as a body has room for.
                let known = known(&said);
                object.retain(|key, _| *key != field && known.contains(&key.as_str()));
                continue;
            }
            match guesses.next(&field, &said) {
                Some(guess) => drop(object.insert(field, guess)),
                None => break,
            }
        }
        Err(
            Problem::new(Kind::Invalid, "the body has not the shape it must have")
                .with_errors(errors),
        )
    }
}

/// Values put in place of wrong or missing ones, so that what is wrong behind them is found as well. None is ever used.
#[derive(Default)]
struct Guesses(BTreeMap<String, usize>);

impl Guesses {
    fn is_about(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// The next guess at this field, after `said` was said of it.
    fn next(&mut self, field: &str, said: &str) -> Option<Value> {
        let tried = self.0.entry(field.to_owned()).or_default();
        let at = *tried;
        *tried += 1;
        // A choice names its words: "unknown variant `x`, expected one of `a`, `b`".
        let word = said
            .starts_with("unknown variant ")
            .then(|| said.rsplit_once("expected ")?.1.split('`').nth(1))
            .flatten();
        if let Some(word) = word {
            return (at <= PLAIN).then(|| word.into());
        }
        match at {
            0 => Some("".into()),
            1 => Some(0.into()),
            2 => Some(false.into()),
            3 => Some(json!([])),
            PLAIN => Some(json!({})),
            _ => None,
        }
    }
}

/// The last of the plain guesses.
const PLAIN: usize = 4;

/// The field that is missing, if that is what was said.
fn missing(said: &str) -> Option<&str> {
    said.strip_prefix("missing field `")?.split('`').next()
}

const UNKNOWN: &str = "unknown field ";

/// Most readings of one body. More than any of our types has fields and guesses at them.
const MAX_TURNS: usize = 64;

/// The keys that are known, where an unknown one was said: "unknown field `x`, expected one of `a`, `b`".
fn known(said: &str) -> Vec<&str> {
    match said.rsplit_once("expected ") {
        Some((_, known)) => known.split('`').skip(1).step_by(2).collect(),
        None => Vec::new(),
    }
}

/// What is wrong, without what was sent: serde's own text would quote it.
fn shape(e: &serde_json::Error) -> String {
    let said = e.to_string();
    match said.split_once('`') {
        Some(("missing field ", rest)) => {
            let field = rest.split('`').next().unwrap_or_default();
            format!("{field} is missing: add it")
        }
        Some((UNKNOWN, _)) => match said.rsplit_once("expected ") {
            Some((_, known)) => {
                format!("has an unknown key; known here: {}", known.replace('`', ""))
            }
            None => "has an unknown key".to_owned(),
        },
        _ => "is of the wrong kind".to_owned(),
    }
}

/// Whether a `Content-Type` is this media type, whatever its parameters.
pub fn is_media_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// Reads a whole body within the limits of size and time.
pub async fn read_body(body: Body, max: usize, patience: Duration) -> Answer<Bytes> {
    match tokio::time::timeout(patience, to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(e)) if has_source::<http_body_util::LengthLimitError>(&e) => Err(Problem::new(
            Kind::TooLarge,
            format!("the body has more than {max} bytes"),
        )),
        Ok(Err(e)) if has_source::<Late>(&e) => Err(late()),
        Ok(Err(_)) => Err(Problem::new(
            Kind::Malformed,
            "the body did not arrive whole",
        )),
        Err(_) => Err(late()),
    }
}

fn late() -> Problem {
    Problem::new(Kind::Malformed, "the body did not arrive in time")
}

fn has_source<E: std::error::Error + 'static>(e: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(e);
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Reads and parses a body whatever its media type.
pub async fn read_json(body: Body, app: &App) -> Answer<Json> {
    let config = app.config();
    let bytes = read_body(body, config.max_body, config.request_timeout).await?;
    let value = parse_json(&bytes)?;
    Ok(Json { value })
}

/// Parses a body that was read, strictly.
pub fn parse_json(bytes: &[u8]) -> Answer<Value> {
    strict::parse(bytes).map_err(|e| Problem::new(Kind::Malformed, e.to_string()))
}

impl FromRequest<App> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Answer<Self> {
        if !is_media_type(request.headers(), "application/json") {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                "send the body as application/json",
            ));
        }
        read_json(request.into_body(), app).await
    }
}

/// The query, as a type of ours. Unknown and repeated parameters are refused: a mistyped `dryRun` must not write.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
            .map(Self)
            .map_err(|e: serde_path_to_error::Error<serde::de::value::Error>| {
                let path = e.path().to_string();
                // A path names a parameter that the type knows, or else the unknown one, which is not repeated.
                let said = e.into_inner().to_string();
                let detail = if said.starts_with(UNKNOWN) {
                    "a query parameter is unknown here".to_owned()
                } else if let Some(field) = said.strip_prefix("missing field ") {
                    format!("the query parameter {} is missing", field.replace('`', ""))
                } else if said.starts_with("duplicate field ") {
                    "a query parameter is given twice".to_owned()
                } else {
                    format!("the query parameter {path} cannot be read")
                };
                Problem::new(Kind::Malformed, detail)
            })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        Blue,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read into")]
    struct Wanted {
        label: String,
        days: u32,
        colour: Colour,
        list: Option<Vec<String>>,
    }

    fn read(value: Value) -> Result<Wanted, Vec<(String, String)>> {
        Json { value }.typed().map_err(|problem| {
            let errors = problem.errors().iter();
            let mut all: Vec<_> = errors
                .map(|e| (e.pointer.clone(), e.detail.clone()))
                .collect();
            all.sort();
            all
        })
    }

    #[test]
    fn a_body_as_it_must_be_is_read() {
        let wanted = read(json!({"label": "x", "days": 1, "colour": "blue"})).expect("read");
        assert!(matches!(wanted.colour, Colour::Blue));
        assert!(matches!(
            read(json!({"label": "x", "days": 1, "colour": "red"})).map(|w| w.colour),
            Ok(Colour::Red)
        ));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_nothing_of_it_repeated() {
        let value =
            json!({"label": 7, "days": "canary", "colour": "canary", "list": {}, "canary": 1});
        let errors = read(value).expect_err("refused");
        let pointers: Vec<_> = errors.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(pointers, ["", "/colour", "/days", "/label", "/list"]);
        assert!(!format!("{errors:?}").contains("canary"), "{errors:?}");
    }

    #[test]
    fn a_body_full_of_unknown_keys_costs_little_and_hides_nothing() {
        let mut value = json!({"days": "x", "colour": "red"});
        let object = value.as_object_mut().expect("an object");
        object.extend((0..100_000).map(|n| (format!("canary`{n}"), n.into())));
        let before = std::time::Instant::now();
        let errors = read(value).expect_err("refused");
        // One by one they take hours.
        assert!(before.elapsed().as_secs() < 60, "{:?}", before.elapsed());
        let pointers: Vec<_> = errors.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(pointers, ["", "", "/days"]);
        assert!(!format!("{errors:?}").contains("canary"), "{errors:?}");
    }

    #[test]
    fn all_that_is_missing_is_told() {
        let errors = read(json!({})).expect_err("refused");
        let details: Vec<_> = errors.iter().map(|(_, d)| d.as_str()).collect();
        assert_eq!(
            details,
            [
                "colour is missing: add it",
                "days is missing: add it",
                "label is missing: add it"
            ]
        );
        assert_eq!(read(json!([])).expect_err("refused").len(), 1);
        assert_eq!(read(json!(null)).expect_err("refused").len(), 1);
    }
}
