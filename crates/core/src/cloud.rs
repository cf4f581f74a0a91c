//! Cloudflare, as far as Talon needs it: values, errors, and the trait.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::secret::SecretValue;
use crate::spec::{Jurisdiction, LocationHint, StorageClass};

/// How a call to Cloudflare failed. Messages are already parsed, cut, escaped and free of secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The thing is not there.
    #[error("not found: {0}")]
    NotFound(ApiMessage),
    /// A thing of this name is there already.
    #[error("already exists: {0}")]
    Exists(ApiMessage),
    /// The state of things does not allow it now (for example 10215).
    #[error("conflict: {0}")]
    Conflict(ApiMessage),
    /// The bucket still holds objects or unfinished uploads.
    #[error("not empty: {0}")]
    NotEmpty(ApiMessage),
    /// 429, or our own budget is spent. Nothing was done.
    #[error("throttled for {} s", retry_after.as_secs())]
    Throttled {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// The token is not accepted, or lacks a permission. Nothing was done.
    #[error("not allowed: {0}")]
    Auth(ApiMessage),
    /// Nothing was done, and trying again may help: connection refused, a read that failed, no time left.
    #[error("temporarily failed: {0}")]
    Transient(ApiMessage),
    /// A write whose answer is lost or unclear (timeout, reset, 5xx): it may have happened, or may yet happen.
    #[error("outcome unknown: {0}")]
    Ambiguous(ApiMessage),
    /// Refused as it stands; trying the same again will not help. Nothing was done.
    #[error("refused: {0}")]
    Invalid(ApiMessage),
}

impl CloudError {
    /// Whether the request may have been carried out.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Ambiguous(_))
    }

    /// What Cloudflare said, where it said something.
    pub fn api(&self) -> Option<&ApiMessage> {
        match self {
            Self::NotFound(m)
            | Self::Exists(m)
            | Self::Conflict(m)
            | Self::NotEmpty(m)
            | Self::Auth(m)
            | Self::Transient(m)
            | Self::Ambiguous(m)
            | Self::Invalid(m) => Some(m),
            Self::Throttled { .. } => None,
        }
    }

    /// Cloudflare's first error code.
    pub fn code(&self) -> Option<i64> {
        self.api().and_then(|m| m.code)
    }
}

/// What Cloudflare (or the transport) said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiMessage {
    /// Which call: `PUT worker`, for people.
    pub call: &'static str,
    /// HTTP status, if there was an answer.
    pub http: Option<u16>,
    /// Cloudflare's first error code.
    pub code: Option<i64>,
    /// Text, at most 300 characters, control characters escaped.
    pub message: String,
    /// The `cf-ray` of the answer.
    pub ray: Option<String>,
}

impl std::fmt::Display for ApiMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, self.message)?;
        if let Some(code) = self.code {
            write!(f, " (code {code})")?;
        } else if let Some(http) = self.http {
            write!(f, " (HTTP {http})")?;
        }
        Ok(())
    }
}

/// Shorthand.
pub type CloudResult<T> = Result<T, CloudError>;

/// What a call is for; decides who goes first when the budget is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallClass {
    /// Cleaning up.
    Delete,
    /// Somebody changed a row.
    UserChange,
    /// An earlier try failed.
    Retry,
    /// The regular comparison.
    Resync,
    /// Looking for orphans.
    Sweep,
}

/// Under what terms a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallCx {
    /// What it is for.
    pub class: CallClass,
    /// How long the caller may still act (rest of its lease). A mutating call is sent only if its own timeout fits,
    /// or is shortened to fit; `None`: no limit.
    pub remaining: Option<Duration>,
}

/// A Worker as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Script name.
    pub name: String,
    /// Cloudflare's immutable id of the script (`tag`).
    pub script_tag: Option<String>,
    /// Hash of the content, as Cloudflare makes it.
    pub etag: Option<String>,
    /// `None` where Cloudflare said null, as it may for a fresh Worker.
    pub tags: Option<Vec<String>>,
    /// When it was made.
    pub created_on: Option<DateTime<Utc>>,
    /// When it was last changed.
    pub modified_on: Option<DateTime<Utc>>,
    /// The last applied Durable Object migration.
    pub migration_tag: Option<String>,
}

/// A Worker's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerSettings {
    /// Bindings; secrets without their value.
    pub bindings: Vec<BindingInfo>,
    /// `None` where Cloudflare said null.
    pub tags: Option<Vec<String>>,
    /// Compatibility date.
    pub compatibility_date: Option<String>,
    /// Compatibility flags.
    pub compatibility_flags: Vec<String>,
}

/// One binding as it is read back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BindingInfo {
    /// Name in `env`.
    pub name: String,
    /// Cloudflare's type word: `plain_text`, `secret_text`, `r2_bucket`, `durable_object_namespace`…
    pub kind: String,
    /// Text, bucket name or class name; `None` for secrets and types Talon does not know.
    pub value: Option<String>,
}

/// One module of a Worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Part name and file name.
    pub name: String,
    /// `application/javascript+module` or `text/plain`.
    pub content_type: &'static str,
    /// The content.
    pub body: Vec<u8>,
}

