//! What a refusal means: one pure function from (call, HTTP status, code, text) to a [`CloudError`].

use std::time::Duration;

use reqwest::Method;
use talon_core::cloud::{ApiMessage, CloudError};

use crate::rate::PAUSE;

/// How long S3 is left alone when it says neither.
const STORAGE_PAUSE: Duration = Duration::from_secs(10);

/// Cloudflare's codes that the controller may want to tell apart within one kind of error.
pub mod codes {
    /// A secret named by `inherit` is not there: strict inheritance refused the upload.
    pub const SECRET_NOT_FOUND: i64 = 10056;
    /// The bucket of a binding is not there; true for a moment after it was made. Comes as `Invalid`.
    pub const BOUND_BUCKET_NOT_FOUND: i64 = 10085;
    /// R2 refused the binding; true for a moment after the bucket was made. Comes as `Invalid`.
    pub const BOUND_BUCKET_REFUSED: i64 = 10136;
    /// The newest version is not the deployed one. Comes as `Conflict`.
    pub const LATEST_NOT_DEPLOYED: i64 = 10215;
    /// The account may have no more Workers. Comes as `Invalid`.
    pub const TOO_MANY_WORKERS: i64 = 10037;
    /// The account may have no more buckets. Comes as `Invalid`.
    pub const TOO_MANY_BUCKETS: i64 = 10009;
    /// R2 was never switched on for the account. Comes as `Invalid`.
    pub const R2_NOT_ENABLED: i64 = 10042;
    /// No such route: the account id is wrong. Comes as `Invalid`.
    pub const NO_ROUTE: i64 = 7003;
}

/// Which part of Cloudflare answers; the same code means different things in different parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Workers and the account's subdomain.
    Workers,
    /// R2's REST API.
    Buckets,
    /// API tokens.
    Tokens,
    /// R2's S3 API.
    Storage,
}

/// One call, as far as its failure is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// For people: `PUT worker`.
    pub(crate) name: &'static str,
    /// HTTP method.
    pub(crate) method: Method,
    /// Who answers.
    pub(crate) area: Area,
}

impl Call {
    pub(crate) fn new(name: &'static str, method: Method, area: Area) -> Self {
        Self { name, method, area }
    }

    /// Whether it may change something.
    pub(crate) fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// A failure after which it is open whether the call was carried out; for a read that does not matter.
    pub(crate) fn unclear(&self, message: ApiMessage) -> CloudError {
        if self.is_write() {
            CloudError::Ambiguous(message)
        } else {
            CloudError::Transient(message)
        }
    }
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Cut and escaped; carries HTTP status and code.
    pub(crate) message: ApiMessage,
    /// S3's word, `NoSuchBucket`.
    pub(crate) word: Option<String>,
    /// From the headers.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the body was an answer of the API rather than of something on the way.
    pub(crate) from_api: bool,
}

/// Decides what a refusal means.
pub(crate) fn classify(call: &Call, refusal: Refusal) -> CloudError {
    let http = refusal.message.http.unwrap_or(0);
    let code = refusal.message.code;
    let slow_down = matches!(
        refusal.word.as_deref(),
        Some("SlowDown" | "TooManyRequests")
    );
    if http == 429 || slow_down || matches!(code, Some(971 | 10429)) {
        let default = match call.area {
            Area::Storage => STORAGE_PAUSE,
            Area::Workers | Area::Buckets | Area::Tokens => PAUSE,
        };
        return CloudError::Throttled {
            retry_after: refusal.retry_after.unwrap_or(default),
        };
    }
    if server_trouble(call.area, http, code) {
        return call.unclear(refusal.message);
    }
    match call.area {
        Area::Storage => storage(http, refusal),
        Area::Workers | Area::Buckets | Area::Tokens => rest(call, http, code, refusal),
    }
}

/// Statuses and codes that say that something broke on their side, whatever else they say.
fn server_trouble(area: Area, http: u16, code: Option<i64>) -> bool {
    http >= 500
        || matches!(http, 408 | 425)
        || match area {
            Area::Workers => matches!(code, Some(10002 | 10013)),
            Area::Buckets => matches!(code, Some(10001)),
            Area::Tokens | Area::Storage => false,
        }
}

fn rest(call: &Call, http: u16, code: Option<i64>, refusal: Refusal) -> CloudError {
    let message = refusal.message;
    // A wrong account id or path also answers 404; reading that as "absent" would report things deleted that are not.
    if matches!(code, Some(7000 | 7001 | 7003 | 10405)) {
        return CloudError::Invalid(message);
    }
    if code == Some(codes::R2_NOT_ENABLED) {
        return CloudError::Invalid(message);
    }
    if matches!(code, Some(10000 | 9106 | 9109 | 6003 | 6111)) || matches!(http, 401 | 403) {
        return CloudError::Auth(message);
    }
    match (call.area, code) {
        (Area::Workers, Some(10007 | 10056 | 10090)) => return CloudError::NotFound(message),
        (Area::Workers, Some(10015 | 10023 | 10034)) => return CloudError::Auth(message),
        (Area::Workers, Some(10018 | codes::LATEST_NOT_DEPLOYED)) => {
            return CloudError::Conflict(message);
        }
        (Area::Buckets, Some(10006)) => return CloudError::NotFound(message),
        (Area::Buckets, Some(10004 | 10073)) => return CloudError::Exists(message),
        (Area::Buckets, Some(10008)) => return CloudError::NotEmpty(message),
        (Area::Tokens, Some(1003)) => return CloudError::NotFound(message),
        (Area::Workers | Area::Buckets | Area::Tokens | Area::Storage, _) => {}
    }
    match http {
        404 if refusal.from_api => CloudError::NotFound(message),
        409 if call.area == Area::Buckets && says_not_empty(&message.message) => {
            CloudError::NotEmpty(message)
        }
        409 if call.area == Area::Buckets && call.method == Method::POST => {
            CloudError::Exists(message)
        }
        409 | 412 => CloudError::Conflict(message),
        _ => CloudError::Invalid(message),
    }
}

/// The live API gives no code here, only this sentence.
fn says_not_empty(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("not empty") || message.contains("isn't empty")
}

/// S3 speaks in words. A key that R2 does not know yet answers 401 or 403 for up to a minute, and so does one that
/// lacks a permission: both are worth another try later.
fn storage(http: u16, refusal: Refusal) -> CloudError {
    let message = refusal.message;
    match (refusal.word.as_deref(), http) {
        (Some("NoSuchBucket" | "NoSuchUpload" | "NoSuchKey"), _) => CloudError::NotFound(message),
        (Some("BucketNotEmpty"), _) => CloudError::NotEmpty(message),
        (_, 401 | 403) => CloudError::Transient(message),
        (_, 404) if refusal.from_api => CloudError::NotFound(message),
        (_, 409 | 412) => CloudError::Conflict(message),
        _ => CloudError::Invalid(message),
    }
}

#[cfg(test)]
#[path = "taxonomy_tests.rs"]
mod tests;
