//! R2's S3 endpoint: path style, SigV4 in headers or in the query, errors in XML.
//!
//! One endpoint serves every jurisdiction; the live service has one host name for each.

mod buckets;
mod objects;
mod sigv4;
mod uploads;
mod xml;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use http::{Method, StatusCode};
use talon_core::spec::Jurisdiction;

use crate::calllog::CallClass;
use crate::operation::percent_decode;
use crate::reply::Reply;
use crate::rest::Request;
use crate::world::bucket::ObjectStore;
use crate::world::permission::opens_bucket;
use crate::world::token::Token;
use crate::world::{BucketKey, World};

macro_rules! operations {
    ($($op:ident $name:literal $class:ident;)*) => {
        /// The S3 operations that are served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum S3Op { $($op),* }

        impl S3Op {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$op),*];

            /// Stable name, for fault rules and the call log.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$op => $name),* }
            }

            pub(crate) fn class(self) -> CallClass {
                match self { $(Self::$op => CallClass::$class),* }
            }
        }
    };
}

operations! {
    HeadBucket "s3.head_bucket" Read;
    ListObjects "s3.list_objects" Read;
    DeleteObjects "s3.delete_objects" Write;
    ListUploads "s3.list_uploads" Read;
    GetObject "s3.get_object" Read;
    HeadObject "s3.head_object" Read;
    PutObject "s3.put_object" Write;
    DeleteObject "s3.delete_object" Write;
    CreateUpload "s3.create_upload" Write;
    UploadPart "s3.upload_part" Write;
    CompleteUpload "s3.complete_upload" Write;
    AbortUpload "s3.abort_upload" Write;
}

/// A refusal in S3's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct S3Error {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl S3Error {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn reply(&self, method: &Method) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = if *method == Method::HEAD {
            String::new()
        } else {
            format!(
                "{}<Error><Code>{}</Code><Message>{}</Message></Error>",
                xml::HEADER,
                self.code,
                xml::escape(&self.message)
            )
        };
        Reply::raw(status, "application/xml", body)
    }
}

/// What S3 handlers return.
pub(crate) type Served = Result<Reply, S3Error>;

/// A request, taken apart.
#[derive(Debug)]
pub(crate) struct S3Call {
    pub(crate) op: Option<S3Op>,
    bucket: String,
    key: String,
    /// Decoded, in the order of the request.
    query: Vec<(String, String)>,
}

impl S3Call {
    /// Takes `/bucket/key?query` apart.
    pub(crate) fn of(request: &Request) -> Self {
        let path = request.path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query: Vec<(String, String)> = request
            .query
            .as_deref()
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|pair| {
                let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(k), percent_decode(v))
            })
            .collect();
        let mut call = Self {
            op: None,
            bucket: percent_decode(bucket),
            key: percent_decode(key),
            query,
        };
        call.op = call.operation(&request.method);
        call
    }

    fn operation(&self, method: &Method) -> Option<S3Op> {
        let has = |name: &str| self.parameter(name).is_some();
        if self.bucket.is_empty() {
            return None;
        }
        if self.key.is_empty() {
            return match *method {
                Method::GET if has("uploads") => Some(S3Op::ListUploads),
                Method::GET if has("location") || has("versions") || has("acl") => None,
                Method::GET => Some(S3Op::ListObjects),
                Method::HEAD => Some(S3Op::HeadBucket),
                Method::POST if has("delete") => Some(S3Op::DeleteObjects),
                _ => None,
            };
        }
        match *method {
            Method::GET if has("uploadId") => None,
            Method::GET => Some(S3Op::GetObject),
            Method::HEAD => Some(S3Op::HeadObject),
            Method::PUT if has("uploadId") => Some(S3Op::UploadPart),
            Method::PUT => Some(S3Op::PutObject),
            Method::DELETE if has("uploadId") => Some(S3Op::AbortUpload),
            Method::DELETE => Some(S3Op::DeleteObject),
            Method::POST if has("uploads") => Some(S3Op::CreateUpload),
            Method::POST if has("uploadId") => Some(S3Op::CompleteUpload),
            _ => None,
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// The access key id that the request names, if it names one.
    pub(crate) fn access_key(&self, request: &Request) -> Option<String> {
        sigv4::parse(request, self)
            .ok()
            .map(|signature| signature.access_key)
    }
}

/// What a handler gets.
pub(crate) struct S3Cx<'a> {
    world: &'a mut World,
    request: &'a Request,
    call: &'a S3Call,
    bucket: BucketKey,
    now: DateTime<Utc>,
}