/// One binding as it is sent.
#[derive(Debug)]
pub enum Binding {
    /// A variable.
    PlainText {
        /// Name in `env`.
        name: String,
        /// Its value.
        text: String,
    },
    /// A secret supplied now.
    SecretText {
        /// Name in `env`.
        name: String,
        /// Its value.
        value: SecretValue,
    },
    /// Whatever the Worker has under this name already.
    Inherit {
        /// Name in `env`.
        name: String,
        /// From this version rather than the latest.
        version_id: Option<String>,
    },
    /// An R2 bucket.
    R2Bucket {
        /// Name in `env`.
        name: String,
        /// The bucket.
        bucket: String,
        /// Where it lives.
        jurisdiction: Jurisdiction,
    },
    /// A Durable Object class of the same Worker.
    DurableObject {
        /// Name in `env`.
        name: String,
        /// Exported class.
        class_name: String,
    },
}

/// A Durable Object migration that adds SQLite classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The tag after it.
    pub new_tag: String,
    /// Classes it adds.
    pub new_sqlite_classes: Vec<String>,
}

/// Everything one upload says. Always sent with `bindings_inherit=strict` and `keep_bindings: ["secret_text"]`.
#[derive(Debug)]
pub struct WorkerUpload {
    /// Must be the name of one of `modules`.
    pub main_module: String,
    /// The modules.
    pub modules: Vec<Module>,
    /// Bindings.
    pub bindings: Vec<Binding>,
    /// Compatibility date.
    pub compatibility_date: String,
    /// Compatibility flags.
    pub compatibility_flags: Vec<String>,
    /// Sent only while the observed migration tag is absent.
    pub migration: Option<Migration>,
    /// At most 8.
    pub tags: Vec<String>,
}

/// Cloudflare's answer to an upload or a secrets push.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkerVersion {
    /// Immutable id of the script.
    pub script_tag: Option<String>,
    /// Hash of the content.
    pub etag: Option<String>,
    /// Id of the version it made.
    pub version_id: Option<String>,
}

/// One change in a bulk secrets call.
#[derive(Debug)]
pub struct SecretChange {
    /// Name on the Worker.
    pub name: String,
    /// The new value; `None` removes it.
    pub value: Option<SecretValue>,
}

/// A bucket as lists and gets show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub creation_date: Option<DateTime<Utc>>,
    /// Where it lives.
    pub jurisdiction: Jurisdiction,
}

/// What a new bucket shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBucket {
    /// Its name.
    pub name: String,
    /// Where it must live.
    pub jurisdiction: Jurisdiction,
    /// Where it should live.
    pub location_hint: Option<LocationHint>,
    /// What storing costs.
    pub storage_class: StorageClass,
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its id, which is the S3 access key id.
    pub id: String,
    /// Its name; not unique.
    pub name: String,
    /// `active`, `disabled`, `expired`.
    pub status: String,
    /// When it was made.
    pub issued_on: Option<DateTime<Utc>>,
}

/// What a new R2 token shall open: reading and writing of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// The bucket it opens.
    pub bucket: String,
    /// Where the bucket lives.
    pub jurisdiction: Jurisdiction,
}

/// A token that was just made, with the value that is shown only once.
#[derive(Debug)]
pub struct CreatedToken {
    /// Its id.
    pub id: String,
    /// Its value.
    pub value: SecretValue,
}

/// Which bucket an S3 call speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketRef {
    /// Its name.
    pub name: String,
    /// Where it lives.
    pub jurisdiction: Jurisdiction,
}

/// One page of object keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectPage {
    /// At most 1000 keys.
    pub keys: Vec<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// An unfinished multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingUpload {
    /// Key.
    pub key: String,
    /// Upload id.
    pub upload_id: String,
}

/// How the controller's own token stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCheck {
    /// Its id.
    pub id: String,
    /// `active`, `disabled`, `expired`.
    pub status: String,
}

