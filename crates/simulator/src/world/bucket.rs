//! R2 buckets and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use talon_core::spec::Jurisdiction;

use super::object::{HttpMetadata, Object, Pending};
use super::{BucketKey, World};
use crate::reply::{ApiError, Handled};

/// A bucket as lists show it.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) jurisdiction: Jurisdiction,
    pub(crate) creation_date: DateTime<Utc>,
    /// Upper case, as the live API answers it.
    pub(crate) location: String,
    pub(crate) storage_class: String,
}

impl Bucket {
    pub(crate) fn show(&self) -> Value {
        json!({
            "name": self.name,
            "creation_date": self.creation_date.to_rfc3339_opts(SecondsFormat::Millis, true),
            "location": self.location,
            "jurisdiction": self.jurisdiction.as_str(),
            "storage_class": self.storage_class,
        })
    }
}

/// What is in a bucket. Objects are strongly consistent, as R2 promises.
#[derive(Debug, Default)]
pub(crate) struct ObjectStore {
    pub(crate) objects: BTreeMap<String, Object>,
    pub(crate) uploads: BTreeMap<String, Pending>,
    /// Uploads that were completed or given up.
    pub(crate) ended_uploads: BTreeSet<String>,
}

/// A page of a listing.
pub(crate) struct Page<'a> {
    pub(crate) objects: Vec<(&'a String, &'a Object)>,
    pub(crate) prefixes: Vec<String>,
    /// Everything up to and including this was listed; set if there is more.
    pub(crate) next: Option<String>,
}

impl ObjectStore {
    /// Lists after `after`, at most `max` objects and common prefixes.
    pub(crate) fn page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        after: &str,
        max: usize,
    ) -> Page<'_> {
        let mut page = Page {
            objects: Vec::new(),
            prefixes: Vec::new(),
            next: None,
        };
        let mut last = None;
        let start = if prefix > after || after.is_empty() {
            Bound::Included(prefix.to_owned())
        } else {
            Bound::Excluded(after.to_owned())
        };
        for (key, object) in self.objects.range((start, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            let group = delimiter.filter(|d| !d.is_empty()).and_then(|d| {
                let end = key[prefix.len()..].find(d)? + prefix.len() + d.len();
                Some(key[..end].to_owned())
            });
            if let Some(group) = &group
                && (page.prefixes.last() == Some(group) || after == group)
            {
                last = Some(key.clone());
                continue;
            }
            if page.objects.len() + page.prefixes.len() >= max {
                page.next = last;
                break;
            }
            match group {
                Some(group) => page.prefixes.push(group),
                None => page.objects.push((key, object)),
            }
            last = Some(key.clone());
        }
        page
    }
}

/// Reads a jurisdiction as the header and bindings spell it; an absent one is the default.
pub(crate) fn jurisdiction(text: Option<&str>) -> Option<Jurisdiction> {
    match text {
        None | Some("" | "default") => Some(Jurisdiction::Default),
        Some("eu") => Some(Jurisdiction::Eu),
        Some("fedramp") => Some(Jurisdiction::Fedramp),
        Some(_) => None,
    }
}

/// 3–63 characters, lower-case letters, digits and inner hyphens.
pub(crate) fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

impl World {
    /// Makes a bucket out of a create body.
    pub(crate) fn create_bucket(
        &mut self,
        jurisdiction: Jurisdiction,
        body: &Value,
        now: DateTime<Utc>,
    ) -> Handled<Arc<Bucket>> {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        if !valid_name(name) {
            return Err(ApiError::new(
                400,
                10005,
                "The specified bucket name is not valid.",
            ));
        }
        let hint = text("locationHint").map(str::to_ascii_uppercase);
        if let Some(hint) = &hint
            && !["APAC", "EEUR", "ENAM", "WEUR", "WNAM", "OC"].contains(&hint.as_str())
        {
            return Err(ApiError::new(400, 10040, "The location hint is not valid."));
        }
        let storage_class = text("storageClass").unwrap_or("Standard");
        if !["Standard", "InfrequentAccess"].contains(&storage_class) {
            return Err(ApiError::new(400, 10062, "The storage class is not valid."));
        }
        let key: BucketKey = (jurisdiction, name.to_owned());
        if self.catalog().buckets.contains_key(&key) {
            return Err(ApiError::new(
                409,
                10004,
                "The bucket you tried to create already exists, and you own it.",
            ));
        }
        let location = match jurisdiction {
            Jurisdiction::Default => hint.unwrap_or_else(|| "ENAM".to_owned()),
            Jurisdiction::Eu => "WEUR".to_owned(),
            Jurisdiction::Fedramp => "ENAM".to_owned(),
        };
        let bucket = Arc::new(Bucket {
            name: name.to_owned(),
            jurisdiction,
            creation_date: now,
            location,
            storage_class: storage_class.to_owned(),
        });
        self.change(now)
            .buckets
            .insert(key.clone(), Arc::clone(&bucket));
        self.objects.insert(key, ObjectStore::default());
        Ok(bucket)
    }

