//! What goes wrong, as `application/problem+json` (RFC 9457). No problem ever repeats a submitted value.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use talon_core::secret_writer::ValueStored;
use talon_store::StoreError;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $slug:literal, $status:ident, $title:literal;)+) => {
        /// What kind of problem it is. Each has one URI, one status and one title, which stay.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $variant),+ }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The URI by which programs know it.
            pub fn uri(self) -> &'static str {
                match self { $(Self::$variant => concat!("https://talon.dev/problems/", $slug)),+ }
            }

            /// Its status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// Its title.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

kinds! {
    /// The request cannot be read: bad JSON, a duplicate key, a bad parameter.
    Malformed = "malformed-request", BAD_REQUEST, "The request cannot be read";
    /// No token, or none that is accepted.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid token is needed";
    /// The token's role does not allow it.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// Nothing is there, or nothing that this token may see.
    NotFound = "not-found", NOT_FOUND, "Not found";
    /// The path has no such method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// The state of things stands against it; later or elsewhere it may succeed.
    Conflict = "conflict", CONFLICT, "Conflicts with the present state";
    /// A watch begins before what is kept.
    Expired = "expired", GONE, "Too old: list again";
    /// A precondition of the request does not hold.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "The agent has changed";
    /// The body is too large.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "Too large";
    /// The body has another media type than this path takes.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// The request can never succeed as written.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "Invalid";
    /// A write must say what it builds upon.
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "A precondition is required";
    /// Too many requests.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests";
    /// A defect of this program.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error";
    /// This server has not got what it takes.
    NotImplemented = "not-implemented", NOT_IMPLEMENTED, "Not available on this server";
    /// The database, or something else that is needed, cannot be reached.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable";
}

/// One thing that is wrong with the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body.
    pub pointer: String,
    /// A word for programs.
    pub code: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// A problem on its way to becoming a response; [`render`](super::render) writes it, with the id of the request.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    value_stored: Option<ValueStored>,
    is_final: bool,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Shorthand.
pub type Answer<T> = Result<T, Problem>;

/// An error, as `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// The kind of problem, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What is wrong here, and what to do. Never repeats a submitted value.
    pub detail: String,
    /// This occurrence: `urn:talon:request:` and the id of the request.
    pub instance: String,
    /// The id of the request, as in the `X-Request-Id` header.
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// How long to wait before it is tried again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Of a key that was handed in: `false`, or `"unknown"` where the answer was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = value_stored_schema, required = false)]
    pub value_stored: Option<serde_json::Value>,
    /// Everything that is wrong with the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

fn value_stored_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some(
            "Of a key that was handed in: `false`, or `\"unknown\"` where the answer was lost.",
        ))
        .enum_values(Some([json!(false), json!("unknown")]))
        .build()
}

impl Problem {
    /// A problem of this kind. `detail` must not hold anything that was submitted.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            value_stored: None,
            is_final: false,
            headers: Vec::new(),
        }
    }

    /// What is wrong with the body's parts.
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Leaves out what is said of other fields than these; everything stays if none of them is spoken of.
    pub fn only_at(mut self, pointers: &[String]) -> Self {
        if self.errors.iter().any(|e| pointers.contains(&e.pointer)) {
            self.errors.retain(|e| pointers.contains(&e.pointer));
        }
        self
    }

    /// The same request may succeed after this time.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What is known of a key that was handed in.
    pub fn value_stored(mut self, stored: ValueStored) -> Self {
        self.value_stored = Some(stored);
        self
    }

    /// Words in front of the detail, to say what it is about.
    pub fn about(mut self, what: &str) -> Self {
        self.detail = format!("{what}: {}", self.detail).into();
        self
    }

    /// Doing the same again cannot help: something else is to be done.
    pub fn never_again(mut self) -> Self {
        self.retry_after = None;
        self.is_final = true;
        self
    }

    /// Whether it is certain how the request ended: a refusal, and not a failure that may have come after the deed.
    pub fn is_definite(&self) -> bool {
        self.is_final || !self.kind.status().is_server_error()
    }

    /// One more header of the response.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What is wrong with the body's parts.
    #[cfg(test)]
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn is_retryable(&self) -> bool {
        match self.kind {
            _ if self.is_final => false,
            Kind::TooManyRequests | Kind::Unavailable => true,
            _ => self.retry_after.is_some(),
        }
    }

    /// The whole response.
    pub fn render(self, request_id: &str) -> Response {
        let retryable = self.is_retryable();
        let status = self.kind.status();
        let body = ProblemBody {
            kind: self.kind.uri().to_owned(),
            title: self.kind.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail.into_owned(),
            instance: format!("urn:talon:request:{request_id}"),
            request_id: request_id.to_owned(),
            retryable,
            retry_after_ms: self
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            value_stored: self.value_stored.map(|stored| match stored {
                ValueStored::No => false.into(),
                ValueStored::Unknown => "unknown".into(),
            }),
            errors: self.errors,
        };
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            // In whole seconds, rounded up: never sooner than meant.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::Unauthenticated {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl IntoResponse for Problem {
    /// Carried in the response's extensions until the request's id is at hand.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// How long a client waits before it tries an unreachable database again.
const DATABASE_RETRY: Duration = Duration::from_secs(2);

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::new(Kind::NotFound, "there is no agent of this name"),
            StoreError::Stale { expected: 0, .. } => Self::new(
                Kind::PreconditionFailed,
                "an agent of this name exists already",
            ),
            StoreError::Stale { actual, .. } => Self::new(
                Kind::PreconditionFailed,
                format!("the agent is at generation {actual}: read it again, then decide"),
            ),
            StoreError::Rejected { code, message } => super::rejected::problem(&code, message),
            StoreError::StaleEpoch => Self::new(
                Kind::Conflict,
                "the agent is being worked on; try again in a moment",
            )
            .retry_after(DATABASE_RETRY),
            StoreError::Unavailable(why) => {
                tracing::warn!(error = %why, "the database is not available");
                Self::new(Kind::Unavailable, "the database cannot be reached")
                    .retry_after(DATABASE_RETRY)
            }
            StoreError::Corrupt(why) => {
                tracing::error!(error = %why, "the database does not fit this program");
                Self::new(
                    Kind::Internal,
                    "the database does not fit this program; talon doctor says more",
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_uri_and_status() {
        let mut uris: Vec<_> = Kind::ALL.iter().map(|k| k.uri()).collect();
        let mut statuses: Vec<_> = Kind::ALL.iter().map(|k| k.status().as_u16()).collect();
        uris.sort_unstable();
        uris.dedup();
        statuses.sort_unstable();
        statuses.dedup();
        assert_eq!(
            (uris.len(), statuses.len()),
            (Kind::ALL.len(), Kind::ALL.len())
        );
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let response = Problem::new(Kind::Unavailable, "x")
            .retry_after(Duration::from_millis(1_001))
            .render("id");
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