/// One Cloudflare account. Reads may be retried inside; writes are sent once. Every call first asks the budget.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The account's id.
    fn account_id(&self) -> &str;
    /// Cloudflare's clock now, as its answers tell it; `None` before the first. Never late, early by seconds at most.
    fn clock_now(&self) -> Option<DateTime<Utc>>;

    /// The account's workers.dev subdomain; `None` if it has none.
    async fn account_subdomain(&self, cx: CallCx) -> CloudResult<Option<String>>;
    /// Whether the controller's token is accepted.
    async fn verify_token(&self, cx: CallCx) -> CloudResult<TokenCheck>;

    /// Every Worker of the account (one call).
    async fn list_workers(&self, cx: CallCx) -> CloudResult<Vec<WorkerInfo>>;
    /// A Worker's settings.
    async fn worker_settings(&self, cx: CallCx, worker: &str) -> CloudResult<WorkerSettings>;
    /// Names of a Worker's secrets.
    async fn secret_names(&self, cx: CallCx, worker: &str) -> CloudResult<Vec<String>>;
    /// Creates or replaces a Worker, live at once.
    async fn upload_worker(
        &self,
        cx: CallCx,
        worker: &str,
        upload: WorkerUpload,
    ) -> CloudResult<WorkerVersion>;
    /// Removes a Worker with its Durable Objects (`force=true`).
    async fn delete_worker(&self, cx: CallCx, worker: &str) -> CloudResult<()>;
    /// Whether the Worker answers on workers.dev.
    async fn worker_route(&self, cx: CallCx, worker: &str) -> CloudResult<bool>;
    /// Switches the Worker's workers.dev address; previews stay off.
    async fn set_worker_route(&self, cx: CallCx, worker: &str, enabled: bool) -> CloudResult<()>;
    /// Changes secrets in one call; those not named stay.
    async fn change_secrets(
        &self,
        cx: CallCx,
        worker: &str,
        changes: Vec<SecretChange>,
    ) -> CloudResult<WorkerVersion>;

    /// Every bucket of one jurisdiction (paged inside).
    async fn list_buckets(
        &self,
        cx: CallCx,
        jurisdiction: Jurisdiction,
    ) -> CloudResult<Vec<BucketInfo>>;
    /// One bucket.
    async fn get_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<BucketInfo>;
    /// Makes a bucket; `Exists` if the name is taken.
    async fn create_bucket(&self, cx: CallCx, bucket: &NewBucket) -> CloudResult<BucketInfo>;
    /// Removes an empty bucket.
    async fn delete_bucket(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<()>;

    /// Every token of the account (paged inside).
    async fn list_tokens(&self, cx: CallCx) -> CloudResult<Vec<TokenInfo>>;
    /// Makes a token. Not idempotent.
    async fn create_token(&self, cx: CallCx, token: &NewToken) -> CloudResult<CreatedToken>;
    /// Gives a token a new value; the old one stops working.
    async fn roll_token(&self, cx: CallCx, id: &str) -> CloudResult<SecretValue>;
    /// Removes a token.
    async fn delete_token(&self, cx: CallCx, id: &str) -> CloudResult<()>;

    /// The first page (≤ 1000) of what a bucket holds now (S3).
    async fn list_objects(&self, cx: CallCx, bucket: &BucketRef) -> CloudResult<ObjectPage>;
    /// Removes at most 1000 objects (S3); the keys that could not be removed come back.
    async fn delete_objects(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        keys: &[String],
    ) -> CloudResult<Vec<String>>;
    /// Unfinished multipart uploads (S3).
    async fn list_uploads(&self, cx: CallCx, bucket: &BucketRef)
    -> CloudResult<Vec<PendingUpload>>;
    /// Aborts one (S3).
    async fn abort_upload(
        &self,
        cx: CallCx,
        bucket: &BucketRef,
        upload: &PendingUpload,
    ) -> CloudResult<()>;
}

/// What a rate-limited answer or its headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSignal {
    /// Calls left in the current window, if told.
    pub remaining: Option<u32>,
    /// Time until the window starts again, if told.
    pub reset_in: Option<Duration>,
    /// Set on a 429: do not call before this.
    pub retry_after: Option<Duration>,
    /// Whether the answer was a 429.
    pub limited: bool,
}

/// Decides whether one more call to the API may be made now. Shared by everything that uses one account token.
#[async_trait]
pub trait Budget: Send + Sync {
    /// Takes one call from the budget, or says how long to wait. May wait a little itself.
    async fn admit(&self, class: CallClass) -> Result<(), Duration>;
    /// Learns from an answer.
    fn observe(&self, signal: RateSignal);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: Option<i64>, http: Option<u16>) -> ApiMessage {
        ApiMessage {
            call: "PUT worker",
            http,
            code,
            message: "no".to_owned(),
            ray: None,
        }
    }

    #[test]
    fn a_message_names_the_call_and_the_code_or_else_the_status() {
        let shown = |code, http| said(code, http).to_string();
        assert_eq!(
            shown(Some(10_007), Some(404)),
            "PUT worker: no (code 10007)"
        );
        assert_eq!(shown(None, Some(404)), "PUT worker: no (HTTP 404)");
        assert_eq!(shown(None, None), "PUT worker: no");
    }

    #[test]
    fn what_cloudflare_said_can_be_had_of_every_error_but_a_throttled_one() {
        let m = || said(Some(1), None);
        for error in [
            CloudError::NotFound(m()),
            CloudError::Exists(m()),
            CloudError::Conflict(m()),
            CloudError::NotEmpty(m()),
            CloudError::Auth(m()),
            CloudError::Transient(m()),
            CloudError::Ambiguous(m()),
            CloudError::Invalid(m()),
        ] {
            assert_eq!(error.code(), Some(1), "{error}");
            let ambiguous = matches!(error, CloudError::Ambiguous(_));
            assert_eq!(error.is_ambiguous(), ambiguous, "{error}");
        }
        let retry_after = std::time::Duration::from_secs(1);
        let throttled = CloudError::Throttled { retry_after };
        assert!(throttled.api().is_none() && !throttled.is_ambiguous());
    }
}