    /// Removes an empty bucket; otherwise answers as the live API does: 409 with a message and no usable code.
    pub(crate) fn delete_bucket(&mut self, key: &BucketKey, now: DateTime<Utc>) -> Handled<()> {
        if !self.catalog().buckets.contains_key(key) {
            return Err(ApiError::no_bucket());
        }
        if self.conditions.refuses_bucket(&key.1) {
            return Err(ApiError::forbidden());
        }
        let empty = self
            .objects
            .get(key)
            .is_none_or(|s| s.objects.is_empty() && s.uploads.is_empty());
        if !empty {
            return Err(ApiError {
                status: 409,
                code: None,
                message: format!(
                    "The bucket you tried to delete ({}) is not empty (account {}).",
                    key.1, self.account_id
                ),
                also: Vec::new(),
            });
        }
        self.remove_bucket(key, now);
        Ok(())
    }

    /// Removes a bucket with everything in it.
    pub(crate) fn remove_bucket(&mut self, key: &BucketKey, now: DateTime<Utc>) -> bool {
        self.objects.remove(key);
        self.change(now).buckets.remove(key).is_some()
    }

    /// Puts `count` small objects into a bucket, named `{prefix}{number}`; returns whether there is such a bucket.
    pub(crate) fn fill_bucket(
        &mut self,
        key: &BucketKey,
        prefix: &str,
        count: usize,
        now: DateTime<Utc>,
    ) -> bool {
        let version = self.chance.hex32();
        let Some(store) = self.objects.get_mut(key) else {
            return false;
        };
        let body = Bytes::from_static(b"filler");
        let object = Object::new(body, HttpMetadata::default(), version, now);
        for i in 0..count {
            store
                .objects
                .insert(format!("{prefix}{i:07}"), object.clone());
        }
        true
    }

    /// Starts `count` multipart uploads that nobody finishes; returns whether there is such a bucket.
    pub(crate) fn start_uploads(
        &mut self,
        key: &BucketKey,
        count: usize,
        now: DateTime<Utc>,
    ) -> bool {
        for i in 0..count {
            let id = self.chance.hex32();
            let Some(store) = self.objects.get_mut(key) else {
                return false;
            };
            let upload = Pending::new(format!("unfinished-{i}"), HttpMetadata::default(), now);
            store.uploads.insert(id, upload);
        }
        self.objects.contains_key(key)
    }

    /// The bucket of this name in whatever jurisdiction it is; S3 has one endpoint here. Where a name is used in several,
    /// `prefer` chooses.
    pub(crate) fn find_bucket(
        &self,
        name: &str,
        prefer: impl Fn(Jurisdiction) -> bool,
    ) -> Option<BucketKey> {
        let all = [
            Jurisdiction::Default,
            Jurisdiction::Eu,
            Jurisdiction::Fedramp,
        ];
        let mut found = all
            .into_iter()
            .map(|j| (j, name.to_owned()))
            .filter(|key| self.catalog().buckets.contains_key(key));
        let first = found.next()?;
        if prefer(first.0) {
            return Some(first);
        }
        Some(found.find(|key| prefer(key.0)).unwrap_or(first))
    }
}

/// An object as the REST list shows it.
pub(crate) fn show_object(key: &str, object: &Object) -> Value {
    json!({
        "key": key,
        "size": object.body.len(),
        "etag": object.etag,
        "last_modified": object.uploaded.to_rfc3339_opts(SecondsFormat::Millis, true),
        "storage_class": object.storage_class,
        "ssec": false,
        "http_metadata": object.http.show(),
        "custom_metadata": object.custom,
    })
}
