//! How handlers read a request: strict, and without a word of what was sent in any error.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    /// As a type of ours. Everything that is not as it must be is an error with a pointer; unknown keys are the type's
    /// business.
    pub fn typed<T: DeserializeOwned>(self) -> Answer<T> {
        serde_path_to_error::deserialize(self.value).map_err(|e| {
            // The path of an unknown key ends with the key, which may be a secret in the wrong place.
            let mut path: Vec<String> = e.path().iter().map(ToString::to_string).collect();
            if e.inner().to_string().starts_with(UNKNOWN) {
                path.pop();
            }
            let pointer = path.iter().map(|segment| segment.replace(['[', ']'], ""));
            let pointer: String = pointer.map(|segment| format!("/{segment}")).collect();
            let error = FieldError {
                pointer,
                code: "wrong_shape".to_owned(),
                detail: shape(&e.into_inner()),
            };
            Problem::new(Kind::Invalid, "the body has not the shape it must have")
                .with_errors(vec![error])
        })
    }
}

const UNKNOWN: &str = "unknown field ";

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
