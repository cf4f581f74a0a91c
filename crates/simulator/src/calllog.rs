//! The log of calls: what was asked, what was answered, which fault fired. Never a body, never a signature.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Whether a call may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallClass {
    /// It only looks.
    Read,
    /// It may change the world.
    Write,
}

/// One call, as tests and people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Position in the log, from 1.
    pub seq: u64,
    /// When it was answered (or carried out late), by the simulator's clock.
    pub at: DateTime<Utc>,
    /// Stable name of the endpoint, `none` where there is none.
    pub operation: String,
    /// HTTP method.
    pub method: String,
    /// Path and query; S3 signatures cut out.
    pub path: String,
    /// Read or write.
    pub class: CallClass,
    /// HTTP status the caller got; `None` if it got no answer, or only after a `timeout_after`.
    pub status: Option<u16>,
    /// Status with which the world itself carried it out; `None` if it never reached the world. A write took effect
    /// if and only if this is below 300.
    pub world_status: Option<u16>,
    /// Cloudflare's first error code in the answer.
    pub code: Option<i64>,
    /// Id of the token that called, if it was known.
    pub token_id: Option<String>,
    /// The fault that fired.
    pub fault: Option<String>,
}

impl CallRecord {
    /// Whether it changed, or may have changed, the world.
    pub fn took_effect(&self) -> bool {
        self.class == CallClass::Write && self.world_status.is_some_and(|s| s < 300)
    }

    /// The path below the account: `workers/scripts/a`; the whole path if it names no account.
    pub fn resource(&self) -> &str {
        self.path
            .strip_prefix("/client/v4/accounts/")
            .and_then(|rest| rest.split_once('/'))
            .map_or(self.path.as_str(), |(_, rest)| rest)
    }
}

/// The last calls, oldest first.
#[derive(Debug)]
pub(crate) struct CallLog {
    records: VecDeque<CallRecord>,
    seq: u64,
    capacity: usize,
}

impl CallLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            records: VecDeque::new(),
            seq: 0,
            capacity: capacity.max(1),
        }
    }

    pub(crate) fn push(&mut self, mut record: CallRecord) {
        self.seq += 1;
        record.seq = self.seq;
        if self.records.len() >= self.capacity {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    pub(crate) fn records(&self) -> Vec<CallRecord> {
        self.records.iter().cloned().collect()
    }

    /// Forgets the calls; numbers go on.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
    }
}

/// A path and query as the log shows it: presigned S3 parameters are cut out.
pub(crate) fn loggable(path: &str, query: Option<&str>) -> String {
    let kept: Vec<&str> = query
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty() && !p.to_ascii_lowercase().starts_with("x-amz-"))
        .collect();
    if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", kept.join("&"))
    }
}
