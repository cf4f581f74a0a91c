//! How the simulated Cloudflare as a whole misbehaves: delays of visibility and refusals that are no single fault.

use chrono::Duration;
use serde::{Deserialize, Serialize};

/// Standing conditions, changed at run time. All off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Lists of Workers, buckets and tokens show what was true this long ago.
    pub stale_lists_ms: u64,
    /// Reads of one Worker, bucket or token show what was true this long ago.
    pub stale_gets_ms: u64,
    /// A Worker's tags read as `null` for this long after it was first made.
    pub null_tags_ms: u64,
    /// S3 refuses a new or rolled token for this long.
    pub new_token_delay_ms: u64,
    /// The list of Workers comes back empty.
    pub empty_worker_list: bool,
    /// Buckets whose name contains this text cannot be deleted; an empty text means every one.
    pub refuse_bucket_delete: Option<String>,
    /// Tokens whose name contains this text cannot be deleted (403); an empty text means every one.
    pub refuse_token_delete: Option<String>,
    /// S3's bulk delete fails for objects whose key contains this text; an empty text means every one.
    pub refuse_object_delete: Option<String>,
    /// How often each of them showed; read-only.
    #[serde(skip_deserializing)]
    pub fired: ConditionsFired,
}

/// How often a condition changed an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionsFired {
    /// Lists that showed the past.
    pub stale_lists: u64,
    /// Gets that showed the past.
    pub stale_gets: u64,
    /// Workers shown without their tags.
    pub null_tags: u64,
    /// S3 calls refused because the token was too new.
    pub new_token: u64,
    /// Empty Worker lists.
    pub empty_worker_list: u64,
    /// Refused deletions of buckets.
    pub bucket_delete: u64,
    /// Refused deletions of tokens.
    pub token_delete: u64,
    /// Refused deletions of objects.
    pub object_delete: u64,
}

impl Conditions {
    pub(crate) fn stale_lists(&self) -> Duration {
        millis(self.stale_lists_ms)
    }

    pub(crate) fn stale_gets(&self) -> Duration {
        millis(self.stale_gets_ms)
    }

    pub(crate) fn null_tags(&self) -> Duration {
        millis(self.null_tags_ms)
    }

    pub(crate) fn new_token_delay(&self) -> Duration {
        millis(self.new_token_delay_ms)
    }

    /// How much of the past has to be remembered.
    pub(crate) fn memory(&self) -> Duration {
        self.stale_lists().max(self.stale_gets())
    }

    /// Whether deleting this bucket is refused.
    pub(crate) fn refuses_bucket(&mut self, name: &str) -> bool {
        let refused = matches(self.refuse_bucket_delete.as_deref(), name);
        self.fired.bucket_delete += u64::from(refused);
        refused
    }

    /// Whether deleting a token of this name is refused.
    pub(crate) fn refuses_token(&mut self, name: &str) -> bool {
        let refused = matches(self.refuse_token_delete.as_deref(), name);
        self.fired.token_delete += u64::from(refused);
        refused
    }

    /// Whether deleting this object is refused.
    pub(crate) fn refuses_object(&mut self, key: &str) -> bool {
        let refused = matches(self.refuse_object_delete.as_deref(), key);
        self.fired.object_delete += u64::from(refused);
        refused
    }
}

fn matches(part: Option<&str>, name: &str) -> bool {
    part.is_some_and(|p| name.contains(p))
}

fn millis(ms: u64) -> Duration {
    // A century is as good as for ever and keeps the arithmetic of dates in range.
    Duration::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX).min(3_155_760_000_000))
}
