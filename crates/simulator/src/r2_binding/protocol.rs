//! What travels: requests in JSON, in a header or before the value; answers as JSON before the value; refusals in a
//! header.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::reply::Reply;
use crate::world::object::{HttpMetadata, Object};

/// The request of `get`, `head` and `list`.
const REQUEST: &str = "cf-r2-request";
/// How many bytes of the body are JSON.
const METADATA_SIZE: &str = "cf-r2-metadata-size";
/// Why not.
const ERROR: &str = "cf-r2-error";

/// What a Worker asks.
#[derive(Debug, Deserialize)]
#[serde(
    tag = "method",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(super) enum Ask {
    Head {
        object: String,
    },
    Get {
        object: String,
        range: Option<Range>,
        range_header: Option<String>,
        only_if: Option<Conditional>,
    },
    List(List),
    Put(Box<Put>),
    Delete {
        object: Option<String>,
        #[serde(default)]
        objects: Vec<String>,
    },
    CreateMultipartUpload {
        object: String,
        #[serde(flatten)]
        about: About,
    },
    UploadPart {
        object: String,
        upload_id: String,
        part_number: u32,
    },
    CompleteMultipartUpload {
        object: String,
        upload_id: String,
        #[serde(default)]
        parts: Vec<PublishedPart>,
    },
    AbortMultipartUpload {
        object: String,
        upload_id: String,
    },
}

/// `list`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct List {
    #[serde(deserialize_with = "number")]
    pub(super) limit: Option<i64>,
    pub(super) prefix: Option<String>,
    pub(super) cursor: Option<String>,
    pub(super) delimiter: Option<String>,
    pub(super) start_after: Option<String>,
    /// 0: HTTP metadata, 1: custom metadata.
    pub(super) include: Vec<u8>,
}

/// `put`, without the value.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Put {
    pub(super) object: String,
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) only_if: Option<Conditional>,
    /// In Base64; the others are in hex.
    pub(super) md5: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) sha384: Option<String>,
    pub(super) sha512: Option<String>,
}

/// What is kept with an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct About {
    custom_fields: Vec<CustomField>,
    http_fields: HttpFields,
    pub(super) storage_class: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CustomField {
    k: String,
    v: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct HttpFields {
    content_type: Option<String>,
    content_language: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    cache_control: Option<String>,
    #[serde(deserialize_with = "number")]
    cache_expiry: Option<i64>,
}

impl About {
    pub(super) fn http(&self) -> HttpMetadata {
        let fields = &self.http_fields;
        HttpMetadata {
            content_type: fields.content_type.clone(),
            content_language: fields.content_language.clone(),
            content_disposition: fields.content_disposition.clone(),
            content_encoding: fields.content_encoding.clone(),
            cache_control: fields.cache_control.clone(),
            cache_expiry: fields.cache_expiry,
        }
    }

    pub(super) fn custom(&self) -> BTreeMap<String, String> {
        self.custom_fields
            .iter()
            .map(|f| (f.k.clone(), f.v.clone()))
            .collect()
    }
}

/// A part of an object.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    #[serde(deserialize_with = "number")]
    pub(super) offset: Option<i64>,
    #[serde(deserialize_with = "number")]
    pub(super) length: Option<i64>,
    #[serde(deserialize_with = "number")]
    pub(super) suffix: Option<i64>,
}

/// Only if all of this holds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Conditional {
    pub(super) etag_matches: Option<Vec<EtagTest>>,
    pub(super) etag_does_not_match: Option<Vec<EtagTest>>,
    #[serde(deserialize_with = "number")]
    pub(super) uploaded_before: Option<i64>,
    #[serde(deserialize_with = "number")]
    pub(super) uploaded_after: Option<i64>,
    pub(super) seconds_granularity: bool,
}

/// One etag of a condition.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum EtagTest {
    Strong { value: String },
    Weak { value: String },
    Wildcard,
}

/// A part that an upload is made of.
#[derive(Debug, Deserialize)]
pub(super) struct PublishedPart {
    pub(super) etag: String,
    pub(super) part: u32,
}

/// workerd writes 64-bit numbers as text.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
        #[allow(dead_code, reason = "only its shape matters")]
        Float(f64),
    }
    match Option::<Either>::deserialize(from)? {
        None => Ok(None),
        Some(Either::Number(n)) => Ok(Some(n)),
        Some(Either::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
        Some(Either::Float(_)) => Err(serde::de::Error::custom("not a whole number")),
    }
}

/// Takes a request apart: what is asked, and the value that comes with it.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<(Ask, Bytes), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(size) = text(METADATA_SIZE) {
        let size: usize = size.parse().map_err(|_| Refusal::BAD_METADATA)?;
        if size > body.len() {
            return Err(Refusal::BAD_METADATA);
        }
        let ask = serde_json::from_slice(&body[..size]).map_err(|_| Refusal::BAD_METADATA)?;
        return Ok((ask, body.slice(size..)));
    }
    // Header values may hold UTF-8, which `to_str` does not give.
    let header = headers.get(REQUEST).ok_or(Refusal::BAD_METADATA)?;
    let ask = serde_json::from_slice(header.as_bytes()).map_err(|_| Refusal::BAD_METADATA)?;
    Ok((ask, Bytes::new()))
}