impl S3Cx<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.call.parameter(name)
    }

    fn store(&mut self) -> Result<&mut ObjectStore, S3Error> {
        self.world
            .objects
            .get_mut(&self.bucket)
            .ok_or_else(no_bucket)
    }

    /// A page size: at least 1, at most 1000.
    fn max(&self, name: &str) -> usize {
        self.parameter(name)
            .and_then(|v| v.parse().ok())
            .unwrap_or(1000)
            .clamp(1, 1000)
    }
}

fn no_bucket() -> S3Error {
    S3Error::new(404, "NoSuchBucket", "The specified bucket does not exist.")
}

/// Answers a request to the S3 endpoint.
pub(crate) fn answer(
    world: &mut World,
    request: &Request,
    call: &S3Call,
    now: DateTime<Utc>,
) -> Reply {
    serve(world, request, call, now).unwrap_or_else(|e| e.reply(&request.method))
}

fn serve(world: &mut World, request: &Request, call: &S3Call, now: DateTime<Utc>) -> Served {
    let token = authenticate(world, request, call, now)?;
    let op = call.op.ok_or_else(|| {
        S3Error::new(
            501,
            "NotImplemented",
            "This operation is not implemented here.",
        )
    })?;
    let opens = |jurisdiction: Jurisdiction| {
        opens_bucket(
            &token,
            &world.account_id,
            jurisdiction,
            &call.bucket,
            op.class(),
        )
    };
    let allowed = [
        Jurisdiction::Default,
        Jurisdiction::Eu,
        Jurisdiction::Fedramp,
    ]
    .into_iter()
    .any(opens);
    let found = world.find_bucket(&call.bucket, opens);
    if !allowed || found.as_ref().is_some_and(|(j, _)| !opens(*j)) {
        return Err(S3Error::new(403, "AccessDenied", "Access Denied"));
    }
    let bucket = found.ok_or_else(no_bucket)?;
    dispatch(
        op,
        S3Cx {
            world,
            request,
            call,
            bucket,
            now,
        },
    )
}

fn authenticate(
    world: &mut World,
    request: &Request,
    call: &S3Call,
    now: DateTime<Utc>,
) -> Result<Arc<Token>, S3Error> {
    let signature = sigv4::parse(request, call)?;
    let unauthorized = || S3Error::new(401, "Unauthorized", "Unauthorized");
    let token = world
        .catalog()
        .token(&signature.access_key)
        .filter(|t| t.usable(now))
        .cloned()
        .ok_or_else(unauthorized)?;
    signature.verify(request, call, token.value.sha256(), now)?;
    if now < token.value_set_on + world.conditions.new_token_delay() {
        world.conditions.fired.new_token += 1;
        return Err(unauthorized());
    }
    Ok(token)
}

fn dispatch(op: S3Op, cx: S3Cx<'_>) -> Served {
    match op {
        S3Op::HeadBucket => Ok(Reply::raw(StatusCode::OK, "application/xml", "")),
        S3Op::ListObjects => buckets::list_objects(cx),
        S3Op::DeleteObjects => buckets::delete_objects(cx),
        S3Op::ListUploads => uploads::list(cx),
        S3Op::GetObject => objects::get(cx),
        S3Op::HeadObject => objects::head(cx),
        S3Op::PutObject => objects::put(cx),
        S3Op::DeleteObject => objects::delete(cx),
        S3Op::CreateUpload => uploads::create(cx),
        S3Op::UploadPart => uploads::part(cx),
        S3Op::CompleteUpload => uploads::complete(cx),
        S3Op::AbortUpload => uploads::abort(cx),
    }
}
