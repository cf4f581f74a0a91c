//! Objects and unfinished uploads, as every protocol sees them.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::HeaderMap;
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

/// The class of objects that ask for none.
pub(crate) const STANDARD: &str = "Standard";

/// The HTTP headers that are kept with an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HttpMetadata {
    pub(crate) content_type: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) cache_control: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) cache_expiry: Option<i64>,
}

impl HttpMetadata {
    /// What a PUT over REST or S3 brings.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Self {
            content_type: text("content-type"),
            content_language: text("content-language"),
            content_disposition: text("content-disposition"),
            content_encoding: text("content-encoding"),
            cache_control: text("cache-control"),
            cache_expiry: text("expires")
                .and_then(|at| DateTime::parse_from_rfc2822(&at).ok())
                .map(|at| at.timestamp_millis()),
        }
    }

    /// What a GET or HEAD answers besides the content type.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let expires = self
            .cache_expiry
            .and_then(DateTime::from_timestamp_millis)
            .map(http_date);
        [
            ("content-language", self.content_language.clone()),
            ("content-disposition", self.content_disposition.clone()),
            ("content-encoding", self.content_encoding.clone()),
            ("cache-control", self.cache_control.clone()),
            ("expires", expires),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// The names that REST and the binding use.
    pub(crate) fn show(&self) -> Value {
        let mut shown = Map::new();
        for (name, value) in [
            ("contentType", &self.content_type),
            ("contentLanguage", &self.content_language),
            ("contentDisposition", &self.content_disposition),
            ("contentEncoding", &self.content_encoding),
            ("cacheControl", &self.cache_control),
        ] {
            if let Some(value) = value {
                shown.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(expiry) = self.cache_expiry {
            shown.insert("cacheExpiry".to_owned(), json!(expiry));
        }
        Value::Object(shown)
    }

    /// The content type, or the one that stands for none.
    pub(crate) fn content_type(&self) -> String {
        self.content_type
            .clone()
            .unwrap_or_else(|| "application/octet-stream".to_owned())
    }
}

/// A time as HTTP writes it.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The checksums that the writer gave and that held, in hex. MD5 is the etag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checksums {
    pub(crate) sha1: Option<String>,
    pub(crate) sha256: Option<String>,
    pub(crate) sha384: Option<String>,
    pub(crate) sha512: Option<String>,
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) body: Bytes,
    /// MD5 in hex, without quotes; of multipart uploads the MD5 of the parts' MD5s, a hyphen and their number.
    pub(crate) etag: String,
    /// Another one with every write.
    pub(crate) version: String,
    pub(crate) uploaded: DateTime<Utc>,
    pub(crate) http: HttpMetadata,
    pub(crate) custom: BTreeMap<String, String>,
    pub(crate) checksums: Checksums,
    pub(crate) storage_class: String,
}

impl Object {
    pub(crate) fn new(
        body: Bytes,
        http: HttpMetadata,
        version: String,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            etag: hex::encode(Md5::digest(&body)),
            body,
            version,
            uploaded: now,
            http,
            custom: BTreeMap::new(),
            checksums: Checksums::default(),
            storage_class: STANDARD.to_owned(),
        }
    }

    /// The MD5 of the content, which multipart uploads do not have.
    pub(crate) fn md5(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|etag| etag.len() == 32)
    }
}

/// An unfinished multipart upload.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) key: String,
    pub(crate) initiated: DateTime<Utc>,
    pub(crate) http: HttpMetadata,
    pub(crate) custom: BTreeMap<String, String>,
    pub(crate) storage_class: String,
    pub(crate) parts: BTreeMap<u32, Bytes>,
}

impl Pending {
    pub(crate) fn new(key: String, http: HttpMetadata, now: DateTime<Utc>) -> Self {
        Self {
            key,
            initiated: now,
            http,
            custom: BTreeMap::new(),
            storage_class: STANDARD.to_owned(),
            parts: BTreeMap::new(),
        }
    }

    /// The object that these parts make.
    pub(crate) fn join(&self, parts: &[&Bytes], version: String, now: DateTime<Utc>) -> Object {
        let mut digests = Md5::new();
        for part in parts {
            digests.update(Md5::digest(part));
        }
        let body: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        Object {
            etag: format!("{}-{}", hex::encode(digests.finalize()), parts.len()),
            body: Bytes::from(body),
            version,
            uploaded: now,
            http: self.http.clone(),
            custom: self.custom.clone(),
            checksums: Checksums::default(),
            storage_class: self.storage_class.clone(),
        }
    }
}

/// A part's etag.
pub(crate) fn part_etag(part: &Bytes) -> String {
    hex::encode(Md5::digest(part))
}