/// A refusal in R2's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    code: u32,
    message: std::borrow::Cow<'static, str>,
    /// The object whose condition did not hold.
    about: Option<Value>,
}

impl Refusal {
    const fn new(status: u16, code: u32, message: &'static str) -> Self {
        Self {
            status,
            code,
            message: std::borrow::Cow::Borrowed(message),
            about: None,
        }
    }

    pub(super) const BAD_METADATA: Self = Self::new(400, 10029, "Metadata missing or invalid");
    pub(super) const INTERNAL: Self = Self::new(
        500,
        10001,
        "We encountered an internal error. Please try again.",
    );
    pub(super) const NO_BUCKET: Self =
        Self::new(404, 10006, "The specified bucket does not exist.");
    pub(super) const NOT_ADMITTED: Self = Self::new(403, 10003, "Access Denied");
    pub(super) const NO_KEY: Self = Self::new(404, 10007, "The specified key does not exist.");
    pub(super) const TOO_LARGE: Self = Self::new(
        400,
        100_100,
        "Your proposed upload exceeds the maximum allowed object size.",
    );
    pub(super) const TOO_SMALL: Self = Self::new(
        400,
        10011,
        "Your proposed upload is smaller than the minimum allowed object size.",
    );
    pub(super) const METADATA_TOO_LARGE: Self = Self::new(
        400,
        10012,
        "Your metadata headers exceed the maximum allowed metadata size.",
    );
    pub(super) const BAD_KEY: Self =
        Self::new(400, 10020, "The specified object name is not valid.");
    pub(super) const BAD_LIMIT: Self = Self::new(
        400,
        10022,
        "MaxKeys params must be positive integer <= 1000.",
    );
    pub(super) const NO_UPLOAD: Self =
        Self::new(400, 10024, "The specified multipart upload does not exist.");
    pub(super) const BAD_PART: Self = Self::new(
        400,
        10025,
        "One or more of the specified parts could not be found.",
    );
    pub(super) const PRECONDITION: Self = Self::new(
        412,
        10031,
        "At least one of the pre-conditions you specified did not hold.",
    );
    pub(super) const BAD_RANGE: Self =
        Self::new(416, 10039, "The requested range is not satisfiable");
    pub(super) const BAD_UPLOAD: Self =
        Self::new(500, 10048, "There was a problem with the multipart upload.");

    /// A checksum that does not fit, both in hex.
    pub(super) fn digest(algorithm: &str, given: &str, found: &str) -> Self {
        Self {
            message: format!(
                "The {algorithm} checksum you specified did not match what we received.\nYou provided a {algorithm} checksum with value: {given}\nActual {algorithm} was: {found}"
            )
            .into(),
            ..Self::new(400, 10037, "")
        }
    }

    /// With the object that it is about.
    pub(super) fn about(mut self, object: Value) -> Self {
        self.about = Some(object);
        self
    }

    pub(super) fn reply(self) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let error = json!({"version": 1, "v4code": self.code, "message": self.message});
        let mut reply = match self.about {
            Some(about) => answer(&about, &Bytes::new()),
            None => Reply::raw(status, "application/json", ""),
        };
        reply.status = status;
        reply.header(ERROR, error.to_string())
    }
}

/// Metadata, and after it the value.
pub(super) fn answer(metadata: &Value, value: &Bytes) -> Reply {
    let mut body = metadata.to_string().into_bytes();
    let size = body.len();
    body.extend_from_slice(value);
    Reply::raw(StatusCode::OK, "application/json", body).header(METADATA_SIZE, size.to_string())
}

/// An object as workerd reads it; `range` is what of it is sent along.
pub(super) fn describe(key: &str, object: &Object, range: Option<(usize, usize)>) -> Value {
    let custom: Vec<Value> = object
        .custom
        .iter()
        .map(|(k, v)| json!({"k": k, "v": v}))
        .collect();
    let mut http = object.http.show();
    if let Some(expiry) = object.http.cache_expiry {
        http["cacheExpiry"] = json!(expiry.to_string());
    }
    let mut shown = json!({
        "name": key,
        "version": object.version,
        "size": object.body.len().to_string(),
        "etag": object.etag,
        "uploaded": object.uploaded.timestamp_millis().to_string(),
        "httpFields": http,
        "customFields": custom,
        "storageClass": object.storage_class,
        "checksums": {},
    });
    let sums = &object.checksums;
    for (name, sum) in [
        ("0", object.md5()),
        ("1", sums.sha1.as_deref()),
        ("2", sums.sha256.as_deref()),
        ("3", sums.sha384.as_deref()),
        ("4", sums.sha512.as_deref()),
    ] {
        if let Some(sum) = sum {
            shown["checksums"][name] = json!(sum);
        }
    }
    if let Some((offset, length)) = range {
        shown["range"] = json!({"offset": offset.to_string(), "length": length.to_string()});
    }
    shown
}
