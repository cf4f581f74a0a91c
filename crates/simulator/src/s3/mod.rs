//! R2's S3 endpoint, path style.

use chrono::{DateTime, Utc};
use http::StatusCode;

use crate::calllog::CallClass;
use crate::reply::Reply;
use crate::rest::Request;
use crate::world::World;

/// S3 operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum S3Op {
    ListObjects,
}

impl S3Op {
    pub(crate) const ALL: &'static [Self] = &[Self::ListObjects];

    pub(crate) fn name(self) -> &'static str {
        "s3.list_objects"
    }

    pub(crate) fn class(self) -> CallClass {
        CallClass::Read
    }
}

/// A call.
#[derive(Debug)]
pub(crate) struct S3Call {
    pub(crate) op: Option<S3Op>,
}

impl S3Call {
    pub(crate) fn of(_request: &Request) -> Self {
        Self { op: None }
    }

    pub(crate) fn access_key(&self) -> Option<String> {
        None
    }
}

pub(crate) fn answer(_w: &mut World, _r: &Request, _c: &S3Call, _n: DateTime<Utc>) -> Reply {
    Reply::raw(StatusCode::NOT_FOUND, "text/plain", "")
}
